"""What was said about requests later, feedback and token counts, read from many small files once and kept while they stay."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

Stamp = tuple[str, int, int, int]


class Kept:
    """The tables of Parquet files, kept up to `limit` bytes; what is over is read again. One thread at a time may ask."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._tables: dict[Stamp, pa.Table] = {}

    def read(self, paths: Sequence[str], schema: pa.Schema) -> pa.Table:
        """The rows of all these files in the given order, as `schema`. Raises OSError for a file that is gone and
        pyarrow.ArrowInvalid for one that is damaged."""
        import pyarrow as pa

        return pa.concat_tables([schema.empty_table(), *(self._one(path, schema) for path in paths)])

    def _one(self, path: str, schema: pa.Schema) -> pa.Table:
        import pyarrow.parquet as pq

        status = os.stat(path)
        stamp = (path, status.st_ino, status.st_size, status.st_mtime_ns)
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


def once(tables: Sequence[pa.Table], key: str, ids: Sequence[str] | None = None) -> pa.Table:
    """The rows of all tables, of these requests or all, the first one of each `key`, in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if ids is not None:
        wanted = pa.array(ids, pa.string())
        tables = [table.filter(pc.is_in(table["request_id"], value_set=wanted)) for table in tables]
    whole = pa.concat_tables(tables)
    if len(whole) == 0 or pc.count_distinct(whole[key]).as_py() == len(whole):
        return whole
    numbered = whole.append_column("_row", pa.array(range(len(whole)), pa.int64()))
    first = numbered.group_by(key).aggregate([("_row", "min")])["_row_min"].combine_chunks()
    return whole.take(first.sort())
