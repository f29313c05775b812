"""Adapters from elsewhere: a PEFT folder becomes a version, with the base it was proven to belong to."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.versions import find_versions, save_version
from tunekeeper.training.adapter import SETTINGS, SIDECAR, WEIGHTS, read_sidecar
from tunekeeper.training.base import Base, read_base, read_json
from tunekeeper.training.orders import base_folder
from tunekeeper.training.versions import name_of, next_number
from tunekeeper.workspace import Workspace

LICENSES = ("LICENSE", "README.md")


def import_adapter(ws: Workspace, task: Model, adapter: Path, base: Path) -> Version:
    """Make the PEFT folder `adapter`, trained on the checkpoint in `base`, a version of `task`; found again when it is one
    already.

    `base` must be the model's own base, weight for weight: an adapter of another base with the same shapes loads everywhere and
    answers nonsense, so digests decide, not names. Whether the tensors fit is the caller's to ask (`deployment.inspect`).
    Raises ArtifactError naming both digests.
    """
    named, own = read_base(base), read_base(base_folder(ws, task))
    if named.digest != own.digest:
        raise ArtifactError(
            f"{adapter}: belongs to {base} ({named.digest}), but {task.name} is built on {own.folder} ({own.digest})",
            fix=f"set `base: {base}` in a model file of its own",
        )
    sidecar = read_sidecar(adapter)
    if sidecar is not None and sidecar.get("base_digest") != own.digest:
        raise ArtifactError(f"{adapter}: its {SIDECAR} names base {sidecar.get('base_digest')}, not {base} ({own.digest})")
    settings = read_json(adapter / SETTINGS)
    with tempfile.TemporaryDirectory(dir=ws.path("work")) as folder:
        digest = ws.blobs.put_folder(_clean_copy(adapter, Path(folder) / "adapter", own))
    with ws.state.write(by="training") as tx:
        known = find_versions(tx, model=task.name)
        for version in known:
            if version.adapter == digest and version.base_digest == own.digest:
                return version
        number = next_number(known, own.digest)
        name = name_of(number, ws.clock.utc().date(), 0)
        made = Version(
            id=f"{task.name}@{name}",
            model=task.name,
            name=name,
            major=number[0],
            minor=number[1],
            base=task.base,
            base_digest=own.digest,
            tokenizer_digest=own.tokenizer_digest,
            template_digest=own.template_digest,
            adapter=digest,
            metadata={"imported_from": str(adapter), "rank": settings.get("r"), "alpha": settings.get("lora_alpha")},
        )
        return save_version(tx, made)


def _clean_copy(adapter: Path, target: Path, base: Base) -> Path:
    """Settings, weights and licence of the adapter, nothing else of the folder, with a sidecar that says which base it needs."""
    target.mkdir()
    for name in (SETTINGS, WEIGHTS, *LICENSES):
        if (adapter / name).is_file():
            shutil.copyfile(adapter / name, target / name)
    if not (target / WEIGHTS).is_file():
        raise ArtifactError(f"{adapter}: holds no {WEIGHTS}", fix="save the adapter as safetensors")
    sidecar = read_sidecar(adapter) or {
        "schema": 1,
        "base_digest": base.digest,
        "tokenizer_digest": base.tokenizer_digest,
        "template_digest": base.template_digest,
    }
    (target / SIDECAR).write_text(json.dumps(sidecar, indent=2, sort_keys=True) + "\n", "utf-8")
    return target
