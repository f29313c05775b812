"""Reading safetensors files with numpy only: a bounded header check, and tensors mapped from disk.

The file comes from outside: sizes, counts and offsets are believed only after they were checked against the file's length.
Format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes without holes.
"""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunekeeper.core.errors import ArtifactError

MAX_HEADER = 8_000_000
MAX_INDEX = 16_000_000
MAX_TENSORS = 32_768
"""In one file: the largest models have some 90,000 in more than a hundred files."""
_WIDE = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")
"""A sign beyond 16 bits, plain or escaped: one of them makes every sign of its text take four bytes."""
_MARKS = ((b"{", 2), (b"[", 3), (b":", 5), (b",", 16))
"""What JSON is made of → how many of it a tensor may take, its name and notes included: a few bytes may be an object of 100."""
SIZES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
PIECE = 8 << 20
"""Bytes that are compared at once."""
READABLE = ("F32", "F16", "BF16")
_PICKLES = (
    b"PK\x03\x04",
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
    b"(lp",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """Where one tensor lies."""

    name: str
    """Its name."""
    dtype: str
    """F32, F16, BF16 …"""
    shape: tuple[int, ...]
    """Its dimensions, outermost first."""
    start: int
    """First byte in the file."""
    end: int
    """Byte after the last."""


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file, checked: lengths inside the file, no overlap, no hole, sizes equal to type times shape.

    Raises ArtifactError naming the file and what is wrong; nothing is ever executed or unpickled.
    """
    try:
        size = regular_size(path)
        with path.open("rb") as file:
            first = file.read(8)
            length = int.from_bytes(first, "little")
            if len(first) < 8 or length < 2 or 8 + length > size:
                # Only now: a header of 640 bytes begins with the same two bytes as a pickle.
                refuse_pickle(path, first)
                raise _bad(path, f"the header claims {length} bytes, the file has {size}: truncated or not safetensors")
            if length > MAX_HEADER:
                raise _bad(path, f"the header claims {length:,} bytes, more than the allowed {MAX_HEADER:,}")
            header = json.loads(_checked(path, file.read(length)), object_pairs_hook=_unique)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"the header is not JSON ({error})") from error
    return _tensors(path, header, 8 + length, size)


def _checked(path: Path, raw: bytes) -> str:
    """The header's text, where it is none that grows a hundredfold as JSON. Raises ArtifactError, ValueError."""
    for mark, each in _MARKS:
        if (count := raw.count(mark)) > each * MAX_TENSORS:
            raise _bad(path, f"the header has {count} times {mark.decode()!r}, more than {MAX_TENSORS} tensors need")
    if len(raw) > MAX_HEADER // 4 and _WIDE.search(raw):
        raise _bad(path, f"the header is {len(raw):,} bytes with emoji, more than the allowed {MAX_HEADER // 4:,}")
    return raw.decode("utf-8")


def regular_size(path: Path) -> int:
    """Bytes of a plain file. Raises ArtifactError for a pipe or a device, which could be read for ever; OSError for none."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise ArtifactError(f"{path}: not a plain file")
    return found.st_size


def refuse_pickle(path: Path, first: bytes) -> None:
    """Raise ArtifactError when the first bytes are those of a pickle, or of an archive that may hold one."""
    if first.startswith(_PICKLES):
        raise ArtifactError(
            f"{path}: a pickle or archive, which can run code when it is read", fix="save the weights as safetensors"
        )


def _bad(path: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{path}: {why}", fix="fetch the file again and compare its digest")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _tensors(path: Path, header: Any, base: int, size: int) -> dict[str, Tensor]:
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise _bad(path, f"the header is not an object of at most {MAX_TENSORS} tensors")
    notes = header.pop("__metadata__", None) or {}
    if not isinstance(notes, dict) or not all(isinstance(text, str) for text in notes.values()):
        raise _bad(path, "__metadata__ holds something else than texts")
    tensors = [_tensor(path, name, value, base, size) for name, value in header.items()]
    at = base
    for tensor in sorted(tensors, key=lambda t: (t.start, t.end)):
        if tensor.start != at:
            raise _bad(path, f"tensor {tensor.name[:60]!r} overlaps another or leaves a hole at byte {at}")
        at = tensor.end
    if at != size:
        raise _bad(path, f"the tensors end at byte {at}, the file has {size}")
    return {tensor.name: tensor for tensor in tensors}


def _tensor(path: Path, name: str, value: Any, base: int, size: int) -> Tensor:
    if not name.isprintable():
        raise _bad(path, f"tensor {name[:60]!r} has a name that cannot be shown")
    try:
        dtype, shape, (start, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise _bad(path, f"tensor {name[:60]!r} lacks dtype, shape or data_offsets") from error
    numbers = (*shape, start, end)
    if (
        not isinstance(dtype, str)
        or dtype not in SIZES
        or len(shape) > 8
        or not all(type(n) is int and 0 <= n <= size for n in numbers)
    ):
        raise _bad(path, f"tensor {name[:60]!r} has an impossible type, shape or offset")
    if end - start != math.prod(shape) * SIZES[dtype] or base + end > size:
        raise _bad(path, f"tensor {name[:60]!r} claims {math.prod(shape) * SIZES[dtype]} bytes and lies at {start} to {end}")
    return Tensor(name=name, dtype=dtype, shape=shape, start=base + start, end=base + end)


def load(path: Path, tensor: Tensor) -> NDArray[Any]:
    """The tensor's values, float32 for BF16 and as stored (float32 or float16) otherwise; mapped, not copied, where possible.

    Raises ArtifactError for a type that weights are not expected in.
    """
    if tensor.dtype not in READABLE:
        raise ArtifactError(
            f"{path}: tensor {tensor.name!r} is {tensor.dtype}", fix="save the checkpoint in float32, float16 or bfloat16"
        )
    if tensor.end == tensor.start:
        return np.zeros(tensor.shape, np.float32)
    raw = np.memmap(path, np.uint8, "r", offset=tensor.start, shape=(tensor.end - tensor.start,))
    if tensor.dtype == "BF16":
        wide = raw.view(np.uint16).astype(np.uint32)
        wide <<= 16  # in place: a second copy would be the largest thing in memory
        return wide.view(np.float32).reshape(tensor.shape)
    return raw.view(np.float32 if tensor.dtype == "F32" else np.float16).reshape(tensor.shape)


class Weights:
    """The tensors of one file, or of the shards of a checkpoint folder, by name."""

    def __init__(self, files: list[Path]) -> None:
        """Reads and checks every header. Raises ArtifactError; also when a name is in two files."""
        self.places: dict[str, tuple[Path, Tensor]] = {}
        for path in files:
            for name, tensor in read_header(path).items():
                if name in self.places:
                    raise ArtifactError(f"{path}: tensor {name!r} is also in {self.places[name][0].name}")
                self.places[name] = (path, tensor)

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def shape(self, name: str) -> tuple[int, ...]:
        """The dimensions of a tensor."""
        return self.places[name][1].shape

    def __getitem__(self, name: str) -> NDArray[Any]:
        return load(*self.places[name])

    def alike(self, name: str, other: str) -> bool:
        """Whether two tensors are stored alike, byte for byte; a piece at a time in memory."""
        (path, one), (path2, two) = self.places[name], self.places[other]
        if (one.dtype, one.shape) != (two.dtype, two.shape):
            return False
        if one.start == one.end:
            return True
        size = one.end - one.start
        here = np.memmap(path, np.uint8, "r", offset=one.start, shape=(size,))
        there = np.memmap(path2, np.uint8, "r", offset=two.start, shape=(size,))
        return all(np.array_equal(here[at : at + PIECE], there[at : at + PIECE]) for at in range(0, size, PIECE))


def open_folder(folder: Path) -> Weights:
    """The weights of a checkpoint folder, one file or sharded. Raises ArtifactError when there are none, or only pickles."""
    return Weights(weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads of a checkpoint: model.safetensors, else those that its index names. Raises
    ArtifactError when there are none, or only pickles."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if single.is_file() or not index.exists():
        if not single.is_file():
            pickled = next(
                (p.name for p in sorted(folder.glob("*")) if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")), None
            )
            why = f"only {pickled}, a pickle that can run code when it is read" if pickled else "no model.safetensors"
            raise ArtifactError(f"{folder}: {why}", fix="save the weights as safetensors")
        return [single]
    try:
        if regular_size(index) > MAX_INDEX:
            raise ArtifactError(f"{index}: larger than {MAX_INDEX // 1_000_000} MB")
        names = sorted({str(name) for name in json.loads(index.read_text("utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{index}: not an index of shards") from error
    if any("/" in name or name.startswith(".") for name in names):
        raise ArtifactError(f"{index}: a shard's name leaves the folder")
    if missing := [name for name in names if not (folder / name).exists()]:
        raise ArtifactError(f"{folder / missing[0]}: missing, and {index.name} names it", fix="fetch the missing files")
    return [folder / name for name in names]
