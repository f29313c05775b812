"""A bounded check of a GGUF file's header: nothing in it is believed before it was compared with the file's length.

Layout (GGUF 2 and 3, little-endian): magic, version, number of tensors, number of key-value pairs; the pairs; the tensors'
names, dimensions, types and offsets; padding; the data. llama.cpp has crashed on files that lie here.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.safetensors import refuse_pickle, regular_size

if TYPE_CHECKING:
    import gguf  # an extra: the worker starts without it

AGAIN = "fetch or export the file again and compare its digest"
"""What to do with a damaged file."""
JOIN = "join its parts first: llama-gguf-split --merge FIRST-PART WHOLE.gguf"
"""What to do with a model in parts."""
MAX_HEADER = 256 << 20
MAX_PAIRS = 4096
MAX_TENSORS = 65_536
MAX_NAME = 64
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_UINT32, _STRING, _ARRAY = 4, 8, 9
ALIGNMENT = "general.alignment"
_LENGTH = struct.Struct("<Q")
MAX_KEY = 65_535
MAX_TEXTS = 4 << 20
"""Bytes of all keys and texts together that are kept; one sign beyond 16 bits makes four of each."""
_EACH = 100
"""Bytes that any text takes besides."""
MAX_ELEMENTS = 4_000_000
"""Of all arrays together; the largest vocabularies with their merges have a quarter of that, and readers go through each."""
_KEPT, _KEPT_TEXT = 64, 1 << 18
"""Elements of an array, and bytes of a text, that are kept; of longer ones only the length is."""
_PIECE = 1 << 20
"""Bytes that are read at a time of what is passed over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufTensor:
    """One tensor of a GGUF file."""

    name: str
    """llama.cpp's name."""
    shape: tuple[int, ...]
    """Dimensions, outermost first (GGUF stores them the other way round)."""
    kind: str
    """Type: F32, F16, Q4_K …"""
    bytes: int
    """Its length in the file."""
    start: int
    """First byte, counted from the start of the data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself, checked."""

    version: int
    """2 or 3."""
    pairs: dict[str, Any]
    """Key → value; an array longer than 64, or a text of more than 256 KiB, is its length."""
    tensors: tuple[GgufTensor, ...]
    """In file order."""
    data: int
    """First byte of the data."""

    @property
    def architecture(self) -> str:
        """general.architecture; empty when it has none."""
        return str(self.pairs.get("general.architecture", ""))

    @property
    def adapter(self) -> bool:
        """Whether the file is an adapter and not a model."""
        return self.pairs.get("general.type") == "adapter"

    @property
    def part(self) -> tuple[int, int] | None:
        """Which part it is of how many, from 1, where a model was split; None for a whole one."""
        number, count = self.pairs.get("split.no"), self.pairs.get("split.count")
        return (number + 1, count) if type(number) is int and type(count) is int and count > 1 else None


