"""Reading the whole log and saying what is in it: the answer to "was anything lost, doubled or damaged?"."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tunekeeper.store.log import partitions, segments
from tunekeeper.store.log.lines import scan
from tunekeeper.store.log.segments import Segment
from tunekeeper.store.log.tail import Opened, read_lines

_COUNT = (
    "SELECT count(*), coalesce(CAST(sum(origins - 1) AS BIGINT), 0) FROM "
    "(SELECT request_id, count(DISTINCT origin) AS origins FROM held GROUP BY request_id)"
)


def verify(root: Path) -> dict[str, int]:
    """Count `records` (request ids, interrupted ones included), `duplicates` (times an id was written again), `open` (requests
    of living writers that have not ended) and `corrupt` (damaged stretches of segments, whole lines that are no records, Parquet
    files whose pages do not hold their checksums). Run beside a compaction it may look twice, but counts a record once."""
    with segments.maintenance(root):
        ids, origins, still_open, corrupt = _spool(root)
        good, damaged, merged = _parquet(root)
        records, doubled = _counted(ids, origins, good)
    aside_doubled, aside_corrupt = _aside(root)
    return {
        "records": records,
        "duplicates": doubled + merged + aside_doubled,
        "open": still_open,
        "corrupt": corrupt + damaged + aside_corrupt,
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


def _parquet(root: Path) -> tuple[list[str], int, int]:
    """Files of metrics with rows, how many files are damaged, and how many repeated ids merging has dropped."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    good: list[str] = []
    damaged = merged = 0
    for kind in partitions.KINDS:
        for path in partitions.files(root, kind, None, None):
            try:
                file = pq.ParquetFile(path, page_checksum_verification=True)
                rows = sum(len(batch) for batch in file.iter_batches())
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError):
                damaged += 1
                continue
            if kind == "metrics":
                merged += partitions.doubles(file.schema_arrow)
            if kind == "metrics" and rows:
                good.append(str(path))
    return good, damaged, merged


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
