"""Tables kept between questions: never stale, never over the limit, each key once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tunekeeper.store.log.columns import schema
from tunekeeper.store.log.partitions import write_table
from tunekeeper.store.log.statements import Kept, once


def counts(ids: list[str], tokens: int) -> pa.Table:
    values = [ids, [tokens] * len(ids), [None] * len(ids), [None] * len(ids), ["o"] * len(ids)]
    return pa.Table.from_arrays(
        [pa.array(v, f.type) for v, f in zip(values, schema("tokens"), strict=True)], schema=schema("tokens")
    )


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    kept = Kept(1 << 20)
    path = str(write_table(tmp_path, "a.parquet", "tokens", counts(["a"], 1)))
    assert kept.read([path], schema("tokens"))["prompt_tokens"].to_pylist() == [1]
    write_table(tmp_path, "a.parquet", "tokens", counts(["a"], 2))
    assert kept.read([path], schema("tokens"))["prompt_tokens"].to_pylist() == [2]
    assert len(kept.read([], schema("tokens"))) == 0


def test_no_more_than_the_limit_is_kept_and_everything_is_still_read(tmp_path: Path) -> None:
    paths = [str(write_table(tmp_path, f"{n}.parquet", "tokens", counts([f"{n}-{i}" for i in range(100)], n))) for n in range(5)]
    kept = Kept(8000)
    for _ in range(2):
        assert len(kept.read(paths, schema("tokens"))) == 500
        assert 0 <= kept.size <= kept.limit


def test_of_rows_with_the_same_key_the_first_stays_in_the_order_given() -> None:
    tables = [counts(["b", "a"], 1), counts(["a", "c"], 2)]
    assert [tuple(row.values())[:2] for row in once(tables, "request_id").to_pylist()] == [("b", 1), ("a", 1), ("c", 2)]
    assert [row["prompt_tokens"] for row in once(tables, "request_id", ["c", "a"]).to_pylist()] == [1, 2]
    assert len(once(tables, "request_id", [])) == 0
