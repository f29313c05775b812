"""Reading the whole log and saying what is in it: the answer to "was anything lost, doubled or damaged?"."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.store.log import columns, partitions, segments
from tunekeeper.store.log.lines import scan
from tunekeeper.store.log.segments import Segment
from tunekeeper.store.log.tail import Opened, read_lines

if TYPE_CHECKING:
    import duckdb
    import pyarrow.parquet as pq

_COUNT = (
    "SELECT count(*), coalesce(CAST(sum(origins - 1) AS BIGINT), 0) FROM "
    "(SELECT request_id, count(DISTINCT origin) AS origins FROM held GROUP BY request_id)"
)

_EVERY = "SELECT bit_xor(hash(held)) FROM read_parquet($files, union_by_name = true) AS held"
"""Reads every value of the files."""

_SAID = (
    "SELECT DISTINCT name, type, repetition_type, num_children, converted_type, scale, precision, logical_type "
    "FROM parquet_schema($files) WHERE name <> 'schema'"
)
"""What footers say of their columns, and of what those consist of."""


def verify(root: Path, damaged: list[Path] | None = None) -> dict[str, int]:
    """Count `records` (request ids, interrupted ones included), `duplicates` (times an id was written again), `open` (requests
    of living writers that have not ended) and `corrupt` (damaged stretches of segments, whole lines that are no records, Parquet
    files whose pages do not hold their checksums, or not what their footers say). Run beside a compaction it may look twice, but
    counts a record once. Damaged Parquet files are added to `damaged`."""
    broken = [] if damaged is None else damaged
    with segments.maintenance(root):
        ids, origins, still_open, corrupt = _spool(root)
        good, merged = _parquet(root, broken)
        records, doubled = _counted(ids, origins, good)
    aside_doubled, aside_corrupt = _aside(root)
    return {
        "records": records,
        "duplicates": doubled + merged + aside_doubled,
        "open": still_open,
        "corrupt": corrupt + len(broken) + aside_corrupt,
    }


def _spool(root: Path) -> tuple[list[str], list[str], int, int]:
    ids: list[str] = []
    origins: list[str] = []
    still_open = corrupt = 0
    for writer, group in segments.by_writer(segments.list_segments(root)).items():
        alive = segments.is_alive(root, writer)
        opened = Opened()
        chain = {segment.path for segment in segments.open_chain(group)}
        for segment in group:
            found = scan(segment.path.read_bytes(), growing=segments.is_held(segment.path))
            content = read_lines(found.lines)
            corrupt += found.corrupt + content.unreadable
            ids.extend(record.request_id for _, record in content.ended)
            origins.extend(_origin(segment, line.start) for line, _ in content.ended)
            for line, record in content.open if segment.path in chain else ():
                opened.take(line.kind, record)
        if alive:
            still_open += len(opened.records)
        else:
            ids.extend(opened.records)
            origins.extend(f"open:{id}" for id in opened.records)
    return ids, origins, still_open, corrupt


def _origin(segment: Segment, start: int) -> str:
    return f"{segment.stem}:{start}"


def _parquet(root: Path, damaged: list[Path]) -> tuple[list[str], int]:
    """Files of metrics with rows, and how many repeated ids merging has dropped. What is damaged goes to `damaged`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    good: dict[str, list[str]] = {kind: [] for kind in partitions.KINDS}
    merged = 0
    for kind, found in good.items():
        for path in partitions.files(root, kind, None, None):
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    rows, again = _rows(file, kind), partitions.doubles(file.schema_arrow)
            except (pa.ArrowException, OSError, ValueError):
                damaged.append(path)
                continue
            merged += again if kind == "metrics" else 0
            found += [str(path)] if rows else []
        found[:] = _answering(found, kind, damaged)
    return good["metrics"], merged


def _answering(files: list[str], kind: str, damaged: list[Path]) -> list[str]:
    """Of these files those that a question can be asked of: what one reader passes over in a damaged file, the other stops at, or
    takes for bytes what is text."""
    import duckdb

    def answers(some: list[str]) -> bool:
        try:
            connection.execute(_EVERY, {"files": some}).fetchall()
            return known.issuperset(connection.execute(_SAID, {"files": some}).fetchall())
        except duckdb.Error:
            return False

    with duckdb.connect() as connection:
        known = _written(connection, kind)
        if not files or answers(files):
            return files
        good = [file for file in files if answers([file])]
    damaged.extend(Path(file) for file in files if file not in good)
    return good


def _written(connection: duckdb.DuckDBPyConnection, kind: str) -> set[tuple[Any, ...]]:
    """What the footer of a file of ours says of the columns that it may have."""
    import pyarrow.parquet as pq

    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        pq.write_table(columns.schema(kind).empty_table(), file.name)
        return set(connection.execute(_SAID, {"files": [file.name]}).fetchall())


def _rows(file: pq.ParquetFile, kind: str) -> int:
    """How many rows a file has. Raises ValueError where its footer, which no checksum guards, says else than its pages: what it
    says of least and greatest values, a question believes."""
    import pyarrow.compute as pc

    footer, known = file.metadata, columns.schema(kind).names
    names = footer.schema.to_arrow_schema().names
    rows = 0
    for number in range(footer.num_row_groups):
        group = file.read_row_group(number)
        rows += len(group)
        for place, name in enumerate(footer.schema.names):
            if name not in partitions.RANGED:
                continue
            chunk = footer.row_group(number).column(place)
            if chunk.physical_type != footer.schema.column(place).physical_type:
                raise ValueError(name)  # asked for its statistics, pyarrow would end the process
            said = chunk.statistics
            if said is not None and said.has_min_max and pc.min_max(group[name]).as_py() != {"min": said.min, "max": said.max}:
                raise ValueError(name)
    if rows != footer.num_rows or not set(names) <= set(known):
        raise ValueError(kind)
    return rows


def _counted(ids: list[str], origins: list[str], files: list[str]) -> tuple[int, int]:
    import duckdb
    import pyarrow as pa

    connection: Any = duckdb.connect()
    try:
        connection.register(
            "spooled", pa.table({"request_id": pa.array(ids, pa.string()), "origin": pa.array(origins, pa.string())})
        )
        both = "WITH held AS (SELECT request_id, origin FROM spooled"
        if files:
            both += " UNION ALL SELECT request_id, origin FROM read_parquet($files, union_by_name = true)"
        ((records, doubled),) = connection.execute(both + ") " + _COUNT, {"files": files} if files else None).fetchall()
    finally:
        connection.close()
    return int(records), int(doubled)


def _aside(root: Path) -> tuple[int, int]:
    """What compaction found wrong in segments that are Parquet now."""
    doubled = corrupt = 0
    spooled = {segment.path.name for segment in segments.list_segments(root)}
    for path in sorted((root / "spool" / "damaged").glob("*.jsonl")):
        if path.name in spooled:
            continue
        found = scan(path.read_bytes())
        content = read_lines(found.lines)
        corrupt += found.corrupt + content.unreadable
        doubled += sum(n - 1 for n in Counter(record.request_id for _, record in content.ended).values())
    return doubled, corrupt
