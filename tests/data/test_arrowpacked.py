from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data import columnar
from tunekeeper.data.arrowpacked import refuse_bomb
from tunekeeper.data.formats import read_rows

TALK = {"prompt": ["Hi"] * 500, "answer": [f"Hello {n}" for n in range(500)]}


def arrow(path: Path, table: pa.Table, compression: str | None, *, stream: bool) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema, options=options) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_arrow_files_are_read_however_they_are_packed(tmp_path: Path, compression: str | None, stream: bool) -> None:
    table = pa.table({**TALK, "topic": pa.array(["a", "b"] * 250).dictionary_encode()})
    rows = list(read_rows(arrow(tmp_path / "t.arrow", table, compression, stream=stream)))
    assert [row.conversation.messages[1]["content"] for row in rows if row.conversation] == TALK["answer"]
    assert rows[1].conversation is not None
    assert rows[1].conversation.metadata == {"topic": "b", "category": "b"}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_packed_bomb_is_refused_before_it_unpacks(tmp_path: Path, compression: str, stream: bool) -> None:
    nothing = " " * (64 << 20)
    for name, column in (("records", pa.array([nothing])), ("words", pa.array([nothing]).dictionary_encode())):
        path = arrow(tmp_path / f"{name}.arrow", pa.table({"prompt": column, "answer": ["x"]}), compression, stream=stream)
        before = pa.total_allocated_bytes()
        with pytest.raises(DataError, match=r"batch \d: unpacks to more than 200 times its size"):
            list(read_rows(path))
        assert pa.total_allocated_bytes() - before < 1 << 20


def test_a_batch_may_unpack_to_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "GROUP_LIMIT", 1000)
    path = arrow(tmp_path / "t.arrow", pa.table(TALK), "zstd", stream=True)
    with pytest.raises(DataError, match="unpacks to 0 MB, at most 0 MB are read at once"):
        list(read_rows(path))


def test_a_damaged_message_is_refused_in_one_line(tmp_path: Path) -> None:
    path = arrow(tmp_path / "t.arrow", pa.table(TALK), "zstd", stream=True)
    messages = list(pa.ipc.MessageReader.open_stream(str(path)))
    metadata, body = messages[1].metadata.to_pybytes(), messages[1].body
    refused = 0
    for place in range(0, len(metadata), 3):
        changed = metadata[:place] + b"\xff\xff" + metadata[place + 2 :]
        try:
            refuse_bomb("batch 2", changed, body, 1 << 30)
        except DataError:
            refused += 1
    assert refused > 5
