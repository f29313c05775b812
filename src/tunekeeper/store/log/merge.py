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
from tunekeeper.store.log.keeping import end_of, is_past
from tunekeeper.store.log.partitions import KINDS, Journal

if TYPE_CHECKING:
    import pyarrow as pa

AT_MOST = 12
"""Small files of one hour that are left alone while the hour runs."""
TIER_BITS = 4
"""Files are of about one size when their sizes in bytes are written with as many groups of so many bits."""
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
        over = end_of(hour) + SETTLED <= now
        try:
            merged += _merge_folder(folder, kind, spooled, least=2 if over else AT_MOST)
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            # A damaged file stays as it is and is named by `log verify`; the other hours go on.
            continue
    for hour in Index(root).loose_hours():
        if end_of(hour) + SETTLED <= now:
            Index(root).settle(hour)
    return merged


def _folders(root: Path) -> Iterator[tuple[str, str, Path]]:
    for kind in KINDS:
        for hour in partitions.hours(root, kind):
            for folder in sorted((root / "log" / kind / hour).iterdir()):
                yield kind, hour, folder


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
    small = chosen({name: (folder / name).stat().st_size for name in names}, least)
    if not small:
        return 0
    target = f"merged-{xxhash.xxh3_64_hexdigest(' '.join(small).encode())}.parquet"
    journal = Journal(target=target, sources=tuple(small))
    table = _joined(folder, small, kind)
    partitions.write_whole(folder / f"{target}.journal", msgspec.json.encode(journal))
    partitions.write_table(folder, target, kind, table)
    return len(small)


def chosen(sizes: dict[str, int], least: int) -> list[str]:
    """The files to merge now, of name → bytes, the smallest; at least `least` of them, or none. While an hour runs (`least`
    over 2) only files of about one size are merged with each other: a large one is not written anew for every few small ones."""
    tiers: dict[int, list[str]] = {}
    totals: dict[int, int] = {}
    for size, name in sorted((size, name) for name, size in sizes.items() if size < LARGE):
        tier = size.bit_length() // TIER_BITS if least > 2 else 0
        if totals.get(tier, 0) + size < 2 * LARGE:
            tiers.setdefault(tier, []).append(name)
            totals[tier] = totals.get(tier, 0) + size
    return next((sorted(names) for names in tiers.values() if len(names) >= least), [])


def _joined(folder: Path, names: list[str], kind: str) -> pa.Table:
    """The rows of several files in order of request id (statements: of their own id), each id once. How often an id of metrics
    was written again stays with the file, since `log verify` can no longer see it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    tables = [pq.read_table(folder / name, partitioning=None) for name in names]
    again = sum(partitions.doubles(table.schema) for table in tables)
    key = "id" if kind == "feedback" else "request_id"
    whole = pa.concat_tables(tables, promote_options="default").combine_chunks()
    order = pc.sort_indices(whole[key])
    ids = whole[key].take(order)
    if not pc.any(pc.equal(ids[1:], ids[:-1])).as_py():
        kept = whole if pc.all(pc.less(order[:-1], order[1:])).as_py() else whole.take(order)
        return kept.replace_schema_metadata(partitions.doubles_note(again))
    numbered = whole.append_column("_row", pa.array(range(len(whole)), pa.int64()))
    found = numbered.group_by(key).aggregate(
        [("_row", "min"), ("origin", "count_distinct")] if kind == "metrics" else [("_row", "min")]
    )
    if kind == "metrics":
        again += pc.sum(found["origin_count_distinct"]).as_py() - len(found)
    kept = whole.take(found["_row_min"].combine_chunks()).sort_by(key)
    return kept.replace_schema_metadata(partitions.doubles_note(again))


def retain(root: Path, now: datetime, days: float | None, body_days: float | None) -> int:
    """Drop the hours that ended more than `days` ago, and the bodies of those that ended more than `body_days` ago; None keeps
    for ever. Returns how many hours were dropped whole."""
    dropped = 0
    for hour in sorted({hour for kind in KINDS for hour in partitions.hours(root, kind)} | set(Index(root).hours())):
        if is_past(end_of(hour), now, days):
            partitions.drop_hour(root, hour)
            dropped += 1
        elif is_past(end_of(hour), now, body_days):
            shutil.rmtree(root / "log" / "bodies" / hour, ignore_errors=True)
    for path in (root / "spool" / "damaged").glob("*.jsonl"):
        written = datetime.fromtimestamp(int(path.name[:15]) / 1000, UTC)
        if is_past(written, now, days) or is_past(written, now, body_days):
            path.unlink(missing_ok=True)
    return dropped
