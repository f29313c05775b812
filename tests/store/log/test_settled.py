"""Hours that are over are counted once: what was remembered and what is counted anew are one answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.log import Log, Spool, columns, erase, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.listing import Listing, Stored
from tunekeeper.store.log.merge import merge
from tunekeeper.store.log.settled import Divided, Settled, may_settle

Record = Callable[..., dict[str, Any]]
MODEL = "support-desk"
EMPTY = columns.schema("metrics").empty_table()


def kept(root: Path, clock: ManualClock, records: list[dict[str, Any]]) -> None:
    """Through a spool of their own into files."""
    spool = Spool(root, "gateway-0", clock)
    for each in records:
        spool.ended(each)
    spool.close()
    with segments.maintenance(root):
        compact(root)


def some(clock: ManualClock, record: Record, chance: random.Random, count: int) -> list[dict[str, Any]]:
    return [
        record(
            variant=chance.choice(("champion", "challenger", None)),
            status=chance.choice(("ok", "ok", "error")),
            latency_ms=chance.choice((None, chance.random() * 100)),
            purpose=chance.choice(("user", "probe")),
        )
        for _ in range(count)
    ]


def test_whatever_happens_to_the_log_a_reader_that_remembers_counts_what_a_new_one_counts(
    root: Path, clock: ManualClock, record: Record
) -> None:
    chance = random.Random(7)
    log = Log(root, clock)
    began = clock.utc()
    asked: list[tuple[datetime | None, tuple[str, ...]]] = [
        (None, ("hour", "variant", "status")),
        (began + timedelta(minutes=90), ("variant", "hour")),
        (None, ("hour", "unit")),
    ]

    def agree() -> None:
        fresh = Log(root, clock)
        for since, by in asked:
            assert log.window(MODEL, since, None, by) == fresh.window(MODEL, since, None, by)
        assert log.arms(MODEL, None, None, ("hour", "variant")) == fresh.arms(MODEL, None, None, ("hour", "variant"))

    late = []
    for _ in range(3):
        made = some(clock, record, chance, 30)
        late += made[25:]
        kept(root, clock, made[:25])
        agree()
        clock.advance(3000)
    agree()
    kept(root, clock, late)  # older than what lies in files already
    agree()
    kept(root, clock, late[:3])  # and the same once more
    agree()
    open_one = Spool(root, "gateway-1", clock)
    open_one.ended(record(timestamp=began, variant="champion"))  # in no file yet
    open_one.flush()
    agree()
    open_one.close()
    mallory = [{**one, "request": b'{"user":"mallory"}'} for one in some(clock, record, chance, 5)]
    for one in mallory:
        one["timestamp"] = began
    kept(root, clock, mallory)
    agree()
    assert erase.erase(root, "mallory")["requests"] == 5
    agree()
    with segments.maintenance(root):
        assert merge(root, clock.utc() + timedelta(days=1))
    agree()


def hours(root: Path) -> list[Stored]:
    return Listing(root).found("metrics", None, None, MODEL)


def test_an_hour_that_was_asked_is_not_read_again_until_its_files_change(root: Path, clock: ManualClock, record: Record) -> None:
    for _ in range(3):
        kept(root, clock, [record()])
        clock.advance(3600)
    settled, files = Settled(), hours(root)
    first = settled.divide(("asked",), files, (None, None), EMPTY)
    assert [one.path for one in first.files] == [one.path for one in files]
    assert len(first.settled) == 3
    answer = pa.table({"key0": pa.array(list(first.settled), pa.timestamp("us")), "requests": [1, 2, 3]})
    assert settled.together(first, answer, 0, 1) == answer

    again = settled.divide(("asked",), files, (None, None), EMPTY)
    assert again == Divided(files=[], known=again.known)
    assert settled.together(again, answer.slice(0, 0), 0, 1).to_pylist() == answer.to_pylist()
    assert len(settled.divide(("asked", "otherwise"), files, (None, None), EMPTY).files) == 3

    kept(root, clock, [record(timestamp=clock.utc() - timedelta(hours=2))])
    changed = settled.divide(("asked",), hours(root), (None, None), EMPTY)
    assert (len(changed.files), len(changed.known)) == (2, 2)


def test_an_hour_that_is_cut_or_still_gets_requests_is_read_each_time(root: Path, clock: ManualClock, record: Record) -> None:
    began = clock.utc().replace(minute=0, second=0, microsecond=0)
    clock.advance((began + timedelta(hours=1) - clock.utc()).total_seconds())
    for _ in range(3):
        kept(root, clock, [record()])
        clock.advance(3600)
    settled, files = Settled(), hours(root)
    first = began + timedelta(hours=1)
    cut = settled.divide(("asked",), files, (first + timedelta(seconds=1), first + timedelta(hours=2)), EMPTY)
    assert list(cut.settled) == [(first + timedelta(hours=1)).replace(tzinfo=None)]

    tail = pa.table({"request_id": ["zz"], "timestamp": pa.array([first.replace(tzinfo=None)], pa.timestamp("us"))})
    assert first.replace(tzinfo=None) not in settled.divide(("asked",), files, (None, None), tail).settled
    low = files[2].low
    tail = pa.table({"request_id": [low], "timestamp": pa.array([datetime(1999, 1, 1)], pa.timestamp("us"))})
    assert (first + timedelta(hours=2)).replace(tzinfo=None) not in settled.divide(("asked",), files, (None, None), tail).settled


def test_what_could_name_a_person_is_not_remembered() -> None:
    assert may_settle(("hour", "variant"))
    assert not may_settle(("variant",))
    assert not any(may_settle(("hour", name)) for name in ("unit", "key_id", "segment:user"))
