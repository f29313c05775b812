"""What was said about requests later, feedback and token counts, read from many small files once and kept while they stay."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

Stamp = tuple[str, int, int, int]
COUNTS = ("prompt_tokens", "completion_tokens", "cost_usd")
"""What can be filled in after a request's end."""
SCORE = "score"
"""The kind of feedback that says how good an answer was, from 0 to 1."""


class Kept:
    """The tables of Parquet files, kept up to `limit` bytes, and up to so many again of the last answer for each schema; what is
    over is read again. One thread at a time may ask."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._tables: dict[Stamp, pa.Table] = {}
        self._whole: dict[tuple[str, ...], tuple[tuple[Stamp, ...], pa.Table]] = {}

    def read(self, paths: Sequence[str], schema: pa.Schema) -> pa.Table:
        """The rows of all these files in the given order, as `schema`. Raises OSError for a file that is gone and
        pyarrow.ArrowInvalid for one that is damaged."""
        import pyarrow as pa

        stamps = tuple(_stamp(path) for path in paths)
        kind = tuple(schema.names)
        known = self._whole.pop(kind, None)
        if known is None or known[0] != stamps:
            tables = [schema.empty_table(), *(self._one(stamp, schema) for stamp in stamps)]
            known = (stamps, pa.concat_tables(tables).combine_chunks())
        if known[1].nbytes <= self.limit:
            self._whole[kind] = known
        return known[1]

    def _one(self, stamp: Stamp, schema: pa.Schema) -> pa.Table:
        import pyarrow.parquet as pq

        path = stamp[0]
        table = self._tables.pop(stamp, None)
        if table is None:
            with pq.ParquetFile(path) as file:  # a third of the time of `read_table`, which the columns of an older version need
                same = file.schema_arrow.equals(schema)
                table = file.read() if same else pq.read_table(path, schema=schema, partitioning=None)
            self.size += table.nbytes
        self._tables[stamp] = table  # the newest place: what was asked for least recently goes first
        while self.size > self.limit:
            self.size -= self._tables.pop(next(iter(self._tables))).nbytes
        return table


def _stamp(path: str) -> Stamp:
    status = os.stat(path)
    return path, status.st_ino, status.st_size, status.st_mtime_ns


def once(tables: Sequence[pa.Table], key: str, ids: Sequence[str] | None = None) -> pa.Table:
    """The rows of all tables, of these requests or all, the first one of each `key`, in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if ids is not None:
        tables = [of(table, ids) for table in tables]
    whole = pa.concat_tables([table for table in tables if len(table)] or tables[:1])
    if len(whole) == 0 or pc.count_distinct(whole[key]).as_py() == len(whole):
        return whole
    numbered = whole.append_column("_row", pa.array(range(len(whole)), pa.int64()))
    first = numbered.group_by(key).aggregate([("_row", "min")])["_row_min"].combine_chunks()
    return whole.take(first.sort())


def of(table: pa.Table, ids: Sequence[str]) -> pa.Table:
    """The rows about these requests."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["request_id"], value_set=pa.array(ids, pa.string())))


def between(table: pa.Table, low: str, high: str) -> pa.Table:
    """The rows about requests whose ids are in `[low, high]`."""
    import pyarrow.compute as pc

    ids = table["request_id"]
    return table.filter(pc.and_(pc.greater_equal(ids, low), pc.less_equal(ids, high)))


def completed(rows: pa.Table, counts: pa.Table, said: pa.Table) -> pa.Table:
    """Rows of metrics with what came later where they have none of their own: token counts and costs (`counts`, one row for a
    request) and the last score that was given (`said`: feedback)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    scores = said.filter(pc.equal(said["kind"], SCORE)).sort_by([("timestamp", "ascending"), ("id", "ascending")])
    last = dict(zip(scores["request_id"].to_pylist(), map(_number, scores["value"].to_pylist()), strict=True))
    given = pa.table({"request_id": pa.array(last, pa.string()), "quality_score": pa.array(last.values(), pa.float64())})
    for table, names in ((counts, COUNTS), (given, ("quality_score",))):
        places = pc.index_in(rows["request_id"], value_set=table["request_id"].combine_chunks())
        if places.null_count == len(rows):
            continue
        for name in names:
            both = pc.coalesce(rows[name], table[name].take(places))
            rows = rows.set_column(rows.column_names.index(name), name, both)
    return rows


def _number(text: str | None) -> float | None:
    """A score as feedback keeps it, JSON text; None for what is no number."""
    value = None if text is None else msgspec.json.decode(text)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
