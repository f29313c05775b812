from __future__ import annotations

import contextlib
import os
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.gguf import write_model
from tunekeeper.deployment.header import open_model, read_gguf


def megabytes(read: Callable[[], Any]) -> float:
    """The most that reading a file held at once, whether or not it was refused."""
    tracemalloc.start()
    try:
        with contextlib.suppress(ArtifactError):
            read()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def file(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    write_model(open_checkpoint(made / "llama" / "base"), None, path, "f16", name="m")
    return path


def test_a_whole_file_is_described(file: Path) -> None:
    header = read_gguf(file)

    assert (header.version, header.architecture, header.adapter) == (3, "llama", False)
    assert header.pairs["llama.block_count"] == 2
    assert header.pairs["tokenizer.ggml.tokens"] == header.pairs["llama.vocab_size"] > 400
    assert next(t for t in header.tensors if t.name == "blk.0.attn_k.weight").shape == (32, 64)
    assert len(open_model(file).tensors) == len(header.tensors)


def test_a_truncated_file_is_refused_wherever_it_ends(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    data = read_gguf(file).data
    chance = random.Random(7)
    ends = {*range(400), *(chance.randrange(len(whole)) for _ in range(120)), data - 1, data, data + 1, len(whole) - 33}
    path = tmp_path / "cut.gguf"

    for end in sorted(ends):
        path.write_bytes(whole[:end])
        with pytest.raises(ArtifactError, match=r"cut\.gguf"):
            read_gguf(path)


@pytest.mark.parametrize(
    ("at", "form", "value", "why"),
    [
        (0, "<4s", b"GGML", "not a GGUF"),
        (0, "<4s", b"PK\x03\x04", "can run code"),
        (4, "<I", 99, "version 99"),
        (4, "<I", 3 << 24, "version"),
        (8, "<Q", 1 << 60, "more than any model"),
        (16, "<Q", 1 << 60, "more than any model"),
        (16, "<Q", 4000, "byte"),
        (24, "<Q", 1 << 62, "claims"),
        (24, "<Q", 0, "key ''"),
    ],
)
def test_lying_numbers_are_refused_at_once(file: Path, tmp_path: Path, at: int, form: str, value: object, why: str) -> None:
    data = bytearray(file.read_bytes())
    struct.pack_into(form, data, at, value)
    path = tmp_path / "lie.gguf"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=why):
        read_gguf(path)
    assert megabytes(lambda: read_gguf(path)) < 5


def test_flipped_bits_of_the_tensor_table_are_refused_or_leave_the_places_right(file: Path, tmp_path: Path) -> None:
    whole, chance, path = file.read_bytes(), random.Random(3), tmp_path / "flip.gguf"
    right = [(t.shape, t.start, t.bytes) for t in read_gguf(file).tensors]
    table = whole.index(b"token_embd.weight") - 8
    refused = 0

    for _ in range(200):
        data = bytearray(whole)
        data[chance.randrange(table, read_gguf(file).data - 40)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            found = read_gguf(path)
        except ArtifactError:
            refused += 1
            continue
        # What is left are letters of a name, which the loader looks up.
        assert [(t.shape, t.start, t.bytes) for t in found.tensors] == right

    assert refused > 50


def test_random_bytes_never_do_anything_but_raise(tmp_path: Path) -> None:
    path, chance = tmp_path / "noise.gguf", random.Random(1)
    for _ in range(200):
        path.write_bytes(b"GGUF\x03\x00\x00\x00" + chance.randbytes(chance.randrange(200)))
        with pytest.raises(ArtifactError):
            read_gguf(path)


def test_a_sparse_file_of_a_terabyte_is_refused_in_no_time(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    path.write_bytes(file.read_bytes())
    os.truncate(path, 1 << 40)

    with pytest.raises(ArtifactError, match="follow the last tensor"):
        read_gguf(path)


def with_array(kind: int, count: int, data: bytes) -> bytes:
    key = struct.pack("<Q20sIQ5s", 20, b"general.architecture", 8, 5, b"llama")
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + key + struct.pack("<Q1sIIQ", 1, b"x", 9, kind, count) + data


@pytest.mark.parametrize(
    ("kind", "count", "data", "why"),
    [
        (8, 5_000_000, bytes(40_000_000), "more than any vocabulary has"),
        (0, 30_000_000, bytes(30_000_000), "more than any vocabulary has"),
        (8, 1000, bytes(8 * 999) + b"\xff" * 8, "ends beyond the file"),
        (8, 1000, struct.pack("<Q", 5000) + bytes(8000), "ends beyond the file"),
    ],
)
def test_a_long_array_is_bounded_and_its_texts_lie_in_the_file(
    tmp_path: Path, kind: int, count: int, data: bytes, why: str
) -> None:
    path = tmp_path / "array.gguf"
    path.write_bytes(with_array(kind, count, data))

    with pytest.raises(ArtifactError, match=why):
        read_gguf(path)


def with_pairs(*pairs: bytes) -> bytes:
    """A file of pairs alone, each a key with its value."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)
    return head + bytes(-len(head) % 32)


def pair(key: bytes, text: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text


ARCHITECTURE = pair(b"general.architecture", b"llama")


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([ARCHITECTURE, *(pair(b"%d" % n, bytes(200_000)) for n in range(30))], "texts claim"),
        ([ARCHITECTURE, *(pair(b"%d" % n + b"x" * 60_000, b"") for n in range(80))], "texts claim"),
        ([ARCHITECTURE, pair(b"x" * 70_000, b"")], "a text claims 70000 bytes"),
        ([ARCHITECTURE, pair(b"\xff\xfe", b"")], "is no name"),
        ([ARCHITECTURE, pair(b"a\x1b[2J", b"")], "is no name"),
        ([struct.pack("<Q20sII", 20, b"general.architecture", 4, 7)], "names no architecture"),
        ([struct.pack("<Q20sIIQ", 20, b"general.architecture", 9, 4, 0)], "names no architecture"),
        ([pair(b"general.architecture", b"\xff\xfe")], "names no architecture"),
        ([pair(b"general.architecture", b"\x1b[2J\nllama")], "names no architecture"),
        # llama.cpp reads it without asking for its type, and ends the process where that is another.
        ([ARCHITECTURE, struct.pack("<Q17sIQ", 17, b"general.alignment", 10, 64)], "alignment of type 10"),
        ([ARCHITECTURE, struct.pack("<Q17sIB", 17, b"general.alignment", 0, 32)], "alignment of type 0"),
    ],
)
def test_texts_are_bounded_together_and_names_are_text(tmp_path: Path, pairs: list[bytes], why: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(with_pairs(*pairs))

    with pytest.raises(ArtifactError, match=why):
        read_gguf(path)


def test_a_long_text_is_its_length(tmp_path: Path) -> None:
    """Some files hold a whole tokenizer.json beside their own."""
    path = tmp_path / "m.gguf"
    path.write_bytes(with_pairs(ARCHITECTURE, *(pair(b"tokenizer.huggingface.%d" % n, b"x" * (9 << 20)) for n in range(3))))

    assert read_gguf(path).pairs["tokenizer.huggingface.2"] == 9 << 20
    path.write_bytes(path.read_bytes()[: 20 << 20])
    with pytest.raises(ArtifactError, match="a text claims 9437184 bytes"):
        read_gguf(path)


EMOJI = "\N{PARTY POPPER}".encode()


@pytest.mark.parametrize(
    "pairs",
    [
        [pair(b"%d" % n, EMOJI + b"x" * 250_000) for n in range(16)],
        [pair(b"a", EMOJI + b"x" * (15 << 20)), pair(b"b", b"\xff" * (15 << 20))],
        [struct.pack("<Q4sIIQ", 4, b"%04d" % n, 9, 8, 64) + (struct.pack("<Q", 60) + EMOJI * 15) * 64 for n in range(400)],
    ],
)
def test_a_header_of_texts_takes_little_memory(tmp_path: Path, pairs: list[bytes]) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(with_pairs(ARCHITECTURE, *pairs))
    pairs.clear()

    assert megabytes(lambda: read_gguf(path)) < 25


def part_of(number: int, count: int) -> bytes:
    """A file that says it is one part of a split model."""
    told = ((b"split.no", number), (b"split.count", count))
    return with_pairs(ARCHITECTURE, *(struct.pack(f"<Q{len(key)}sIH", len(key), key, 2, value) for key, value in told))


def test_a_part_of_a_split_model_is_not_taken_for_the_model(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00003.gguf"
    path.write_bytes(part_of(0, 3))

    assert read_gguf(path).part == (1, 3)
    with pytest.raises(ArtifactError, match=r"part 1 of 3 .*llama-gguf-split --merge"):
        open_model(path)
    path.write_bytes(part_of(0, 1))
    assert read_gguf(path).part is None


def test_a_long_array_is_its_length(tmp_path: Path) -> None:
    path = tmp_path / "array.gguf"
    path.write_bytes(with_array(8, 70, struct.pack("<Q2s", 2, b"ab") * 70) + bytes(-len(with_array(8, 70, bytes(700))) % 32))

    assert read_gguf(path).pairs["x"] == 70


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.gguf")

    with pytest.raises(ArtifactError, match="not a plain file"):
        read_gguf(tmp_path / "m.gguf")
