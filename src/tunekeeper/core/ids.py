"""Ids, digests and version names.

Ids are time-sortable (48 bits of milliseconds, 80 random bits, Crockford base 32: the ULID layout), so that a request is
found by pruning partitions. Digests are SHA-256, because safetensors, GGUF tools, Ollama and git-lfs all speak it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {c: i for i, c in enumerate(ALPHABET)}
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_REQUEST = re.compile(r"req_([0-9A-HJKMNP-TV-Z]{26})([0-9a-f]{4})")
Entropy = Callable[[int], bytes]


def new_id(prefix: str, at: datetime, entropy: Entropy = os.urandom) -> str:
    """A new id `<prefix>_<26 characters>`; ids of one prefix sort by `at` (UTC, millisecond resolution)."""
    return f"{prefix}_{_ulid(int(at.timestamp() * 1000), entropy)}"


def _ulid(ms: int, entropy: Entropy) -> str:
    number = (ms & (1 << 48) - 1) << 80 | int.from_bytes(entropy(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def time_of(id: str) -> datetime:
    """The UTC moment an id was made, to the millisecond. Raises ValueError for anything that is not one of our ids."""
    body = id.split("_", 1)[-1][:26]
    if len(body) != 26 or any(c not in _VALUE for c in body):
        raise ValueError(f"not an id: {id!r}")
    ms = 0
    for c in body[:10]:
        ms = ms << 5 | _VALUE[c]
    return datetime.fromtimestamp(ms / 1000, UTC)


def request_id(at: datetime, key: bytes, entropy: Entropy = os.urandom) -> str:
    """A new request id: an id followed by 16 bits of keyed check, so that feedback with a made-up id is refused unseen."""
    return checked(_ulid(int(at.timestamp() * 1000), entropy), key)


def checked(body: str, key: bytes) -> str:
    """`req_<body><4 hex digits of HMAC-SHA-256(key, body)>` for a 26-character id body."""
    return f"req_{body}{hmac.digest(key, body.encode(), 'sha256').hex()[:4]}"


class RequestIds:
    """As `request_id`, for one who makes thousands a second: random bytes are fetched in bulk, the key is prepared once."""

    _CHARACTERS = ALPHABET.encode() * 8
    """Byte → a character, each of the 32 as often as any other."""

    def __init__(self, key: bytes, entropy: Entropy = os.urandom) -> None:
        """`key`: at most 64 bytes. `entropy`: bytes wanted → random bytes."""
        block = key.ljust(64, b"\0")  # RFC 2104: the two halves of HMAC-SHA-256, up to where the message begins
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
        self._entropy = entropy
        self._ms = -1
        self._time = ""
        self._random = ""
        self._at = 0

    def new(self, ms: int) -> str:
        """A new request id; `ms`: milliseconds since 1970, UTC."""
        if ms != self._ms:
            self._ms = ms
            self._time = _PAIRS[ms >> 40 & 1023] + _PAIRS[ms >> 30 & 1023] + _PAIRS[ms >> 20 & 1023]
            self._time += _PAIRS[ms >> 10 & 1023] + _PAIRS[ms & 1023]
        at = self._at
        if at == len(self._random):
            self._random, at = self._entropy(4096).translate(self._CHARACTERS).decode(), 0
        self._at = at + 16
        body = self._time + self._random[at : at + 16]
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(body.encode())
        outer.update(inner.digest())
        return f"req_{body}{outer.hexdigest()[:4]}"


def is_request_id(text: str, key: bytes) -> bool:
    """Whether `text` is a request id made with `key`."""
    match = _REQUEST.fullmatch(text)
    return match is not None and hmac.compare_digest(checked(match[1], key), text)


def digest_bytes(data: bytes) -> str:
    """`sha256:<64 hex digits>` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """`sha256:<64 hex digits>` of a file, read in pieces of 1 MiB."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: keys sorted, no spaces, UTF-8. Raises ValueError on NaN and infinities."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")


def digest_json(value: Any) -> str:
    """The digest of a value's canonical JSON."""
    return digest_bytes(canonical_json(value))


def version_name(major: int, minor: int, on: date, examples: int) -> str:
    """The name of a version as the articles write it, e.g. `v2.3-2026-02-26-2104examples` (ADP-03, DATA-29)."""
    return f"v{major}.{minor}-{on:%Y-%m-%d}-{examples}examples"
