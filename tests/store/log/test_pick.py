"""One request out of Parquet files: the row that a whole read has, wherever in the file it is."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunekeeper.store.log import partitions, pick
from tunekeeper.store.log.columns import schema
from tunekeeper.store.log.partitions import write_table


def table(ids: list[str]) -> pa.Table:
    shape = schema("metrics")
    given = {"request_id": pa.array(ids, pa.string()), "latency_ms": pa.array([float(n) for n in range(len(ids))])}
    return pa.Table.from_arrays([given.get(f.name, pa.nulls(len(ids), f.type)) for f in shape], schema=shape)


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(partitions.ROW_GROUP, "metrics", 4)


def test_every_id_of_every_group_is_found_and_no_other(tmp_path: Path) -> None:
    ids = [f"{n:03d}" for n in range(0, 22, 2)]
    path = str(write_table(tmp_path, "a.parquet", "metrics", table(ids)))
    assert pq.ParquetFile(path).num_row_groups == 3
    assert [pick.rows([path], id)[0]["latency_ms"] for id in ids] == [float(n) for n in range(11)]
    assert [pick.rows([path], id) for id in ("", "001", "011", "zzz")] == [[]] * 4


def test_an_id_in_two_files_is_two_rows_and_a_file_may_be_empty_or_without_statistics(tmp_path: Path) -> None:
    first = str(write_table(tmp_path, "a.parquet", "metrics", table(["a", "b"])))
    empty = str(write_table(tmp_path, "b.parquet", "metrics", table([])))
    plain = str(tmp_path / "c.parquet")
    pq.write_table(table(["b"]), plain, write_statistics=False)
    assert [row["latency_ms"] for row in pick.rows([first, empty, plain], "b")] == [1.0, 0.0]
    assert pick.rows([], "b") == []


def test_a_file_that_is_gone_or_damaged_is_an_error_and_not_an_absent_request(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pick.rows([str(tmp_path / "gone.parquet")], "a")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(pa.ArrowInvalid):
        pick.rows([str(tmp_path / "bad.parquet")], "a")
