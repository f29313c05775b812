"""Compressed answers of model servers that compress although they were asked not to: unpacked piece by piece, within a bound."""

from __future__ import annotations

import zlib

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class CodingError(ValueError):
    """An answer that cannot be unpacked; its text is one clause that says why."""


class Unpacker:
    """One answer's body."""

    __slots__ = ("_left", "_name", "_zlib")

    def __init__(self, coding: bytes, most: int) -> None:
        """`coding`: value of content-encoding. `most`: bytes that the whole body may have unpacked. Raises CodingError."""
        self._name = coding.strip().lower().decode("latin-1")[:32]
        if self._name not in ("gzip", "x-gzip", "deflate"):
            raise CodingError(f"is packed as {self._name}, which nobody asked for")
        self._zlib = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._left = most

    def feed(self, piece: bytes) -> bytes:
        """What `piece` adds to the body. Raises CodingError for damage and beyond the bound."""
        try:
            clear = self._zlib.decompress(piece, self._left + 1)
        except zlib.error:
            raise CodingError(f"is not the {self._name} that it says it is") from None
        self._left -= len(clear)
        if self._left < 0:
            raise CodingError("is larger than the gateway takes")
        return clear