class _Reader:
    """Reads forward; every length is checked against what is left before anything is made of it."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size, self.at = path, file, min(size, MAX_HEADER), 0
        self.elements = self.texts = 0

    def bad(self, why: str) -> ArtifactError:
        return ArtifactError(f"{self.path}: {why} (byte {self.at})", fix=AGAIN)

    def take(self, count: int) -> bytes:
        if count > self.size - self.at:
            raise self.bad(f"the header claims {count} more bytes than there are: truncated or damaged")
        data = self.file.read(count)
        if len(data) != count:
            raise self.bad("the file ends inside the header: truncated")
        self.at += count
        return data

    def skip(self, count: int) -> None:
        self.at += count
        self.file.seek(self.at)

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, most: int) -> str:
        length = self.number("<Q")
        if length > min(self.size - self.at, most):
            raise self.bad(f"a text claims {length} bytes: truncated or damaged")
        return self.take(length).decode("utf-8", "replace")

    def name(self, most: int) -> str:
        found = self.text(most)
        if not found.isprintable() or "\ufffd" in found:
            raise self.bad(f"{found[:60]!r} is no name: not UTF-8, or not to be shown")
        return found

    def keep(self, length: int) -> None:
        self.texts += _EACH + length
        if self.texts > MAX_TEXTS:
            raise self.bad(f"its texts claim {self.texts} bytes, more than any model has")

    def kept(self) -> str | int:
        """A text of a value, or its length where that is large: a whole tokenizer, a picture."""
        length = int(self.number("<Q"))
        if length > self.size - self.at:
            raise self.bad(f"a text claims {length} bytes: truncated or damaged")
        if length > _KEPT_TEXT:
            self.skip(length)
            return length
        self.keep(length)
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.kept()
        if kind == _ARRAY:
            return self._array()
        raise self.bad(f"a value of unknown type {kind}")

    def _array(self) -> Any:
        kind, count = self.number("<I"), self.number("<Q")
        if kind == _ARRAY or (kind not in _SCALARS and kind != _STRING):
            raise self.bad(f"an array of elements of type {kind}")
        width = 8 if kind == _STRING else struct.calcsize(_SCALARS[kind])
        if count > (self.size - self.at) // width:
            raise self.bad(f"an array claims {count} elements: truncated or damaged")
        self.elements += count
        if self.elements > MAX_ELEMENTS:
            raise self.bad(f"its arrays claim {self.elements} elements, more than any vocabulary has")
        if count <= _KEPT:
            return [self.value(kind) for _ in range(count)]
        if kind != _STRING:
            self.skip(count * width)
            return count
        return self._texts(count)

    def _texts(self, count: int) -> int:
        """Pass over that many texts, each of which lies inside the file. A mapped file would count as memory of ours."""
        at, start, piece = self.at, self.at, b""
        for _ in range(count):
            if at + 8 > start + len(piece):
                self.file.seek(at)
                start, piece = at, self.file.read(_PIECE)
            at += 8 + _LENGTH.unpack_from(piece, at - start)[0] if at <= self.size - 8 else self.size
            if at > self.size:
                raise self.bad("a text of an array ends beyond the file: truncated or damaged")
        self.skip(at - self.at)
        return count


def read_gguf(path: Path) -> GgufHeader:
    """The header of a GGUF file, checked in bounded time and memory. Raises ArtifactError naming the file and the byte."""
    try:
        size = regular_size(path)
        with path.open("rb") as file:
            reader = _Reader(path, file, size)
            return _header(reader, size)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error


def _header(reader: _Reader, size: int) -> GgufHeader:
    magic = reader.take(4)
    refuse_pickle(reader.path, magic)
    if magic != b"GGUF":
        raise reader.bad(f"begins with {magic!r}: not a GGUF file")
    version, tensors, pairs = reader.number("<I"), reader.number("<Q"), reader.number("<Q")
    if version not in (2, 3):
        raise reader.bad(f"GGUF version {version}; 2 and 3 are known")
    if tensors > MAX_TENSORS or pairs > MAX_PAIRS:
        raise reader.bad(f"claims {tensors} tensors and {pairs} keys, more than any model has")
    found: dict[str, Any] = {}
    for _ in range(pairs):
        key = reader.name(MAX_KEY)
        reader.keep(len(key))
        if not key or key in found:
            raise reader.bad(f"key {key[:60]!r} is empty or there twice")
        kind = reader.number("<I")
        if key == ALIGNMENT and kind != _UINT32:
            raise reader.bad(f"alignment of type {kind}, where llama.cpp ends the process")
        found[key] = reader.value(kind)
    architecture = found.get("general.architecture")
    if not isinstance(architecture, str) or not architecture.isprintable() or not architecture or "\ufffd" in architecture:
        raise reader.bad("it names no architecture")
    entries = [_tensor(reader) for _ in range(tensors)]
    alignment = found.get(ALIGNMENT, 32)
    if type(alignment) is not int or alignment < 8 or alignment > 4096 or alignment & (alignment - 1):
        raise reader.bad(f"alignment {alignment}")
    data = -(-reader.at // alignment) * alignment
    _check_places(reader, entries, data, alignment, size)
    return GgufHeader(version=version, pairs=found, tensors=tuple(entries), data=data)


def _tensor(reader: _Reader) -> GgufTensor:
    import gguf

    name = reader.name(MAX_NAME - 1)
    dimensions = reader.number("<I")
    if not name or not 0 < dimensions <= 4:
        raise reader.bad(f"tensor {name[:60]!r} with {dimensions} dimensions")
    shape = tuple(reversed([reader.number("<Q") for _ in range(dimensions)]))
    kind, start = reader.number("<I"), reader.number("<Q")
    if min(shape) < 1 or max(shape) > 1 << 40 or math.prod(shape) > 1 << 48:
        raise reader.bad(f"tensor {name!r} with dimensions {shape}")
    try:
        type_ = gguf.GGMLQuantizationType(kind)
    except ValueError as error:
        raise reader.bad(f"tensor {name!r} of unknown type {kind}") from error
    block, width = gguf.GGML_QUANT_SIZES[type_]
    if shape[-1] % block:
        raise reader.bad(f"tensor {name!r}: rows of {shape[-1]} do not fit {type_.name}")
    return GgufTensor(name=name, shape=shape, kind=type_.name, bytes=math.prod(shape) // block * width, start=start)


def _check_places(reader: _Reader, tensors: list[GgufTensor], data: int, alignment: int, size: int) -> None:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise reader.bad("a tensor's name is there twice")
    at = 0
    for tensor in sorted(tensors, key=lambda t: t.start):
        if tensor.start != at:
            raise reader.bad(f"tensor {tensor.name!r} lies at {tensor.start} where {at} is due: overlap or hole")
        at = -(-(tensor.start + tensor.bytes) // alignment) * alignment
        if data + tensor.start + tensor.bytes > size:
            raise reader.bad(f"tensor {tensor.name!r} ends beyond the file's {size} bytes: truncated")
    if size > data + at:
        raise reader.bad(f"{size - data - at} bytes follow the last tensor")


def refuse_part(path: Path, header: GgufHeader) -> None:
    """Raise ArtifactError for one part of a model that was split: it is not the model."""
    if header.part:
        number, count = header.part
        raise ArtifactError(f"{path}: part {number} of {count} of a model that was split", fix=JOIN)


def open_model(path: Path) -> gguf.GGUFReader:
    """The `gguf` package's reader of a model file whose header was checked first. Raises ArtifactError."""
    import gguf

    header = read_gguf(path)
    if header.adapter:
        raise ArtifactError(f"{path}: an adapter, not a model", fix="give the model's file")
    refuse_part(path, header)
    try:
        return gguf.GGUFReader(path)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}", fix=AGAIN) from error
