"""Headers of safetensors files: what a stranger's file may claim, and what is believed of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.training.header import HEADER_LIMIT, MAX_TENSORS, tensor_header


def write(path: Path, header: Any, data: bytes = b"1234") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}}


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [("F32", [2, 3], 24), ("BF16", [], 2), ("I64", [0], 0), ("F4", [4, 4], 8), ("F6_E2M3", [4], 3), ("F8_E8M0", [7], 7)],
)
def test_a_tensor_of_each_kind_of_number_is_read(tmp_path: Path, dtype: str, shape: list[int], size: int) -> None:
    file = write(tmp_path / "x.safetensors", entry(dtype, shape, [0, size]) | {"__metadata__": {"format": "pt"}}, bytes(size))
    assert tensor_header(file) == entry(dtype, shape, [0, size])


@pytest.mark.parametrize(
    "header",
    [
        b"hello",
        [],
        {"a": 1},
        {"a": {"dtype": "F32"}},
        entry(dtype=7),
        entry(shape="1"),
        entry(shape=["x"]),
        entry(shape=[-1, -1]),
        entry(shape=[True]),
        entry(shape=[1.0]),
        entry(shape=[1] * 9),
        entry(shape=[10**9, 10**9]),
        entry(shape=[2**64]),
        entry(offsets=[-4, 4]),
        entry(offsets=[4, 0]),
        entry(offsets=[0, 4.0]),
        entry(offsets=[0]),
        entry(dtype="unheard of", shape=[100]),
        entry() | {"b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        entry(shape=[0], offsets=[4, 4]),
        b'{"a":' * 100_000,
        json.dumps(entry()).encode()[:-1] + b"," + json.dumps(entry()).encode()[1:],
    ],
    ids=range(22),
)
def test_a_header_that_the_file_contradicts_is_refused_in_one_line(tmp_path: Path, header: Any) -> None:
    file = write(tmp_path / "x.safetensors", header)
    with pytest.raises(ArtifactError, match=r"x\.safetensors: its header is not that of a safetensors file: .+") as caught:
        tensor_header(file)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_a_header_larger_than_any_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    with file.open("wb") as stream:
        stream.write((HEADER_LIMIT + 1).to_bytes(8, "little"))
        stream.truncate(2 * HEADER_LIMIT)
    with pytest.raises(ArtifactError, match="it claims 8,000,001 bytes"):
        tensor_header(file)


def test_a_header_of_more_objects_than_tensors_need_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = write(tmp_path / "x.safetensors", b'{"a":[' + b"{}," * (2 * MAX_TENSORS) + b"{}]}")
    with pytest.raises(ArtifactError, match="more than 32,768 tensors need"):
        tensor_header(file)


def test_what_ends_early_or_late_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"123")
    with pytest.raises(ArtifactError, match="truncated"):
        tensor_header(file)
    for data in (b"123", b"12345"):
        with pytest.raises(ArtifactError, match="truncated"):
            tensor_header(write(file, entry(), data))


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        tensor_header(tmp_path / "none.safetensors")
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ArtifactError, match="not a plain file"):
        tensor_header(tmp_path / "pipe.safetensors")
