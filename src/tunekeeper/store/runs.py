"""Runs: which rows stretches of a draft came to, so that a stretch that comes again is known by one digest.

Beside a manifest, below `work/`: the digest of each run of lines and how many rows it put on each side, in the order of the
manifest. Without the file, or with a damaged one, every line is hashed by itself.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import zstandard

from tunekeeper.store.blobs import place
from tunekeeper.store.manifests import Manifest
from tunekeeper.store.packs import DIGEST, digest_of

Known = dict[bytes, tuple[list[int], ...]]
"""Digest of a run → the numbers of its rows, a list for each side."""


def save(path: Path, marks: Sequence[bytes], counts: Sequence[Sequence[int]]) -> None:
    """Note the runs of a version: the digest of each, and its rows on each side. Raises DiskFull."""
    table = np.array(counts, "<u4").T.tobytes()
    body = b"".join([struct.pack("<Q", len(marks)), *marks, zstandard.ZstdCompressor(level=3).compress(table)])
    place(path, lambda file: file.write(digest_of(body) + body))


def load(path: Path, manifest: Manifest) -> Known:
    """The runs of a version by their digests; none where they are not known."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    if digest_of(data[DIGEST:]) != data[:DIGEST]:
        return {}
    (count,) = struct.unpack_from("<Q", data, DIGEST)
    begin = DIGEST + 8
    end = begin + DIGEST * count
    marks = [data[i : i + DIGEST] for i in range(begin, end, DIGEST)]
    table = np.frombuffer(zstandard.ZstdDecompressor().decompress(data[end:]), "<u4").reshape(len(manifest.sides), count)
    parts = []
    for counts, numbers in zip(table, manifest.sides.values(), strict=True):
        ends, plain = np.cumsum(counts).tolist(), numbers.tolist()
        parts.append([plain[a:b] for a, b in zip([0, *ends], ends, strict=False)])
    return dict(zip(marks, zip(*parts, strict=True), strict=True))
