"""Runs: which rows stretches of a draft came to, so that a stretch that comes again is known by one digest.

Beside a manifest, below `work/`: the digest of each run of lines and how many rows it put on each side, in the order of the
manifest. Without the file, or with a damaged one, every line is hashed by itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from tunekeeper.store.blobs import place
from tunekeeper.store.manifests import Manifest
from tunekeeper.store.packs import DIGEST, digest_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """The runs of a version."""

    turns: dict[bytes, int]
    """Digest of a run → which one it is, from 0."""
    ends: list[list[int]]
    """For each side, where the numbers of each run begin, and where the last ends: bytes of `numbers`."""
    numbers: list[bytes]
    """For each side, the numbers of its rows, as the bytes of whole numbers of 32 bits."""

    counts: bytes
    """As `Found.counts`."""

    def between(self, first: int, last: int) -> tuple[list[bytes], bytes]:
        """The numbers of the rows of some runs that follow each other, for each side, and their counts."""
        numbers = [each[ends[first] : ends[last]] for ends, each in zip(self.ends, self.numbers, strict=True)]
        width = 4 * len(numbers)
        return numbers, self.counts[first * width : last * width]


NONE = Known(turns={}, ends=[], numbers=[], counts=b"")
"""Where no run is known."""


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
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return NONE
    if digest_of(data[DIGEST:]) != data[:DIGEST]:
        return NONE
    (count,) = struct.unpack_from("<Q", data, DIGEST)
    begin = DIGEST + 8
    end = begin + DIGEST * count
    marks = [data[i : i + DIGEST] for i in range(begin, end, DIGEST)]
    table = np.frombuffer(zstandard.ZstdDecompressor().decompress(data[end:]), "<u4").reshape(len(manifest.sides), count)
    return Known(
        turns=dict(zip(marks, range(count), strict=True)),
        ends=[[0, *(4 * np.cumsum(counts)).tolist()] for counts in table],
        numbers=[numbers.tobytes() for numbers in manifest.sides.values()],
        counts=table.T.tobytes(),
    )
