"""Merged checkpoints that nothing serves any more: which they are, what they take, and their removal.

A merged folder is as large as its base and can be made again from base and adapter at any time, so that it is kept only while a
slot holds its version, or as long as somebody may just be at work with it. What was written with `--out` is the user's own.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.workspace import Workspace

FRESH_SECONDS = 3600.0
"""A folder that changed less than this ago is left: a job may be writing it, or a person about to start its server."""
_MERGED = re.compile(r"\.?([0-9a-f]{24})-merged-(own|f32|f16|bf16)(\..+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """One merged folder."""

    path: str
    """Where it lies."""
    version: str | None
    """Version that it is of; None where no version of the model has this adapter."""
    bytes: int
    """What it takes."""
    removed: bool
    """Whether it goes, or would."""
    why: str
    """Why it goes or stays, in a few words."""


def prune(
    ws: Workspace, task: Model, section: Config, *, dry_run: bool = False, now: Callable[[], float] = time.time
) -> list[Leftover]:
    """Remove the model's merged folders that nothing needs, and say of each one why it went or stayed.

    `dry_run`: only say it. `now`: seconds since 1970 as files tell them, which no compressed clock changes. Folders of other
    models in a shared folder are not looked at, but those of no version at all are.
    """
    shared = shared_folder(ws, section)
    with ws.state.read() as tx:
        versions = [version for version in find_versions(tx) if version.adapter]
    with ws.control.read() as tx:
        slots = find_slots(tx)
    found = []
    for folder in sorted(shared.iterdir()) if shared.is_dir() else ():
        named = _MERGED.fullmatch(folder.name)
        if named is None or not folder.is_dir() or folder.is_symlink():
            continue
        of = [each for each in versions if str(each.adapter).removeprefix("sha256:").startswith(named[1])]
        if of and all(each.model != task.name for each in of):
            continue
        left = judged(folder, of, slots, now() - newest(folder), whole=named[3] is None and not folder.name.startswith("."))
        if left.removed and not dry_run:
            shutil.rmtree(folder)
        found.append(left)
    return found


def judged(folder: Path, of: Iterable[Version], slots: Iterable[Slot], age: float, *, whole: bool) -> Leftover:
    """What becomes of a folder: `of`, the versions with its adapter; `age`, seconds since it changed; `whole`, whether it was
    written to its end."""
    versions = list(of)
    names = {each.name for each in versions} | {each.id for each in versions}
    held = next((slot for slot in slots if slot.version in names and slot.wanted == "loaded"), None)
    version = versions[0].id if versions else None
    if held is not None:
        removed, why = False, f"slot {held.id} holds {held.version}"
    elif age < FRESH_SECONDS:
        removed, why = False, f"changed {max(0.0, age) / 60:.0f} minutes ago"
    elif not whole:
        removed, why = True, "left by a merge that was killed"
    elif version is None:
        removed, why = True, "no version has this adapter"
    else:
        removed, why = True, "no slot holds it; it is made again where it is needed"
    return Leftover(path=str(folder), version=version, bytes=_bytes(folder), removed=removed, why=why)


def shared_folder(ws: Workspace, section: Config) -> Path:
    """The folder with what was learned and merged, as a vLLM server sees it."""
    return ((ws.project or ws.root) / section.adapters).resolve() if section.adapters else ws.path("models", "adapters")


def newest(folder: Path) -> float:
    """When something in the folder last changed, seconds since 1970."""
    return max(each.stat().st_mtime for each in (folder, *folder.rglob("*")) if not each.is_symlink())


def _bytes(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file() and not each.is_symlink())
