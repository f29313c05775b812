"""Tables kept between questions: never stale, never over the limit, each key once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from tunekeeper.store.log.columns import schema
from tunekeeper.store.log.partitions import write_table
from tunekeeper.store.log.statements import Kept, between, completed, of, once


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


def said(*rows: tuple[str, str, str, str | None]) -> pa.Table:
    """Feedback of (id, request id, kind, value), a microsecond apart."""
    shape = schema("feedback")
    given = {name: [row[n] for row in rows] for n, name in enumerate(("id", "request_id", "kind", "value"))}
    given["timestamp"] = list(range(len(rows)))
    return pa.Table.from_arrays([pa.array(given.get(f.name, [None] * len(rows)), f.type) for f in shape], schema=shape)


def test_what_came_later_fills_what_is_missing_and_the_last_score_counts() -> None:
    rows = pa.table(
        {
            "request_id": ["a", "b", "c"],
            "prompt_tokens": pa.array([None, 5, None], pa.int64()),
            "completion_tokens": pa.array([None, None, None], pa.int64()),
            "cost_usd": pa.array([None, None, 0.5], pa.float64()),
            "quality_score": pa.array([None, None, 0.25], pa.float64()),
        }
    )
    scores = said(
        ("1", "a", "score", "0.5"),
        ("2", "a", "score", "1"),
        ("3", "b", "thumb", '"up"'),
        ("4", "c", "score", "0.75"),
        ("5", "b", "score", '"good"'),
    )
    found = completed(rows, counts(["b", "a"], 7), scores)
    assert found.column_names == rows.column_names
    assert found["prompt_tokens"].to_pylist() == [7, 5, None]
    assert found["quality_score"].to_pylist() == [1.0, None, 0.25]
    assert completed(rows, counts([], 7), said()).equals(rows)


def test_rows_are_chosen_by_the_ids_they_speak_of() -> None:
    table = counts(["a", "b", "c", "d"], 1)
    assert between(table, "b", "c")["request_id"].to_pylist() == ["b", "c"]
    assert of(table, ["d", "a", "x"])["request_id"].to_pylist() == ["a", "d"]
    assert len(of(table, [])) == 0


def test_the_same_files_asked_again_are_the_same_answer_also_where_nothing_may_be_kept(tmp_path: Path) -> None:
    paths = [str(write_table(tmp_path, f"{n}.parquet", "tokens", counts([f"{n}"], n))) for n in range(3)]
    kept, none = Kept(1 << 20), Kept(0)
    assert kept.read(paths, schema("tokens")) is kept.read(paths, schema("tokens"))
    assert none.read(paths, schema("tokens")).equals(none.read(paths, schema("tokens")))
    assert none.size == 0
    assert kept.read(paths[:2], schema("tokens"))["request_id"].to_pylist() == ["0", "1"]
