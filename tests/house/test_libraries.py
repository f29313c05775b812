"""Which library is imported where, and that each one we import is one we ask for."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from tests.house.source import Source, planted

HOMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sqlalchemy", "alembic", "duckdb", "psycopg"), ("store",)),
    **dict.fromkeys(("torch", "transformers", "peft", "accelerate", "bitsandbytes"), ("training", "text")),
    "ray": ("jobs",),
    **dict.fromkeys(("uvloop", "httptools"), ("gateway", "testing")),
    "typer": ("cli",),
    **dict.fromkeys(("fastapi", "uvicorn", "pydantic"), ("console",)),
    "pickle": (),
}
"""Library → the rooms that may import it."""
PACKAGES = {"yaml": "pyyaml", "re2": "google-re2", "nacl": "pynacl"}
"""Module → package, where their names differ."""


def breaches(files: list[Source]) -> tuple[list[str], set[str]]:
    """Imports outside their homes, and every foreign module that was seen."""
    wrong, seen = [], set()
    for source in files:
        for each in source.imports:
            top = each.module.partition(".")[0]
            seen.add(top)
            if top in HOMES and source.room not in HOMES[top]:
                wrong.append(f"{source.module}:{each.line}: {source.room} imports {top}")
            if source.room == "core" and top not in sys.stdlib_module_names and top != "tunekeeper":
                wrong.append(f"{source.module}:{each.line}: core imports {top}")
    return wrong, {name for name in seen if name and name not in sys.stdlib_module_names and name != "tunekeeper"}


def test_libraries_stay_in_their_rooms(ours):
    wrong, seen = breaches(ours)
    assert wrong == []
    assert {"sqlalchemy", "duckdb", "torch", "typer", "uvloop"} <= seen


def test_every_library_we_import_is_asked_for(ours, repository: Path):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    names = {re.split(r"[\[<>=! ;]", each)[0].lower().replace("_", "-") for each in asked}
    assert {name for name in breaches(ours)[1] if PACKAGES.get(name, name).lower().replace("_", "-") not in names} == set()


def test_every_library_we_ask_for_is_locked(repository: Path):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    lock = (repository / "requirements.lock").read_text()
    locked = {line.partition("==")[0] for line in lock.splitlines() if "==" in line}
    names = {re.split(r"[\[<>=! ;]", each)[0].lower().replace("_", "-") for each in asked}
    # The builds of the first two differ between machines; the third brings a language model of the user's own choice.
    assert names - locked == {"torch", "bitsandbytes", "presidio-analyzer", "trl", "datasets"}, "run make lock"
    assert lock.count("--hash=sha256:") > len(locked) > 50
    assert (repository / "requirements-torch.txt").read_text().split() == ["torch==2.13.0"]


def test_planted_imports_are_found(tmp_path: Path):
    files = {
        "data/checks.py": "def late():\n    import duckdb\n",
        "gateway/server.py": "from sqlalchemy.engine import Engine\n",
        "core/ids.py": "import msgspec\n",
        "evaluation/exam.py": "import pickle\n",
    }
    assert len(breaches(planted(tmp_path, files))[0]) == 4
