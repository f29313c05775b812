"""Where the files that model servers load lie below the data directory (ADP-04), and who says so. Pure.

Whole models are `models/<task>/<version>.gguf`. Where a base is loaded once and versions beside it, the base is in
`models/<task>/base/` and each version in `models/<task>/adapters/`.
"""

from __future__ import annotations

import re
from pathlib import Path

from tunekeeper.core.nouns.deployment import Artifact

BASE_FILE = "base_file"
"""Where the base's path stands among an artifact's metadata."""


def base_path(model: str, base: str, digest: str, kind: str) -> str:
    """Where a base lies. `base`: its checkpoint's folder; `digest`: of its weights; `kind`: the type of the file."""
    name = re.sub(r"[^\w.-]+", "-", Path(base).name) or "base"
    return f"models/{model}/base/{name}-{digest.rpartition(':')[2][:8]}-{kind}.gguf"


def files_of(artifact: Artifact, version: str) -> dict[str, tuple[str, str]]:
    """What a slot loads of an artifact that has a file: role → path, and the digest of the file there. `version`: its name."""
    assert artifact.digest is not None  # whoever asks has refused what has none
    base = artifact.metadata.get(BASE_FILE)
    if artifact.base is None:
        return {"model": (base or f"models/{artifact.model}/{version}.gguf", artifact.digest)}
    return {
        "model": (str(base), artifact.base),
        "lora": (f"models/{artifact.model}/adapters/{version}.gguf", artifact.digest),
    }
