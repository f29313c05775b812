"""Merging: the small files of an hour become one, and hours past their keeping are dropped.

A merge writes a journal, then the merged file; from then on readers pass over the sources, which a later pass deletes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import xxhash

from tunekeeper.store.log import partitions
from tunekeeper.store.log.bodyids import Index
from tunekeeper.store.log.partitions import KINDS, Journal

if TYPE_CHECKING:
    import pyarrow as pa

AT_MOST = 12
"""Small files of one hour that are left alone while the hour runs."""
LARGE = 16 << 20
"""Bytes from which a file is no longer merged: what is merged at once has to fit in memory."""
SETTLED = timedelta(minutes=2)
"""How long an hour must be over before all of it is merged."""


def merge(root: Path, now: datetime) -> int:
    """Finish merges that an earlier pass announced, then merge hours that are over or have gathered many small files. The caller
    holds `segments.maintenance` and has compacted: no file of a segment that still lies in the spool is touched. Returns how
    many files were merged away."""
    import pyarrow as pa

    spooled = {path.stem for path in (root / "spool").glob("*.jsonl")}
    merged = 0
    for kind, hour, folder in _folders(root):
        _finish(folder)
        over = _end(hour) + SETTLED <= now
        try:
            merged += _merge_folder(folder, kind, spooled, least=2 if over else AT_MOST)
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            # A damaged file stays as it is and is named by `log verify`; the other hours go on.
            continue
    for hour in Index(root).loose_hours():
        if _end(hour) + SETTLED <= now:
            Index(root).settle(hour)
    return merged


def _folders(root: Path) -> Iterator[tuple[str, str, Path]]:
    for kind in KINDS:
        for hour in partitions.hours(root, kind):
            for folder in sorted((root / "log" / kind / hour).iterdir()):
                yield kind, hour, folder


def _end(hour: str) -> datetime:
    return datetime.fromisoformat(f"{hour}:00").replace(tzinfo=UTC) + timedelta(hours=1)


def _finish(folder: Path) -> None:
    for path in sorted(folder.glob("*.journal")):
        journal = partitions.read_journal(path)
        if journal is not None and (folder / journal.target).exists():
            for name in journal.sources:
                (folder / name).unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    for path in folder.glob(".*.new"):
        path.unlink(missing_ok=True)


def _merge_folder(folder: Path, kind: str, spooled: set[str], least: int) -> int:
    names = [name for name in partitions.visible(folder) if name.removesuffix(".parquet") not in spooled]
    small, size = [], 0
    for name in names:
        bytes_here = (folder / name).stat().st_size
        if bytes_here < LARGE and size + bytes_here < 2 * LARGE:
            small.append(name)
            size += bytes_here
    if len(small) < least:
        return 0
    target = f"merged-{xxhash.xxh3_64_hexdigest(' '.join(small).encode())}.parquet"
    journal = Journal(target=target, sources=tuple(small))
    table = _joined(folder, small, kind)
    partitions.write_whole(folder / f"{target}.journal", msgspec.json.encode(journal))
    partitions.write_table(folder, target, kind, table)
    return len(small)


def _joined(folder: Path, names: list[str], kind: str) -> pa.Table:
    """The rows of several files in order of request id (time), each id once for metrics and bodies, each statement once. How
    often an id of metrics was written again stays with the file, since `log verify` can no longer see it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tables = [pq.read_table(folder / name, partitioning=None) for name in names]
    whole = pa.concat_tables(tables, promote_options="default")
    key = "id" if kind == "feedback" else "request_id"
    numbered = whole.append_column("_row", pa.array(range(len(whole)), pa.int64()))
    found = numbered.group_by(key).aggregate(
        [("_row", "min"), ("origin", "count_distinct")] if kind == "metrics" else [("_row", "min")]
    )
    kept = whole.take(found["_row_min"].combine_chunks()).sort_by(key)
    again = sum(partitions.doubles(table.schema) for table in tables)
    if kind == "metrics":
        again += pc.sum(found["origin_count_distinct"]).as_py() - len(found) if len(found) else 0
    return kept.replace_schema_metadata(partitions.doubles_note(again))


def retain(root: Path, now: datetime, days: float | None, body_days: float | None) -> int:
    """Drop the hours that ended more than `days` ago, and the bodies of those that ended more than `body_days` ago; None keeps
    for ever. Returns how many hours were dropped whole."""
    dropped = 0
    for hour in sorted({hour for kind in KINDS for hour in partitions.hours(root, kind)} | set(Index(root).hours())):
        if _past(_end(hour), now, days):
            partitions.drop_hour(root, hour)
            dropped += 1
        elif _past(_end(hour), now, body_days):
            shutil.rmtree(root / "log" / "bodies" / hour, ignore_errors=True)
    for path in (root / "spool" / "damaged").glob("*.jsonl"):
        written = datetime.fromtimestamp(int(path.name[:15]) / 1000, UTC)
        if _past(written, now, days) or _past(written, now, body_days):
            path.unlink(missing_ok=True)
    return dropped


def _past(moment: datetime, now: datetime, days: float | None) -> bool:
    return days is not None and moment < now - timedelta(days=days)
