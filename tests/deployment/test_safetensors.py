from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deployment.test_header import megabytes
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.safetensors import Weights, open_folder, read_header


def write(path: Path, header: dict[str, Any] | bytes, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def entry(shape: list[Any], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_values_come_back_from_each_float_type(tmp_path: Path) -> None:
    values = np.array([1.5, -2.0], np.float32)
    half, brain = values.astype(np.float16), (values.view(np.uint32) >> 16).astype(np.uint16)
    header = {
        "a": entry([2], 0, 8),
        "b": entry([1, 2], 8, 12, "F16"),
        "c": entry([2], 12, 16, "BF16"),
        "__metadata__": {"k": "v"},
    }
    path = write(tmp_path / "x.safetensors", header, values.tobytes() + half.tobytes() + brain.tobytes())

    weights = Weights([path])

    assert list(weights) == ["a", "b", "c"]
    assert weights.shape("b") == (1, 2)
    for name in weights:
        assert weights[name].ravel().tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry([2], 0, 8), "b": entry([2], 4, 12)},  # overlap
        {"a": entry([2], 0, 8), "b": entry([1], 12, 16)},  # hole
        {"a": entry([4], 0, 8)},  # shape larger than its bytes
        {"a": entry([2], 0, 8)},  # bytes left over
        {"a": entry([3], 8, 20)},  # beyond the end
        {"a": entry([-3], 0, 12)},
        {"a": entry([1 << 62, 4], 0, 16)},
        {"a": entry([True, 4], 0, 16)},
        {"a": entry([2.0, 2], 0, 16)},
        {"a": entry([4], 0, 16, "PICKLE")},
        {"a": {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32"}},
        {"a": [1, 2]},
        b'{"a": 1',
        b'["a"]',
        b'{"a": {"dtype":"F32","shape":[4],"data_offsets":[0,16]}, "a": 1}',
        b"[" * 5000 + b"]" * 5000,
        {"a\x1b[2J": entry([4], 0, 16)},
        b'{"\\ud800": {"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
        {"a": entry([4], 0, 16), "__metadata__": ["pt"]},
        {"a": entry([4], 0, 16), "__metadata__": {"format": {"is": "pt"}}},
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: Any) -> None:
    with pytest.raises(ArtifactError, match=r"x\.safetensors"):
        read_header(write(tmp_path / "x.safetensors", header, bytes(16)))


def test_a_huge_header_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((200 << 20).to_bytes(8, "little"))
        file.truncate(201 << 20)
    with pytest.raises(ArtifactError, match="more than the allowed"):
        read_header(path)


@pytest.mark.parametrize("crowd", [b"[],", b"{},", b'"a":0,', b"0,"])
def test_a_header_that_would_grow_a_hundredfold_is_refused_before_it_is_parsed(tmp_path: Path, crowd: bytes) -> None:
    path = write(tmp_path / "x.safetensors", b"[" + crowd * 1_200_000 + b"0]")

    with pytest.raises(ArtifactError, match="more than 32768 tensors need"):
        read_header(path)


MANY = {f"a{n}" + "\u20ac" * 20: entry([4], 16 * n, 16 * n + 16) for n in range(20_000)}


@pytest.mark.parametrize(
    "header",
    [
        b'{"__metadata__": {"a": "' + b"x" * 7_900_000 + "\u20ac".encode() + b'"}}',
        b'{"__metadata__": {"a": "' + b"x" * 1_900_000 + "\N{PARTY POPPER}".encode() + b'"}}',
        b'{"__metadata__": {"a": "' + b"x" * 7_900_000 + b'\\ud83c\\udf89"}}',
        b'{"' + b"x" * 7_900_000 + b'": 1}',
        json.dumps(MANY, ensure_ascii=False).encode(),
    ],
)
def test_a_header_takes_little_memory(tmp_path: Path, header: bytes) -> None:
    path = write(tmp_path / "x.safetensors", header, bytes(16 * len(MANY)))

    assert megabytes(lambda: read_header(path)) < 45


def test_a_long_name_is_not_printed_whole(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as told:
        read_header(write(tmp_path / "x.safetensors", {"x" * 1_000_000: 1}, bytes(16)))

    assert len(told.value.message) < 300


def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.safetensors", {"a": entry([4], 0, 16)}, bytes(16)).read_bytes()

    for length in range(len(whole)):
        (tmp_path / "x.safetensors").write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            read_header(tmp_path / "x.safetensors")


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code of a pickle ran')",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_under_a_harmless_name_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb(), protocol=protocol) + bytes(64))

    with pytest.raises(ArtifactError, match="can run code"):
        read_header(path)


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    raw = json.dumps({"a": entry([4], 0, 16)}).encode()

    assert "a" in read_header(write(tmp_path / "x.safetensors", raw.ljust(0x380), bytes(16)))


def test_a_folder_with_only_a_pickle_names_it(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04")

    with pytest.raises(ArtifactError, match=r"only pytorch_model\.bin, a pickle"):
        open_folder(tmp_path)


def test_shards_are_read_together_and_may_not_leave_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "one.safetensors", {"a": entry([1], 0, 4)}, bytes(4))
    write(tmp_path / "two.safetensors", {"b": entry([1], 0, 4)}, bytes(4))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    assert set(open_folder(tmp_path)) == {"a", "b"}

    index.write_text(json.dumps({"weight_map": {"a": "../one.safetensors"}}))
    with pytest.raises(ArtifactError, match="leaves the folder"):
        open_folder(tmp_path)

    for wrong in ({"a": 5}, {"a": ["x"]}, ["a"], "a"):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(ArtifactError):
            open_folder(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")

    with pytest.raises(ArtifactError, match="not a plain file"):
        read_header(tmp_path / "model.safetensors")
