"""Rows of requests about which something was said: found once, never stale, each request once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tunekeeper.store.log.columns import schema
from tunekeeper.store.log.listing import Listing, Stored
from tunekeeper.store.log.partitions import write_table
from tunekeeper.store.log.told import Told


def table(ids: list[str], origin: str) -> pa.Table:
    shape = schema("metrics")
    given = {"request_id": pa.array(ids, pa.string()), "origin": pa.array([origin] * len(ids), pa.string())}
    return pa.Table.from_arrays([given.get(f.name, pa.nulls(len(ids), f.type)) for f in shape], schema=shape)


def files(root: Path) -> list[Stored]:
    return Listing(root).stored(str(path) for path in sorted(root.glob("*.parquet")))


@pytest.fixture
def connection() -> Iterator[Any]:
    with duckdb.connect() as made:
        yield made


def test_what_was_found_in_a_file_is_not_looked_for_again_and_what_is_new_is(tmp_path: Path, connection: Any) -> None:
    path = write_table(tmp_path, "a.parquet", "metrics", table(["a", "b", "c", "e"], "1"))
    told, stored = Told(1 << 20), files(tmp_path)
    assert told.rows(connection, stored, ["a", "b", "d"])["request_id"].to_pylist() == ["a", "b"]
    path.unlink()
    assert told.rows(connection, stored, ["a", "b", "d"])["request_id"].to_pylist() == ["a", "b"]
    with pytest.raises(duckdb.Error):
        told.rows(connection, stored, ["a", "c"])


def test_a_file_written_anew_is_looked_through_anew(tmp_path: Path, connection: Any) -> None:
    write_table(tmp_path, "a.parquet", "metrics", table(["a", "b"], "1"))
    told = Told(1 << 20)
    assert len(told.rows(connection, files(tmp_path), ["a", "b"])) == 2
    write_table(tmp_path, "a.parquet", "metrics", table(["a"], "1"))
    assert told.rows(connection, files(tmp_path), ["a", "b"])["request_id"].to_pylist() == ["a"]


def test_an_id_in_two_files_is_one_row_of_the_first_origin(tmp_path: Path, connection: Any) -> None:
    write_table(tmp_path, "a.parquet", "metrics", table(["a", "b"], "2"))
    write_table(tmp_path, "b.parquet", "metrics", table(["b", "c"], "1").drop_columns(["slot"]))
    found = Told(1 << 20).rows(connection, files(tmp_path), ["a", "b", "c"])
    assert dict(zip(found["request_id"].to_pylist(), found["origin"].to_pylist(), strict=True)) == {"a": "2", "b": "1", "c": "1"}


def test_beyond_its_limit_it_forgets_and_still_answers(tmp_path: Path, connection: Any) -> None:
    for n in range(4):
        write_table(tmp_path, f"{n}.parquet", "metrics", table([f"{n}-{i}" for i in range(5)], "1"))
    told, ids = Told(1), sorted(f"{n}-{i}" for n in range(4) for i in range(5))
    for _ in range(2):
        assert len(told.rows(connection, files(tmp_path), ids)) == 20
    assert len(told.rows(connection, [], ids)) == 0
