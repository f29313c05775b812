"""Which users were erased when, so that a restored backup cannot bring one back unnoticed.

`erasures.jsonl` in the data directory, one line an erasure: the moment and the same digest of the user's name that requests carry
as their assignment unit. The name itself is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import xxhash

from tunekeeper.store import place

FILE = "erasures.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """One line of the list."""

    at: datetime
    """When the erasure was asked for, or undone, in UTC."""
    unit: str
    """16 hex digits: xxh3_64 of the user's name."""
    undone: bool = False
    """Whether this line says that a restored backup may have brought the user back."""
    found: int = 0
    """Of a line that says an erasure has ended: the requests, and copies of them, that it erased. Backups made until then hold
    them."""
    of: datetime | None = None
    """Of a line that says an erasure is undone: the moment of the last one that is. None where an earlier release wrote it."""


def note(root: Path, user: str, at: datetime) -> None:
    """Write down, before it begins, that `user` is erased. Raises OSError."""
    append(root, [Erasure(at=at, unit=unit_of(user))])


def ended(root: Path, user: str, at: datetime, found: int) -> None:
    """Write down that an erasure of `user` has ended that `found` something. Raises OSError."""
    if found:
        append(root, [Erasure(at=at, unit=unit_of(user), found=found)])


def held_until(root: Path, user: str) -> datetime | None:
    """When the last erasure of `user` that found something ended: a backup made until then may hold the user. None: never."""
    unit = unit_of(user)
    return max((each.at for each in load(root) if each.unit == unit and each.found), default=None)


def unit_of(user: str) -> str:
    """The digest by which the list and the log know a user."""
    return xxhash.xxh3_64_hexdigest(user.encode("utf-8", "replace"))


def append(root: Path, erasures: Iterable[Erasure]) -> None:
    """Add lines to the list of a data directory, synced. Raises OSError."""
    data = b"".join(msgspec.json.encode(erasure) + b"\n" for erasure in erasures)
    if not data:
        return
    root.mkdir(parents=True, exist_ok=True)
    place.append(root / FILE, data)


def load(root: Path) -> list[Erasure]:
    """The list in order; empty where nobody was ever erased. A last line that a kill cut short is passed over."""
    try:
        lines = (root / FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Erasure))
        except msgspec.DecodeError:
            continue
    return found


def undone_by(before: list[Erasure], restored: list[Erasure], at: datetime) -> list[Erasure]:
    """What a restore at `at` undoes: users erased in the list `before` of the old data whose erasure the `restored` list does not
    hold, or holds as undone; each once, as lines to add to the restored list."""
    held = {(erasure.unit, erasure.at) for erasure in restored if not erasure.undone}
    told = [(erasure.unit, erasure.at) for erasure in before if not erasure.undone] + _pending(before)
    again = sorted({(unit, of) for unit, of in told if (unit, of) not in held} | set(_pending(restored)), key=_oldest_first)
    return [Erasure(at=at, unit=unit, undone=True, of=of) for unit, of in sorted(dict(again).items())]


def _pending(erasures: list[Erasure]) -> list[tuple[str, datetime | None]]:
    """Users whose last line says that they are back, and which erasure that undid."""
    last = {erasure.unit: erasure for erasure in erasures}
    return [(unit, erasure.of) for unit, erasure in last.items() if erasure.undone]


def _oldest_first(told: tuple[str, datetime | None]) -> tuple[bool, float]:
    """By the moment of the erasure; one that is not known comes last, as no backup can be said to hold it."""
    return told[1] is None, 0.0 if told[1] is None else told[1].timestamp()
