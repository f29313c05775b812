"""Which backups were made of a data directory, so that an erasure can name those that still hold the user.

`backups.jsonl` in the data directory, one line a backup, written before the file gets its name: one that is not in the list does
not exist, one that is may have been moved since. The backup that a data directory was restored from is noted in `run/`, which
is in no backup: what was restored stays what was copied.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from tunekeeper.store import place

FILE = "backups.jsonl"
_RESTORED = "run/restored.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeBackup:
    """One line of the list."""

    at: datetime
    """When the copy was begun, UTC, in workspace time."""
    file: str
    """Where it was written to, an absolute path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """A backup made before an erasure."""

    file: str
    """Where it was written to."""
    at: datetime
    """When it was made."""
    found: bool
    """Whether it still lies there; False: moved or deleted since, which only its owner knows."""


def note(root: Path, file: Path, at: datetime) -> None:
    """Write down, before it appears, that `file` is a backup of `root`. Raises OSError."""
    _append(root / FILE, [MadeBackup(at=at, file=str(file.absolute()))])


def note_restored(root: Path, file: Path, at: datetime) -> None:
    """Write down that `root` was restored from the backup `file`, made at `at`. Raises OSError."""
    (root / _RESTORED).parent.mkdir(exist_ok=True)
    _append(root / _RESTORED, [MadeBackup(at=at, file=str(file.absolute()))])


def load(root: Path) -> list[MadeBackup]:
    """What was made and, after it, what was restored, in order; a last line that a kill cut short is passed over."""
    return [*_read(root / FILE), *_read(root / _RESTORED)]


def _read(path: Path) -> list[MadeBackup]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=MadeBackup))
        except msgspec.DecodeError:
            continue
    return found


def carry_over(before: Path, restored: Path) -> None:
    """Add to the list of a restored data directory what that of the directory before it knows besides. Raises OSError."""
    known = set(load(restored))
    _append(restored / FILE, [each for each in load(before) if each not in known])


def made_until(root: Path, moment: datetime | None) -> list[Holding]:
    """The backups made until `moment`, each file once; none without a moment. Whether a file is there is looked up now."""
    if moment is None:
        return []
    newest = {each.file: each.at for each in load(root) if each.at <= moment}
    return [Holding(file=file, at=at, found=os.path.exists(file)) for file, at in sorted(newest.items())]


def _append(path: Path, made: Iterable[MadeBackup]) -> None:
    data = b"".join(msgspec.json.encode(each) + b"\n" for each in made)
    if data:
        place.append(path, data)
