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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunekeeper.store.log import columns, partitions, segments
from tunekeeper.store.log.bodyids import Index
from tunekeeper.store.log.lines import Line, scan
from tunekeeper.store.log.segments import Segment
from tunekeeper.store.log.tail import Content, Opened, read_lines

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
        for segment in group:
            if segment.carried:
                continue
            if segments.is_held(segment.path):
                left = True
                break
            total += _compact_one(root, segment)
        if dead and not left:
            total += _bury(root, writer)
    _sweep(root)
    return total


def _compact_one(root: Path, segment: Segment) -> Compacted:
    found = scan(segment.path.read_bytes())
    content = read_lines(found.lines)
    records = [record for _, record in content.ended]
    origins = [f"{segment.stem}:{line.start}" for line, _ in content.ended]
    _write_inferences(root, segment.stem, records, origins)
    _write_statements(root, segment, content)
    older = [s for s in _carried(root, segment.writer) if s.number < segment.number]
    carry = segment.path.with_suffix(".open")
    still_open = _still_open([*(_open_lines(older[-1].path) if older else []), *content.open])
    if still_open or older:
        partitions.write_whole(carry, b"".join(line.json + b"\n" for line, _ in still_open))
    corrupt = found.corrupt + content.unreadable
    if corrupt or len({record.request_id for record in records}) < len(records):
        _keep_aside(segment.path)
    segment.path.unlink()
    for carried in older:
        carried.path.unlink(missing_ok=True)
    if not still_open:
        carry.unlink(missing_ok=True)
    return Compacted(segments=1, records=len(records), corrupt=corrupt)


def _write_inferences(root: Path, stem: str, records: list[Any], origins: list[str]) -> None:
    """Bodies before metrics: a request that a query finds has its bodies."""
    groups: dict[tuple[str, str], dict[str, tuple[Any, str]]] = defaultdict(dict)
    for record, origin in zip(records, origins, strict=True):
        key = (columns.hour_of(record.timestamp), partitions.model_folder(record.model_id))
        groups[key].setdefault(record.request_id, (record, origin))
    for (hour, model), rows in groups.items():
        ordered = [rows[id] for id in sorted(rows)]
        some = [record for record, _ in ordered]
        name = f"{stem}.parquet"
        partitions.write_table(root / "log" / "bodies" / hour / model, name, "bodies", columns.bodies_table(some))
        table = columns.metrics_table(some, [origin for _, origin in ordered])
        partitions.write_table(root / "log" / "metrics" / hour / model, name, "metrics", table)
        Index(root).add(hour, [(record.body_id, record.request_id) for record in some if record.body_id is not None])


def _write_statements(root: Path, segment: Segment, content: Content) -> None:
    """Feedback by the hour it arrived in, token counts by the segment's."""
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


def _carried(root: Path, writer: str) -> list[Segment]:
    return [s for s in segments.list_segments(root) if s.writer == writer and s.carried]


def _open_lines(path: Path) -> list[tuple[Line, Any]]:
    return read_lines(scan(path.read_bytes()).lines).open


def _still_open(lines: Iterable[tuple[Line, Any]]) -> list[tuple[Line, Any]]:
    lines = list(lines)
    ended = {record.request_id for line, record in lines if line.kind == "E"}
    return [(line, record) for line, record in lines if line.kind != "E" and record.request_id not in ended]


def _bury(root: Path, writer: str) -> Compacted:
    """Give the open requests of a dead writer their ending: interrupted, under the same id."""
    carried = _carried(root, writer)
    opened = Opened()
    for line, record in _open_lines(carried[-1].path) if carried else []:
        opened.take(line.kind, record)
    records = opened.interrupted()
    if records:
        _write_inferences(root, f"{carried[-1].stem}-open", records, [f"open:{record.request_id}" for record in records])
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
