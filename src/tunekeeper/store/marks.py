"""What is known of a row without reading it: its digest, and what is counted of it.

Apart from the packs that keep it, so that whoever looks at rows need not wait for what compresses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import blake3

DIGEST = 16
"""Bytes of a row's digest: the first half of its BLAKE3."""


class Mark(NamedTuple):
    """What is counted of a row without reading it."""

    topic: str
    """Its topic, empty without one."""
    made_up: bool
    """Whether a machine made it up."""
    at: float
    """Its date, seconds since 1970; nan without one."""


def digest_of(line: bytes | memoryview) -> bytes:
    """The digest of a row."""
    return blake3.blake3(line).digest(DIGEST)


def digests_of(lines: Sequence[bytes]) -> list[bytes]:
    """The digests of many rows."""
    hashed = blake3.blake3
    return [hashed(line).digest(DIGEST) for line in lines]
