"""Adapters from elsewhere: a PEFT folder becomes a version, with the base it was proven to belong to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.versions import find_versions, save_version
from tunekeeper.training.adapter import SETTINGS, read_sidecar, refuse_other
from tunekeeper.training.base import read_base, read_json
from tunekeeper.training.orders import base_folder
from tunekeeper.training.outside import clean_copy
from tunekeeper.training.versions import name_of, next_number
from tunekeeper.workspace import Workspace


def import_adapter(ws: Workspace, task: Model, adapter: Path, base: Path, *, source: str | None = None) -> Version:
    """Make the PEFT folder `adapter`, trained on the checkpoint in `base`, a version of `task`; found again when it is one
    already.

    `base` must be the model's own base, weight for weight: an adapter of another base with the same shapes loads everywhere and
    answers nonsense, so digests decide, not names. Whether the tensors fit is the caller's to ask (`deployment.inspect`).
    `source`: what it is called where it came from; default: its folder.
    Raises ArtifactError naming both digests.
    """
    named, own = read_base(base), read_base(base_folder(ws, task))
    if named.digest != own.digest:
        raise ArtifactError(
            f"{adapter}: belongs to {base} ({named.digest}), but {task.name} is built on {own.folder} ({own.digest})",
            fix=f"set `base: {base}` in a model file of its own",
        )
    for what, theirs, here in (
        ("tokenizer", named.tokenizer_digest, own.tokenizer_digest),
        ("chat template", named.template_digest, own.template_digest),
    ):
        if theirs is not None and theirs != here:
            raise ArtifactError(
                f"{adapter}: belongs to {base}, whose {what} ({theirs}) is another than that of {own.folder} ({here})",
                fix=f"set `base: {base}` in a model file of its own",
            )
    sidecar = read_sidecar(adapter)
    if sidecar is not None:
        refuse_other(adapter, sidecar, own)
    settings = read_json(adapter / SETTINGS)
    with tempfile.TemporaryDirectory(dir=ws.path("work")) as folder:
        digest = ws.blobs.put_folder(clean_copy(adapter, Path(folder) / "adapter", own))
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
            metadata={"imported_from": source or str(adapter), "rank": settings.get("r"), "alpha": settings.get("lora_alpha")},
        )
        return save_version(tx, made)
