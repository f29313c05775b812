"""Compaction: a sealed segment becomes Parquet files, by hour and model, and is deleted.

Killed at any moment nothing is lost or doubled: file names follow from the segment's, files are written whole, the segment goes
last. Requests still open in it are carried over in a small `.open` file until they end or their writer is found dead.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunekeeper.store.log import bulk, columns, partitions, segments
from tunekeeper.store.log.bodyids import Index
from tunekeeper.store.log.lines import Line, scan
from tunekeeper.store.log.records import decode
from tunekeeper.store.log.segments import Segment
from tunekeeper.store.log.tail import Opened, read_lines

if TYPE_CHECKING:
    import pyarrow as pa

_ORPHAN_SECONDS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Compacted:
    """What one pass did."""

    segments: int = 0
    """Segments that became Parquet."""
    records: int = 0
    """Inferences in them, interrupted ones included."""
    corrupt: int = 0
    """Damaged stretches met; such a segment, or one that holds an id twice, is kept aside under `spool/damaged`."""

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(
            segments=self.segments + other.segments, records=self.records + other.records, corrupt=self.corrupt + other.corrupt
        )


def compact(root: Path) -> Compacted:
    """Compact every sealed segment under `root`/spool. The caller holds `segments.maintenance`. Raises OSError (a full disk):
    nothing is lost, the next pass does it again."""
    total = Compacted()
    for writer, group in segments.by_writer(segments.list_segments(root)).items():
        dead = not segments.is_alive(root, writer)
        left = False
        carried = [segment for segment in group if segment.carried]
        for segment in group:
            if segment.carried:
                continue
            if segments.is_held(segment.path):
                left = True
                break
            done, carried = _compact_one(root, segment, carried)
            total += done
        if dead and not left:
            total += _bury(root, writer, carried)
    _sweep(root)
    return total


def _compact_one(root: Path, segment: Segment, carried: list[Segment]) -> tuple[Compacted, list[Segment]]:
    """Compact a segment of a writer whose carried ones are these; returns which they are from then on."""
    found = bulk.read(segment.path.read_bytes())
    at = found.places(b"E")
    ended = bulk.endings([found.jsons[i] for i in at], [found.starts[i] for i in at], segment.stem)
    written = len(ended.metrics)
    _write_inferences(root, segment.stem, ended.metrics, ended.bodies)
    unreadable = ended.unreadable + _write_statements(root, segment, found)
    older = [each for each in carried if each.number < segment.number]
    carry = replace(segment, path=segment.path.with_suffix(".open"), carried=True)
    before = bulk.read(older[-1].path.read_bytes()) if older else None
    ids = set(ended.metrics["request_id"].to_pylist())
    still_open, odd = _still_open([*([before] if before else []), found], ids)
    if still_open or older:
        partitions.write_whole(carry.path, b"".join(json + b"\n" for json in still_open))
    corrupt = found.corrupt + unreadable + odd
    if corrupt or len(ids) < written:
        _keep_aside(segment.path)
    segment.path.unlink()
    for each in older:
        each.path.unlink(missing_ok=True)
    if not still_open:
        carry.path.unlink(missing_ok=True)
    later = [each for each in carried if each.number > segment.number]
    return Compacted(segments=1, records=written, corrupt=corrupt), [*([carry] if still_open else []), *later]


def _write_inferences(root: Path, stem: str, metrics: pa.Table, bodies: pa.Table) -> None:
    """Bodies before metrics: a request that a query finds has its bodies."""
    if len(metrics) == 0:
        return
    order, places = _grouped(metrics)
    for kind, table in (("bodies", _taken(bodies, order)), ("metrics", _taken(metrics, order))):
        partitions.write_tables(
            (root / "log" / kind / place.hour / place.folder, f"{stem}.parquet", kind, table.slice(place.start, place.rows))
            for place in places
        )
    by_hour: dict[str, list[tuple[str, str]]] = defaultdict(list)
    named = metrics.select(("body_id", "request_id")).take(order)
    for place in places:
        some = named.slice(place.start, place.rows)
        pairs = zip(some["body_id"].to_pylist(), some["request_id"].to_pylist(), strict=True)
        by_hour[place.hour] += [(body_id, id) for body_id, id in pairs if body_id is not None]
    for hour, known in by_hour.items():
        Index(root).add(hour, known)


def _taken(table: pa.Table, rows: pa.Array) -> pa.Table:
    """These rows of a table; the table itself where they are all of it in order, as they mostly are."""
    import pyarrow.compute as pc

    whole = len(rows) == len(table) and pc.all(pc.less(rows[:-1], rows[1:])).as_py()
    return table if whole else table.take(rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """The rows of one hour and model folder, beside each other."""

    hour: str
    folder: str
    start: int
    rows: int


def _grouped(metrics: pa.Table) -> tuple[pa.Array, list[_Place]]:
    """The rows by hour, model folder and request id, the first one of each id there; and where each hour and folder begins."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    hours = pc.floor_temporal(metrics["timestamp"], unit="hour").combine_chunks().dictionary_encode()
    models = metrics["model_id"].combine_chunks().dictionary_encode()
    folders = pa.array([partitions.model_folder(model) for model in models.dictionary.to_pylist()]).dictionary_encode()
    groups = hours.indices.to_numpy() * np.int64(len(folders.dictionary)) + folders.indices.to_numpy()[models.indices.to_numpy()]
    keys = pa.table({"group": groups, "id": metrics["request_id"]})
    order = pc.sort_indices(keys, sort_keys=[("group", "ascending"), ("id", "ascending")])  # stable: the first line comes first
    groups, ids = groups[order.to_numpy()], keys["id"].take(order).combine_chunks()
    begins = np.concatenate([[True], groups[1:] != groups[:-1]])
    fresh = begins | np.concatenate([[True], pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)])
    groups, starts = groups[fresh], np.flatnonzero(begins[fresh])
    ends = [*starts[1:].tolist(), len(groups)]
    hour_names = [columns.hour_of(hour) for hour in hours.dictionary.to_pylist()]
    places = [
        _Place(hour=hour_names[group // len(folders.dictionary)], folder=name, start=start, rows=end - start)
        for group, start, end in zip(groups[starts].tolist(), starts.tolist(), ends, strict=True)
        for name in [folders.dictionary[group % len(folders.dictionary)].as_py()]
    ]
    return order.filter(pa.array(fresh)), places


def _write_statements(root: Path, segment: Segment, found: bulk.Stretch) -> int:
    """Feedback by the hour it arrived in, token counts by the segment's. Returns how many lines of those and of unknown kinds
    hold no record of ours."""
    content = read_lines(found.line(place) for place, kind in enumerate(found.kinds) if kind not in b"OPEX")
    by_hour: dict[str, list[tuple[Line, Any]]] = defaultdict(list)
    for line, record in content.feedback:
        by_hour[columns.hour_of(record.timestamp)].append((line, record))
    name = f"{segment.stem}.parquet"
    for hour, pairs in by_hour.items():
        table = columns.feedback_table([record for _, record in pairs], [f"{segment.stem}:{line.start}" for line, _ in pairs])
        partitions.write_table(root / "log" / "feedback" / hour / "_", name, "feedback", table)
    if content.tokens:
        hour = columns.hour_of(datetime.fromtimestamp(int(segment.stem[:15]) / 1000, UTC))
        origins = [f"{segment.stem}:{line.start}" for line, _ in content.tokens]
        table = columns.tokens_table([record for _, record in content.tokens], origins)
        partitions.write_table(root / "log" / "tokens" / hour / "_", name, "tokens", table)
    return content.unreadable


def _open_lines(path: Path) -> list[tuple[Line, Any]]:
    return read_lines(scan(path.read_bytes()).lines).open


def _still_open(stretches: Iterable[bulk.Stretch], ended: set[str]) -> tuple[list[bytes], int]:
    """The lines of requests that are open after these, and how many lines hold no record of ours. An opening whose ending is
    there needs no look at more than its id: the ending is complete in itself."""
    still: list[bytes] = []
    odd = 0
    plain = {id.encode() for id in ended}
    for found in stretches:
        for place in found.places(b"OP"):
            if bulk.id_bytes(found.jsons[place]) in plain:
                continue
            named = bulk.name(found.jsons[place])
            if named is not None and named[0] in ended:
                continue
            if decode(found.line(place)) is None:
                odd += 1
            else:
                still.append(found.jsons[place])
    return still, odd


def _bury(root: Path, writer: str, carried: list[Segment]) -> Compacted:
    """Give the open requests of a dead writer their ending: interrupted, under the same id."""
    opened = Opened()
    for line, record in _open_lines(carried[-1].path) if carried else []:
        opened.take(line.kind, record)
    records = opened.interrupted()
    if records:
        metrics = columns.metrics_table(records, [f"open:{record.request_id}" for record in records])
        _write_inferences(root, f"{carried[-1].stem}-open", metrics, columns.bodies_table(records))
    for segment in carried:
        segment.path.unlink(missing_ok=True)
    (root / "spool" / f"{writer}.lock").unlink(missing_ok=True)
    return Compacted(records=len(records))


def _keep_aside(path: Path) -> None:
    folder = path.parent / "damaged"
    folder.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        os.link(path, folder / path.name)


def _sweep(root: Path) -> None:
    """Remove what killed writers left behind: locks nobody holds and files that never got their name."""
    writers = {segment.writer for segment in segments.list_segments(root)}
    for path in (root / "spool").glob("*.lock"):
        if path.name.removesuffix(".lock") not in writers and not segments.is_held(path):
            path.unlink(missing_ok=True)
    for path in (root / "spool").glob(".*.new"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ORPHAN_SECONDS and not segments.is_held(path):
                path.unlink()
