"""Packed answers come out whole, however they are cut, and within their bound."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from tunekeeper.gateway.coding import CodingError, Unpacker

TEXT = random.Random(5).randbytes(3000) * 2


@pytest.mark.parametrize(
    ("name", "packed"),
    [(b"gzip", gzip.compress(TEXT, mtime=0)), (b" X-GZIP ", gzip.compress(TEXT, mtime=0)), (b"deflate", zlib.compress(TEXT))],
)
@pytest.mark.parametrize("step", [1, 777, 100_000])
def test_a_body_is_unpacked_piece_by_piece(name: bytes, packed: bytes, step: int) -> None:
    unpacker = Unpacker(name, len(TEXT))
    assert b"".join(unpacker.feed(packed[at : at + step]) for at in range(0, len(packed), step)) == TEXT


def test_a_bomb_is_stopped_at_the_bound() -> None:
    unpacker = Unpacker(b"gzip", 1000)
    with pytest.raises(CodingError, match="larger"):
        unpacker.feed(gzip.compress(b"x" * 50_000_000))


@pytest.mark.parametrize("name", [b"br", b"zstd", b"gzip, gzip", b""])
def test_other_codings_are_named_and_refused(name: bytes) -> None:
    with pytest.raises(CodingError, match="nobody asked for"):
        Unpacker(name, 1000)


def test_damage_is_said() -> None:
    with pytest.raises(CodingError, match="is not the gzip"):
        Unpacker(b"gzip", 1000).feed(b"plain text")
