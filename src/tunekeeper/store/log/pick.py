"""One request out of Parquet files by its id. A file is opened, the groups of rows that can hold the id are looked through, and
of the one that does the other columns are read; putting a query together would take longer than that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.parquet as pq


def rows(paths: Iterable[str], request_id: str) -> list[dict[str, Any]]:
    """The rows of this request in these files, column name → value. Raises OSError for a file that is gone and
    pyarrow.ArrowInvalid for one that is damaged."""
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            found += _inside(file, request_id)
    return found


def _inside(file: pq.ParquetFile, request_id: str) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    footer = file.metadata
    column = footer.schema.names.index("request_id")
    found: list[dict[str, Any]] = []
    for number in range(footer.num_row_groups):
        known = footer.row_group(number).column(column).statistics
        if known is not None and known.has_min_max and not known.min <= request_id <= known.max:
            continue
        ids = file.read_row_group(number, columns=["request_id"], use_threads=False)["request_id"]
        place = pc.index(ids, request_id).as_py()
        if place >= 0:  # an id is once in a file
            found += file.read_row_group(number, use_threads=False).slice(place, 1).to_pylist()
    return found
