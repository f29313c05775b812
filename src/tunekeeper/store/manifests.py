"""Manifests: which rows a dataset version holds on which side, in which order, by their numbers in packs.

The packs of a manifest are counted through: the rows of the first have the numbers from 0, those of the second follow. A manifest
names every row that it holds, and is small all the same: neighbours in a version are neighbours in a pack nearly everywhere, so
that a million rows of which 1.5 % were edited take some 100 kB.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from tunekeeper.core.errors import ArtifactError

Numbers = npt.NDArray[np.uint32]
_MAGIC = b"tkrows01"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The rows of one dataset version."""

    packs: tuple[str, ...]
    """Digests of the packs, in the order in which their rows are counted."""
    rows: tuple[int, ...]
    """Rows of each pack."""
    sides: Mapping[str, Numbers]
    """Side → numbers of its rows, in order."""


def encode(manifest: Manifest) -> bytes:
    """The bytes of a manifest; the same one gives the same bytes."""
    header = {
        "packs": list(manifest.packs),
        "rows": list(manifest.rows),
        "sides": {side: len(numbers) for side, numbers in manifest.sides.items()},
    }
    head = msgspec.json.encode(header)
    body = b"".join(_steps(numbers) for numbers in manifest.sides.values())
    return b"".join([_MAGIC, struct.pack("<Q", len(head)), head, zstandard.ZstdCompressor(level=9).compress(body)])


def decode(data: bytes) -> Manifest:
    """The manifest of these bytes. Raises ArtifactError when they are none."""
    header, end = _header(data)
    try:
        body, at, sides = memoryview(zstandard.ZstdDecompressor().decompress(data[end:])), 0, {}
        for side, count in header["sides"].items():
            sides[side] = _numbers(body[at : at + 4 * count])
            at += 4 * count
        return Manifest(packs=tuple(header["packs"]), rows=tuple(header["rows"]), sides=sides)
    except (ValueError, KeyError, TypeError, zstandard.ZstdError):
        raise _none() from None


def packs_of(data: bytes) -> tuple[str, ...]:
    """The packs that a manifest of these bytes names. Raises ArtifactError when they are none."""
    return tuple(_header(data)[0].get("packs", ()))


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """What stands at the beginning, and where it ends."""
    try:
        if data[:8] != _MAGIC:
            raise ValueError
        (length,) = struct.unpack_from("<Q", data, 8)
        return msgspec.json.decode(data[16 : 16 + length], type=dict[str, Any]), 16 + length
    except (ValueError, struct.error, msgspec.MsgspecError):
        raise _none() from None


def _none() -> ArtifactError:
    return ArtifactError("a blob is not the manifest of a dataset version", fix="restore it from a backup")


def _steps(numbers: Numbers) -> bytes:
    """Each number as the step from the one before it, first bytes first: nearly all of them are 1."""
    steps = np.diff(numbers, prepend=np.uint32(0)).astype("<u4")
    return steps.view(np.uint8).reshape(-1, 4).T.tobytes()


def _numbers(data: memoryview) -> Numbers:
    places = np.frombuffer(data, np.uint8).reshape(4, -1)
    numbers = np.cumsum(places[0], dtype=np.uint32)
    for i, place in enumerate(places[1:], 1):
        if place.any():  # hardly ever: most steps are 1
            numbers += np.cumsum(place, dtype=np.uint32) << np.uint32(8 * i)
    return numbers
