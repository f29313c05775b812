"""Runs: how the draft looked from which a version was frozen, so that what comes again is known without being looked at.

Below `work/`, of the newest version of each model: the hash, length and rows of each run of some lines, and the hash and side of
each row, in the order of the draft. These are XXH3 with a secret seed, ten times as fast as BLAKE3: nobody who writes rows can
make two that hash alike, and all that is asked is whether a line is the one that stood there before. Content is named by BLAKE3.
Without the file, or with a damaged one, every line is looked at.
"""

from __future__ import annotations

import os
from array import array
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct

import blake3

from tunekeeper.store.marks import DIGEST, digest_of

MARK = 16
"""Bytes of a run's hash."""
ROW = 8
"""Bytes of a row's hash."""
NEW = 0xFFFFFFFF
"""In place of a known row, where rows are new."""
_HEAD = Struct("<32sQQQ")
"""Digest of the manifest, seed, runs, rows."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Known:
    """The runs and rows of the draft of a version."""

    manifest: str = ""
    """Digest of the version's manifest; empty where nothing is known."""
    digest: bytes = b""
    """Digest of all this."""
    seed: int = field(default_factory=lambda: int.from_bytes(os.urandom(8), "little"))
    """Seed of the hashes, 64 bits."""
    marks: bytes = b""
    """The hash of each run, one after the other."""
    sizes: array[int] = field(default_factory=lambda: array("I"))
    """The bytes of each run."""
    counts: array[int] = field(default_factory=lambda: array("I"))
    """The rows of each run."""
    hashes: bytes = b""
    """The hash of each row, one after the other."""
    sides: bytes = b""
    """The place of each row's side among the sides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """A stretch of a draft, looked at before it is stored."""

    seed: int
    """Seed of its hashes."""
    steps: bytes
    """Its rows in order, pairs of numbers of 32 bits: the first of some known rows, or `NEW`; how many follow each other."""
    marks: bytes
    """The hash of each of its runs."""
    sizes: bytes
    """The bytes of each, numbers of 32 bits."""
    counts: bytes
    """The rows of each, numbers of 32 bits."""
    text: bytes
    """Its new rows: canonical lines, each with its end."""
    lengths: bytes
    """The bytes of each of them, numbers of 32 bits."""
    digests: bytes
    """Their digests, one after the other."""
    sides: bytes
    """For each of them, the place of its side among the sides."""
    hashes: bytes
    """For each of them, the hash of its line in the draft."""
    topics: list[str]
    """Their topics, as in `Mark`."""
    made_up: bytes
    """For each of them, 1 where a machine made it up."""
    dates: bytes
    """Their dates, floats of 64 bits."""


def path_of(scratch: Path, name: str) -> Path:
    """Where the runs of the newest version of the model `name` lie."""
    return scratch / f"{name}.runs"


def save(path: Path, known: Known) -> None:
    """Note the runs of a version; where that cannot be written, nothing is noted."""
    head = _HEAD.pack(bytes.fromhex(known.manifest[7:]), known.seed, len(known.counts), len(known.sides))
    body = (head, known.marks, known.sizes, known.counts, known.hashes, known.sides)
    whole = blake3.blake3()
    for piece in body:
        whole.update(memoryview(piece).cast("B"))
    part = path.with_name(f".{path.name}.part")  # whoever saves holds the lock of the draft
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.writelines((whole.digest(DIGEST), *body))
        part.replace(path)  # not synced: a torn file is none
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def load(path: Path) -> Known:
    """The runs in a file; none where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return Known()
    body = memoryview(data)[DIGEST:]
    if len(body) < _HEAD.size or digest_of(body) != data[:DIGEST]:
        return Known()
    manifest, seed, runs, rows = _HEAD.unpack_from(body)
    parts, at = [], _HEAD.size
    for size in (MARK * runs, 4 * runs, 4 * runs, ROW * rows, rows):
        parts.append(body[at : at + size].tobytes())
        at += size
    marks, sizes, counts, hashes, sides = parts
    return Known(
        manifest=f"sha256:{manifest.hex()}",
        digest=data[:DIGEST],
        seed=seed,
        marks=marks,
        sizes=array("I", sizes),
        counts=array("I", counts),
        hashes=hashes,
        sides=sides,
    )
