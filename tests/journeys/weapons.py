"""Model files that want to run code or to be believed: pickles in every coat, headers that lie. Each kind is a (name, bytes)."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

File = tuple[str, bytes]
EMOJI = "\N{PARTY POPPER}".encode()
"""A sign that makes every other sign of its text take four bytes."""
STRING = b"\x08\0\0\0"


class Bomb:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (str(self.path),)


def pickles(path: Path) -> Iterator[File]:
    """A pickle that makes `path`, under the names and in the wrappings that weights come in."""
    plain = [pickle.dumps(Bomb(path), protocol) for protocol in range(6)]
    for protocol, data in enumerate(plain):
        for name in ("model.safetensors", "m.gguf", "adapter_model.safetensors", "pytorch_model.bin", "model.pt", "weights"):
            yield f"{protocol}-{name}", data + bytes(200)
    yield from ((f"{number}.safetensors", data) for number, data in enumerate(_wrapped(plain[4])))
    yield from ((f"{number}.gguf", data) for number, data in enumerate(_wrapped(plain[2])))
    yield "half.gguf", b"GGUF" + plain[4]
    yield "half.safetensors", len(plain[4]).to_bytes(8, "little") + plain[4] + bytes(64)
    yield "json.safetensors", _tensors(json.dumps({"a": plain[0].decode("latin-1")}).encode(), bytes(16))


def _wrapped(data: bytes) -> Iterator[bytes]:
    zipped, taped, objects = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    with tarfile.open(fileobj=taped, mode="w") as tape:
        tape.addfile(info := tarfile.TarInfo("data.pkl"), io.BytesIO(data))
        info.size = len(data)
    np.save(objects, np.array([1, "x", None], object), allow_pickle=True)
    yield from (gzip.compress(data), bz2.compress(data), lzma.compress(data), lzma.compress(data, lzma.FORMAT_ALONE))
    yield from (zstandard.compress(data), zipped.getvalue(), taped.getvalue(), objects.getvalue())
    yield from (b"7z\xbc\xaf\x27\x1c" + data, b"\x89HDF\r\n\x1a\n" + data, b"\x04\x22\x4d\x18" + data, b"joblib" + data)


def _tensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def _entry(start: int, end: int, shape: list[Any], kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


def lying_tensors() -> Iterator[File]:
    """safetensors files whose header is too large, or claims what is not there."""
    headers: list[Any] = [
        {"a": _entry(0, 8, [2]), "b": _entry(4, 12, [2])}, {"a": _entry(0, 16, [4]), "b": _entry(0, 16, [4])},
        {"a": _entry(0, 8, [2])}, {"a": _entry(0, 1 << 62, [1 << 60])}, {"a": _entry(16, 0, [4])}, {"a": _entry(-16, 0, [4])},
        {"a": _entry(0, 16, [1 << 32, 1 << 32])}, {"a": _entry(0, 16, [4] * 5000)}, {"a": _entry(0, 16, [1e9])},
        {"a": _entry(0, 16, [4], "OBJECT")}, {"a": _entry(0, 16, [float("inf")])}, {"a": None}, {"a": []}, [], "text", 7,
        {"a": {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]}}, {"a": _entry(0, 16, "4")},  # type: ignore[arg-type]
        {"a": {"dtype": "F32", "shape": {"4": 4}, "data_offsets": {"0": 0, "16": 16}}},
    ]  # fmt: skip
    for number, header in enumerate(headers):
        yield f"lie{number}.safetensors", _tensors(json.dumps(header).encode(), bytes(16))
    yield "deep.safetensors", _tensors(b"[" * 1_000_000, bytes(16))
    yield "digits.safetensors", _tensors(b'{"a":' + b"9" * 5_000_000 + b"}", bytes(16))
    for length in (0, 1, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1):
        yield f"long{length}.safetensors", _tensors(b"{}", bytes(16), length)
    many = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % number for number in range(300_000))
    yield "header.safetensors", _tensors(b"{" + many + b"}")
    yield "spaces.safetensors", _tensors(b"{}" + b" " * 99_000_000)
    yield "wide.safetensors", _tensors(b'{"' + b"x" * 15_900_000 + EMOJI + b'": 1}')


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


def gguf(*, pairs: bytes = b"", counts: tuple[int, int] | None = None, table: bytes = b"", data: bytes = b"") -> bytes:
    """A GGUF file as written here: `counts` of tensors and pairs as claimed."""
    tensors, named = counts or (1 if table else 0, 1 + (1 if pairs else 0))
    named_so = _text(b"general.architecture") + struct.pack("<I", 8) + _text(b"llama")
    whole = b"GGUF" + struct.pack("<IQQ", 3, tensors, named) + named_so + pairs + table
    return whole + bytes(-len(whole) % 32) + data


def _array(kind: int, count: int, data: bytes) -> bytes:
    return _text(b"x") + struct.pack("<IIQ", 9, kind, count) + data


def tensor(*shape: int, name: bytes = b"t", kind: int = 0, start: int = 0, dimensions: int | None = None) -> bytes:
    return _text(name) + struct.pack(f"<I{len(shape)}QIQ", dimensions or len(shape), *shape, kind, start)


def lying_gguf(whole: bytes, rng: random.Random, often: int) -> Iterator[File]:
    """GGUF files with sizes and counts that lie; `whole` is a right one, whose numbers are made wrong `often` times."""
    large = 1 << 62
    made = [
        gguf(counts=(large, 1)), gguf(counts=(1, large)), gguf(counts=(60_000, 1)), gguf(counts=(0, 4000)),
        gguf(pairs=_array(4, large, b"")), gguf(pairs=_array(8, large, b"")), gguf(pairs=_array(8, 1000, bytes(100))),
        gguf(pairs=_array(9, 1000, b"\x09\0\0\0" * 400)), gguf(pairs=_array(77, 1, b"")), gguf(pairs=_text(b"x") + b"\x63\0\0\0"),
        gguf(pairs=large.to_bytes(8, "little")), gguf(pairs=_text(b"x") + struct.pack("<IQ", 8, large)),
        gguf(pairs=_text(b"general.alignment") + struct.pack("<II", 4, 0), table=tensor(8), data=bytes(32)),
        gguf(pairs=_text(b"general.alignment") + struct.pack("<II", 4, 3), table=tensor(8), data=bytes(32)),
        gguf(table=tensor(large, large), data=bytes(32)), gguf(table=tensor(1 << 33, 1 << 31), data=bytes(32)),
        gguf(table=tensor(8, start=large), data=bytes(32)), gguf(table=tensor(8, start=32), data=bytes(64)),
        gguf(table=tensor(0), data=bytes(32)), gguf(table=tensor(8, dimensions=900), data=bytes(32)),
        gguf(table=tensor(8, kind=999), data=bytes(32)), gguf(table=tensor(7, kind=12), data=bytes(32)),
        gguf(table=tensor(8) + tensor(8), counts=(2, 1), data=bytes(64)), gguf(table=tensor(8, name=b""), data=bytes(32)),
        gguf(table=tensor(8, name=b"t" * 5000), data=bytes(32)), gguf(table=tensor(4096), data=bytes(64)),
        gguf(table=tensor(8) + tensor(8, name=b"u", start=16), counts=(2, 1), data=bytes(64)),
        gguf(pairs=_array(8, 12_000_000, bytes(96_000_000))), gguf(pairs=_array(0, 20_000_000, bytes(20_000_000))),
        gguf(pairs=_text(b"x") + struct.pack("<I", 8) + _text(bytes(20_000_000)), counts=(9, 2)),
        gguf(pairs=b"".join(_text(key) + STRING + _text(b"x" * 15_900_000 + EMOJI) for key in (b"a", b"b")), counts=(9, 3)),
        gguf(pairs=b"".join(_text(b"%d" % n + b"x" * 60_000 + EMOJI) + bytes(5) for n in range(400)), counts=(0, 401)),
        gguf(pairs=_array(8, 2_000_000, _text(b"x" * 50) * 2_000_000), counts=(9, 2)),
    ]  # fmt: skip
    yield from ((f"lie{number}.gguf", data) for number, data in enumerate(made))
    for number in range(often):
        cut = rng.randrange(len(whole))
        yield f"cut{number}.gguf", whole[:cut]
