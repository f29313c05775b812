"""The line format of the spool: how one record becomes one checksummed line, and how lines are found again in a damaged file.

A line is one JSON object, `{"c":"<16 hex digits of xxh3_64 of the rest>",<rest>`, and a newline; the rest begins with
`"k":"<kind>"`.
Kinds: O opened, P partial stream text, E ended (complete in itself), F feedback, T tokens filled in later, X erased.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import xxhash

MARK = b'{"c":"'
PREFIX_BYTES = len(MARK) + 16 + 2
MAX_DEPTH = 200
"""Deepest nesting of a body that is embedded as it is: a reader's own stack must not decide whether a line can be read."""

_VALIDATE = msgspec.json.Decoder(msgspec.Raw).decode
_ENCODE = msgspec.json.Encoder().encode
_NOT_OPENING = bytes(sorted(set(range(256)) - set(b"[{")))
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b'[]{}"')))

Body = bytes | msgspec.Raw | None


def encode(kind: str, fields: Mapping[str, Any], request: Body = None, response: Body = None) -> bytes:
    """One line with its newline: `members` and `assemble` in one. None-valued fields are left out by the caller."""
    return assemble(kind, members(fields), request, response)


def members(fields: Mapping[str, Any]) -> bytes:
    """The fields as members of a JSON object, without its braces."""
    try:
        return _ENCODE(fields)[1:-1]
    except UnicodeEncodeError:
        return _ENCODE(_without_surrogates(fields))[1:-1]


def assemble(kind: str, told: bytes, request: Body = None, response: Body = None) -> bytes:
    """One line with its newline. `told`: members, without braces. Bodies are embedded byte for byte, raw newlines as spaces; what
    is not safe JSON in UTF-8 (a lone surrogate, another encoding, no JSON at all) goes base64 into `request64` or `response64`. A
    body given as `msgspec.Raw` was already validated by msgspec."""
    parts = [b'"k":"', kind.encode(), b'",' if told else b'"', told]
    for name, body in ((b"request", request), (b"response", response)):
        if body is None:
            continue
        safe = _safe(body)
        if safe is not None:
            parts += (b',"', name, b'":', safe)
        else:
            parts += (b',"', name, b'64":"', base64.b64encode(bytes(body)), b'"')
    parts.append(b"}")
    rest = b"".join(parts)
    if b"\n" in rest:
        rest = rest.replace(b"\n", b" ")
    if MARK in rest:
        # A client's own object could look like a line of ours after a torn write; one insignificant space makes that impossible.
        rest = rest.replace(MARK, b'{ "c":"')
    return b"".join((MARK, xxhash.xxh3_64_hexdigest(rest).encode(), b'",', rest, b"\n"))


def _safe(body: bytes | msgspec.Raw) -> bytes | None:
    """The body ready to be embedded, or None when it would break the line for some reader."""
    try:
        data = bytes(body if isinstance(body, msgspec.Raw) else _VALIDATE(body))
        if not data.isascii():
            data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if len(data.translate(None, _NOT_OPENING)) > MAX_DEPTH and _depth(data) > MAX_DEPTH else data


def _depth(data: bytes) -> int:
    depth = deepest = 0
    inside = False
    for byte in data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_BRACKETS):
        if byte == 0x22:
            inside = not inside
        elif inside:
            continue
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def whole(text: str) -> str:
    """A text without lone surrogates: U+FFFD stands for each, as for whatever else cannot be read."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_surrogates(v) for v in value]
    return value


def tombstone(length: int) -> bytes:
    """A line of kind X of exactly `length` bytes, newline included, to overwrite an erased one in place."""
    empty = b'"k":"X","p":""}'
    rest = empty[:-2] + b" " * (length - PREFIX_BYTES - len(empty) - 1) + empty[-2:]
    return MARK + xxhash.xxh3_64_hexdigest(rest).encode() + b'",' + rest + b"\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One whole line whose checksum holds."""

    start: int
    """Offset of its first byte in what was scanned."""
    end: int
    """Offset after its newline."""
    kind: str
    """O, P, E, F, T or X."""
    json: bytes
    """The whole JSON object, checksum included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What a buffer of lines held."""

    lines: tuple[Line, ...]
    """Whole lines in order."""
    corrupt: int
    """Damaged stretches: bytes that are not part of a whole line, neighbours counted as one."""
    consumed: int
    """Bytes after which a later scan of a growing file goes on."""
    torn: bool
    """Whether the end is the beginning of a line that never ended: written by nobody who was told so."""


def scan(data: bytes, *, growing: bool = False) -> Scan:
    """Find every whole line in `data`, going on at the next prefix, also inside a line, where a checksum does not hold.
    `growing`: the last bytes may still be on their way, so an unfinished last line is left for the next scan."""
    lines: list[Line] = []
    corrupt = 0
    damaged = False
    at, size = 0, len(data)
    while at < size:
        line = _line_at(data, at, growing)
        if line is not None:
            damaged |= line.end > line.start + len(line.json) and data[line.end - 1] != 0x0A
            corrupt += damaged
            damaged = False
            lines.append(line)
            at = line.end
            continue
        if data.find(b"\n", at) < 0 and _begins(data, at) and not damaged:
            return Scan(lines=tuple(lines), corrupt=corrupt, consumed=at, torn=True)
        damaged = True
        following = _next(data, at)
        if growing and following == size and data.find(b"\n", at) < 0:
            return Scan(lines=tuple(lines), corrupt=corrupt, consumed=at, torn=False)
        at = following
    return Scan(lines=tuple(lines), corrupt=corrupt + damaged, consumed=at, torn=False)


def _begins(data: bytes, at: int) -> bool:
    """Whether the bytes at `at` are, as far as they go, the beginning of a line."""
    head = data[at : at + PREFIX_BYTES]
    return MARK.startswith(head) if len(head) <= len(MARK) else head.startswith(MARK)


def _line_at(data: bytes, at: int, growing: bool) -> Line | None:
    body = at + PREFIX_BYTES
    if not data.startswith(MARK, at) or data[body - 2 : body] != b'",':
        return None
    checksum = data[at + len(MARK) : body - 2]
    newline = data.find(b"\n", body)
    if newline >= 0 and _holds(checksum, data, body, newline):
        return _made(data, at, newline)
    if newline < 0 and not growing and _holds(checksum, data, body, len(data)):
        return Line(start=at, end=len(data), kind=_kind(data, at), json=data[at:])  # cut just before its newline: complete
    # The newline itself may be what was damaged: the line then ends one byte before the next prefix, or before the end.
    # The extra byte belongs to this line, so the next one is found whole.
    other = data.find(MARK, body)
    end = (len(data) if other < 0 else other) - 1
    if end != newline and end > body and _holds(checksum, data, body, end):
        return _made(data, at, end)
    return None


def _holds(checksum: bytes, data: bytes, start: int, end: int) -> bool:
    return xxhash.xxh3_64_hexdigest(memoryview(data)[start:end]).encode() == checksum


def _made(data: bytes, at: int, end: int) -> Line:
    return Line(start=at, end=end + 1, kind=_kind(data, at), json=data[at:end])


def _kind(data: bytes, at: int) -> str:
    return data[at + PREFIX_BYTES + 5 : at + PREFIX_BYTES + 6].decode("ascii", "replace")


def _next(data: bytes, at: int) -> int:
    """Where to look for a line after the one at `at` failed: the next prefix, else the end."""
    following = data.find(MARK, at + 1)
    return len(data) if following < 0 else following
