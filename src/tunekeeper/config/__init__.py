"""What the user wants, read once: tunekeeper.yaml and models/*.yaml become frozen sections, one per room.

In: the project's files, `TUNEKEEPER_<SECTION>_<FIELD>` variables (also from the project's `.env`), flags. Out: `ProjectConfig`.
Owns: nothing. Never: writes a file, reads the environment after start, or guesses what a key that it does not know could mean.

Each room states its section as the dataclass `Config` in its own `config.py`. They are found by name in a table
(`project.SECTIONS`), as implementations are, because one of them (`retraining`) stands above this layer.
"""

from __future__ import annotations

from tunekeeper.config.project import ModelConfig, ProjectConfig, environment, load_project, origins
from tunekeeper.config.serving import ServeFile, load_serve_file

__all__ = [
    "ModelConfig",
    "ProjectConfig",
    "ServeFile",
    "environment",
    "load_project",
    "load_serve_file",
    "origins",
]
