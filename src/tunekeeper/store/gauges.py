"""Numbers that only the worker knows, for `/metrics`: a small file that it writes and every gateway reads. Loads no database."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

FILE = "gauges.json"
MOST_SERIES = 500
MOST_BYTES = 1 << 20
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One gauge with all its series."""

    name: str
    """Prometheus name, with its unit."""
    help: str
    """One sentence."""
    labels: tuple[str, ...] = ()
    """Names of its labels."""
    series: tuple[tuple[tuple[str, ...], float], ...] = ()
    """Values of the labels, and the number."""


def save_gauges(root: Path, families: tuple[Family, ...]) -> None:
    """Let every gateway of `root` tell these from now on. Raises OSError."""
    path = root / "run" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_suffix(".new")
    hidden.write_bytes(msgspec.json.encode(families))
    os.replace(hidden, path)


def load_gauges(root: Path) -> tuple[Family, ...]:
    """What was saved last, `MOST_SERIES` series at most; nothing where nothing was, or where it cannot be read."""
    try:
        with (root / "run" / FILE).open("rb") as file:
            families = msgspec.json.decode(file.read(MOST_BYTES), type=tuple[Family, ...])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ()
    left, kept = MOST_SERIES, list[Family]()
    for family in families:
        whole = all(map(_NAME.fullmatch, (family.name, *family.labels)))
        series = [one for one in family.series if len(one[0]) == len(family.labels)][:left]
        if whole and series:
            kept.append(msgspec.structs.replace(family, series=tuple(series)))
            left -= len(series)
    return tuple(kept)
