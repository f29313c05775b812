"""Rows of requests about which something was said or counted later. Those are few, and the files they lie in never change: what
was found in a file is remembered, so that a window that is asked again looks up only what was said since."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunekeeper.store.log import columns
from tunekeeper.store.log.listing import Stored

if TYPE_CHECKING:
    import pyarrow as pa

_ID_BYTES = 100
_FIND = (
    "SELECT * FROM read_parquet($files, union_by_name = true, filename = '_file') "
    "WHERE request_id IN (SELECT request_id FROM sought)"
)


class _Found:
    """What is known of one file."""

    def __init__(self, stamp: tuple[int, int, int]) -> None:
        self.stamp = stamp
        self.asked: set[str] = set()
        self.table: pa.Table = columns.schema("metrics").empty_table()
        self.size = 0

    def take(self, rows: pa.Table, ids: Sequence[str]) -> None:
        """Rows found when these ids were looked for."""
        import pyarrow as pa

        self.table = pa.concat_tables([self.table, rows]).combine_chunks()
        self.asked.update(ids)
        self.size = self.table.nbytes + _ID_BYTES * len(self.asked)


class Told:
    """Rows of metrics by request id, kept up to about `limit` bytes. One thread at a time may ask."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._files: dict[str, _Found] = {}

    def rows(self, connection: Any, files: Sequence[Stored], ids: Sequence[str]) -> pa.Table:
        """The rows of these requests in these files, each request once; beside them those of others that were asked for before.
        `ids` in ascending order, each once. Raises duckdb.Error for a file that is gone or damaged."""
        import pyarrow as pa
        import pyarrow.compute as pc

        missing: dict[str, list[str]] = {}
        wanted: list[_Found] = []
        for file in files:
            inside = ids[bisect_left(ids, file.low) : bisect_right(ids, file.high)]
            known = self._known(file)
            wanted.append(known)
            fresh = [id for id in inside if id not in known.asked]
            if fresh:
                missing[file.path] = fresh
        if missing:
            self._find(connection, missing)
        whole = pa.concat_tables([columns.schema("metrics").empty_table(), *(known.table for known in wanted)])
        whole = whole.combine_chunks()
        self._forget()
        if pc.count_distinct(whole["request_id"]).as_py() == len(whole):
            return whole
        numbered = whole.sort_by([("request_id", "ascending"), ("origin", "ascending")])
        found = numbered["request_id"].combine_chunks()
        first = pa.concat_arrays([pa.array([True]), pc.not_equal(found[1:], found[:-1])])
        return numbered.filter(first)

    def _known(self, file: Stored) -> _Found:
        known = self._files.pop(file.path, None)
        if known is None or known.stamp != file.stamp:
            known = _Found(file.stamp)
        self._files[file.path] = known  # the newest place: what was asked for least recently is forgotten first
        return known

    def _find(self, connection: Any, missing: dict[str, list[str]]) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        sought = pa.array(sorted({id for some in missing.values() for id in some}), pa.string())
        connection.register("sought", pa.table({"request_id": sought}))
        found = connection.sql(_FIND, params={"files": list(missing)}).to_arrow_table()
        shape = columns.schema("metrics")
        for path, ids in missing.items():
            some = found.filter(
                pc.and_(pc.equal(found["_file"], path), pc.is_in(found["request_id"], pa.array(ids, pa.string())))
            )
            made = [some[f.name].cast(f.type) if f.name in some.column_names else pa.nulls(len(some), f.type) for f in shape]
            self._files[path].take(pa.Table.from_arrays(made, schema=shape), ids)

    def _forget(self) -> None:
        size = sum(known.size for known in self._files.values())
        while size > self.limit:
            size -= self._files.pop(next(iter(self._files))).size
