"""Runs: which rows stretches of a draft came to, so that a stretch that comes again is known by one digest.

Beside a manifest, below `work/`: the digest of each run of lines and how many rows it put on each side, in the order of the
manifest. Without the file, or with a damaged one, every line is hashed by itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from tunekeeper.store.blobs import place
from tunekeeper.store.manifests import Manifest, Numbers
from tunekeeper.store.packs import DIGEST, digest_of


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Known:
    """The runs of a version."""

    turns: dict[bytes, int]
    """Digest of a run → which one it is, from 0."""
    counts: Numbers
    """How many rows each put on each side, a line for each."""
    begins: npt.NDArray[np.int64]
    """Where the numbers of each begin among those of each side, a line for each."""
    numbers: tuple[Numbers, ...]
    """For each side, the numbers of its rows."""
    path: Path | None = None
    """The file that says so."""


NONE = Known(turns={}, counts=np.empty((0, 0), np.uint32), begins=np.empty((0, 0), np.int64), numbers=())
"""Where no run is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """Runs that follow each other, looked at before they are stored."""

    marks: list[bytes]
    """Their digests."""
    turns: list[int]
    """For each, which known one it is; -1 for a new one."""
    counts: list[int]
    """How many rows each new one has."""
    lines: list[bytes]
    """The rows of the new ones, each with its line end."""
    sides: bytes
    """For each row, the place of its side among the sides."""
    digests: list[bytes]
    """Their digests; empty where nobody has made them yet."""
    told: list[list[Any]]
    """Topics, whether a machine made them up, dates: a list of each, as in `Mark`, where the rows are canonical; else empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The runs of some rows that were stored."""

    marks: bytes
    """Their digests, one after the other."""
    counts: bytes
    """How many rows each put on each side: whole numbers of 32 bits, those of a run beside each other."""


def save(path: Path, found: Found, sides: int) -> None:
    """Note the runs of a version that has so many sides. Raises DiskFull."""
    table = np.frombuffer(found.counts, "<u4").reshape(-1, sides).T.tobytes()
    squeezed = zstandard.ZstdCompressor(level=3).compress(table)
    body = b"".join([struct.pack("<Q", len(found.marks) // DIGEST), found.marks, squeezed])
    place(path, lambda file: file.write(digest_of(body) + body))


def load(path: Path, manifest: Manifest) -> Known:
    """The runs of a version; none where they are not known."""
    turns, squeezed = _read(path)
    if not turns:
        return NONE
    counts = np.frombuffer(zstandard.ZstdDecompressor().decompress(squeezed), "<u4").reshape(len(manifest.sides), -1).T
    return Known(
        turns=turns,
        counts=counts,
        begins=np.cumsum(counts, axis=0, dtype=np.int64) - counts,
        numbers=tuple(manifest.sides.values()),
        path=path,
    )


def turns_in(path: Path) -> dict[bytes, int]:
    """`Known.turns` alone; empty where the runs are not known."""
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[bytes, int], bytes]:
    """Which turn each run has, by its digest, and the squeezed counts; nothing of a file that is missing or damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}, b""
    if digest_of(data[DIGEST:]) != data[:DIGEST]:
        return {}, b""
    (count,) = struct.unpack_from("<Q", data, DIGEST)
    begin = DIGEST + 8
    end = begin + DIGEST * count
    return {data[i : i + DIGEST]: turn for turn, i in enumerate(range(begin, end, DIGEST))}, data[end:]
