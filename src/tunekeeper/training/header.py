"""The header of a safetensors file, which comes from outside: nothing in it is believed that the file's length contradicts.

Format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes without holes. Standard library only.
"""

from __future__ import annotations

import json
import math
import re
import stat
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError

HEADER_LIMIT = 8_000_000
"""Bytes."""
MAX_TENSORS = 32_768
"""In one file: the largest models have some 90,000 in more than a hundred files."""
MARKS = ((b"{", 2), (b"[", 3), (b":", 5), (b",", 16))
"""What JSON is made of → how many of it a tensor may take, its name and notes included: a few bytes may be an object of 100."""
WIDE = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")
"""A sign beyond 16 bits, plain or escaped: one of them makes every sign of its text take four bytes."""
BITS = {"F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32} | {"BOOL": 8, "I8": 8, "U8": 8}
"""Type → bits of a number; a type that is not here, as the 8-bit and narrower floats, has from 4 to 8."""
HALVES = ("F16", "BF16", "I16", "U16")


def tensor_header(file: Path) -> dict[str, Any]:
    """Tensor name → {dtype, shape, data_offsets} of a safetensors file. Raises ArtifactError on a broken one."""
    try:
        size = plain_size(file)
        with file.open("rb") as stream:
            start = stream.read(8)
            length = int.from_bytes(start, "little") if len(start) == 8 else size
            if length > size - 8:
                raise ArtifactError(f"{file}: truncated, its header does not fit in its {size} bytes", fix=AGAIN)
            if length > HEADER_LIMIT:
                raise _odd(file, f"it claims {length:,} bytes")
            header = _parsed(file, _checked(file, stream.read(length)))
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read ({error.strerror})", fix=AGAIN) from error
    tensors = {name: _tensor(file, name, entry) for name, entry in header.items() if name != "__metadata__"}
    _refuse_gaps(file, tensors, 8 + length, size)
    return tensors


def plain_size(file: Path) -> int:
    """Bytes of a plain file. Raises ArtifactError for a pipe or a device, which would be waited for; OSError for none."""
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ArtifactError(f"{file}: not a plain file")
    return found.st_size


AGAIN = "fetch the file again and compare its digest"


def _odd(file: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{file}: its header is not that of a safetensors file: {why}", fix=AGAIN)


def _checked(file: Path, raw: bytes) -> str:
    for mark, each in MARKS:
        if (count := raw.count(mark)) > each * MAX_TENSORS:
            raise _odd(file, f"{count:,} times {mark.decode()!r}, more than {MAX_TENSORS:,} tensors need")
    if len(raw) > HEADER_LIMIT // 4 and WIDE.search(raw):
        raise _odd(file, f"{len(raw):,} bytes with emoji")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _odd(file, " ".join(str(error).split())[:200]) from error


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _odd(file, " ".join(str(error).split())[:200]) from error
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise _odd(file, f"no object of at most {MAX_TENSORS:,} tensors")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _tensor(file: Path, name: str, entry: Any) -> dict[str, Any]:
    """The entry, once its type, dimensions and offsets are such, and as many bytes as they need."""
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise _odd(file, f"tensor {name[:60]!r} lacks dtype, shape or data_offsets") from error
    if not isinstance(dtype, str) or not isinstance(shape, list) or len(shape) > 8 or not all(map(_count, (*shape, start, end))):
        raise _odd(file, f"tensor {name[:60]!r} has an impossible type, shape or offset")
    held, numbers = 8 * (end - start), math.prod(shape)
    bits = 16 if dtype in HALVES else BITS.get(dtype)
    if held < 0 or (held != numbers * bits if bits else not 4 * numbers <= held <= 8 * numbers):
        raise _odd(file, f"tensor {name[:60]!r} of {shape} {dtype} does not lie in {end - start} bytes")
    return dict(entry)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _refuse_gaps(file: Path, tensors: dict[str, Any], begin: int, size: int) -> None:
    """Raise ArtifactError unless the tensors fill the file from the header on, one behind the other."""
    at = 0
    for start, end in sorted(entry["data_offsets"] for entry in tensors.values()):
        if start != at:
            raise _odd(file, f"two tensors overlap, or leave a hole, at byte {begin + at}")
        at = end
    if begin + at != size:
        raise ArtifactError(f"{file}: truncated, {begin + at} bytes announced and {size} there", fix=AGAIN)
