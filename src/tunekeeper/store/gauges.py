"""Numbers that others know, for `/metrics`: small files that the worker, and whoever publishes a route, write and every gateway
reads. Loads no database."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

FILE, ROLLBACKS = "gauges.json", "rollbacks.json"
MOST_SERIES = 500
MOST_BYTES = 1 << 20
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One gauge, or counter (`…_total`), with all its series."""

    name: str
    """Prometheus name, with its unit."""
    help: str
    """One sentence."""
    labels: tuple[str, ...] = ()
    """Names of its labels."""
    series: tuple[tuple[tuple[str, ...], float], ...] = ()
    """Values of the labels, and the number."""


def save_gauges(root: Path, families: tuple[Family, ...], *, file: str = FILE) -> None:
    """Let every gateway of `root` tell these from now on, in place of those of the same `file`. Raises OSError."""
    path = root / "run" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_suffix(".new")
    hidden.write_bytes(msgspec.json.encode(families))
    os.replace(hidden, path)


def load_gauges(root: Path) -> tuple[Family, ...]:
    """What was saved last, `MOST_SERIES` series at most; nothing where nothing was, or where it cannot be read."""
    families = [*_read(root / "run" / ROLLBACKS), *_read(root / "run" / FILE)]
    left, kept = MOST_SERIES, list[Family]()
    for family in families:
        whole = all(map(_NAME.fullmatch, (family.name, *family.labels)))
        series = [one for one in family.series if len(one[0]) == len(family.labels)][:left]
        if whole and series:
            kept.append(msgspec.structs.replace(family, series=tuple(series)))
            left -= len(series)
    return tuple(kept)


def _read(path: Path) -> tuple[Family, ...]:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MOST_BYTES), type=tuple[Family, ...])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return ()
