"""Merging by hour, and letting go of what is past its keeping."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.merge import AT_MOST, LARGE, chosen, merge, retain

Record = Callable[..., dict[str, Any]]


def compacted(root: Path, clock: ManualClock, record: Record, files: int) -> list[str]:
    """`files` small files in the current hour; returns the request ids."""
    spool = Spool(root, "gateway-0", clock)
    ids = []
    for _ in range(files):
        made = record()
        ids.append(made["request_id"])
        spool.ended(made)
        spool.flush()
        spool.seal()
    spool.close()
    with segments.maintenance(root):
        compact(root)
    return ids


def parquet(root: Path, kind: str = "metrics") -> list[Path]:
    return sorted((root / "log" / kind).rglob("*.parquet"))


def test_the_running_hour_is_left_alone_until_it_has_many_files(root: Path, clock: ManualClock, record: Record) -> None:
    ids = compacted(root, clock, record, AT_MOST - 1)
    assert merge(root, clock.utc()) == 0
    ids += compacted(root, clock, record, 1)
    assert merge(root, clock.utc()) == 2 * AT_MOST
    merge(root, clock.utc())
    assert len(parquet(root)) == 1
    assert [i.request_id for i in Log(root, clock).find()] == ids


def test_an_hour_that_is_over_becomes_one_file_and_takes_late_ones_in(root: Path, clock: ManualClock, record: Record) -> None:
    ids = compacted(root, clock, record, 3)
    clock.advance(2 * 3600)
    assert merge(root, clock.utc()) == 6
    ids += compacted(root, clock, lambda: record(timestamp=clock.start), 2)
    for _ in range(2):
        merge(root, clock.utc())
    assert len(parquet(root)) == len(parquet(root, "bodies")) == 1
    assert {i.request_id for i in Log(root, clock).find() if i.response is not None} == set(ids)


def test_readers_count_once_while_sources_and_merged_file_both_lie_there(root: Path, clock: ManualClock, record: Record) -> None:
    ids = compacted(root, clock, record, 4)
    log = Log(root, clock)
    merge(root, clock.utc() + timedelta(hours=2))
    assert len(parquet(root)) == 5
    assert [i.request_id for i in log.find()] == ids
    assert [i.request_id for i in log.find(limit=3)] == ids[:3]
    assert [row.requests for row in log.window("support-desk", None, None)] == [4]
    assert log.verify() == {"records": 4, "duplicates": 0, "open": 0, "corrupt": 0}


def test_a_damaged_file_stops_only_its_own_hour(root: Path, clock: ManualClock, record: Record) -> None:
    compacted(root, clock, record, 2)
    (broken, _), _ = parquet(root), clock.advance(3600)
    broken.write_bytes(b"not parquet")
    compacted(root, clock, record, 2)
    assert merge(root, clock.utc() + timedelta(hours=2)) == 6
    assert Log(root, clock).verify()["corrupt"] == 1


@pytest.mark.parametrize(
    ("days", "body_days", "hours", "bodies"), [(1, None, 1, 1), (None, 1, 2, 1), (3, 3, 2, 2), (1, 0.01, 1, 0)]
)
def test_retention_drops_whole_hours_and_bodies_first(
    root: Path, clock: ManualClock, record: Record, days: float | None, body_days: float | None, hours: int, bodies: int
) -> None:
    compacted(root, clock, record, 1)
    clock.advance(2 * 86400)
    kept = compacted(root, clock, record, 1)
    retain(root, clock.utc() + timedelta(hours=2), days, body_days)
    assert (len(parquet(root)), len(parquet(root, "bodies"))) == (hours, bodies)
    assert Log(root, clock).find()[-1].request_id == kept[0]
    assert len(list((root / "ids").iterdir())) == hours


def test_ids_that_merging_drops_are_still_reported_as_written_twice(root: Path, clock: ManualClock, record: Record) -> None:
    made = record()
    for round_ in range(3):
        for _ in range(2):
            spool = Spool(root, "gateway-0", clock)
            spool.ended(made)
            spool.ended(record())
            spool.close()
        with segments.maintenance(root):
            compact(root)
        written = 2 * (round_ + 1)
        for _ in range(2):
            assert Log(root, clock).verify() == {"records": written + 1, "duplicates": written - 1, "open": 0, "corrupt": 0}
            merge(root, clock.utc() + timedelta(hours=2))
            merge(root, clock.utc() + timedelta(hours=2))
        assert len(parquet(root)) == 1
        assert len(Log(root, clock).find()) == written + 1


def test_while_an_hour_runs_no_large_file_is_written_anew_for_a_few_small_ones() -> None:
    small = {f"s{n}": 20_000 for n in range(AT_MOST - 1)}
    assert chosen(small | {"merged": 1 << 20}, AT_MOST) == []
    assert chosen(small | {"last": 30_000, "merged": 1 << 20}, AT_MOST) == sorted([*small, "last"])
    assert chosen(small | {"merged": 1 << 20}, 2) == sorted([*small, "merged"])


def test_what_is_merged_at_once_fits_in_memory_and_rows_are_never_written_more_often_than_there_are_sizes() -> None:
    assert chosen({"a": LARGE, "b": 1000}, 2) == []
    assert len(chosen({f"{n}": LARGE - 1 for n in range(5)}, 2)) == 2
    files: dict[str, int] = {}
    written: dict[str, int] = {}
    for n in range(3_000):
        files[f"{n}"] = 50_000
        written[f"{n}"] = 0
        if some := chosen(files, AT_MOST):
            whole = sum(files.pop(name) for name in some)
            files[f"merged-{n}"] = whole
            written[f"merged-{n}"] = 1 + max(written[name] for name in some)
    assert max(written.values()) <= 4
    assert len([size for size in files.values() if size < 10_000_000]) < 60
