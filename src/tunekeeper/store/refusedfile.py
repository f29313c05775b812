"""A routing file that is not obeyed: said in one small file, for `/readyz`, the metric and monitoring's alert alike.

Whoever re-reads the file writes the note when it cannot be obeyed and removes it when it can; the routes before it stay in force.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

NOTE = "routing-refused.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedFile:
    """Why the routing file is not in force."""

    file: str
    """Path of the file."""
    why: str
    """One line, with file and line."""
    since: datetime
    """When it was read, UTC, in workspace time; of several refusals in a row the first."""


def refuse(root: Path, file: str, why: str, at: datetime) -> RefusedFile:
    """Note that `file` is not obeyed since `at`, or since it was noted first. Returns what is noted. Raises OSError."""
    before = refused(root)
    note = RefusedFile(file=file, why=why, since=before.since if before is not None and before.file == file else at)
    path = root / "run" / NOTE
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_suffix(".new")
    hidden.write_bytes(msgspec.json.encode(note))
    os.replace(hidden, path)
    return note


def accept(root: Path) -> None:
    """The routing file is obeyed. Raises OSError."""
    (root / "run" / NOTE).unlink(missing_ok=True)


def refused(root: Path) -> RefusedFile | None:
    """What is noted; None when the routing file is obeyed, or there is none."""
    try:
        return msgspec.json.decode((root / "run" / NOTE).read_bytes(), type=RefusedFile)
    except (OSError, msgspec.DecodeError):
        return None
