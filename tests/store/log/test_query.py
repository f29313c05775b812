"""Windows: the numbers agree with a plain computation, whatever part of the log is still hot."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import UserError
from tunekeeper.store.log import Log, Spool, WindowRow, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.query import Reader

Record = Callable[..., dict[str, Any]]


def expected(records: list[dict[str, Any]], said: dict[str, list[tuple[str, Any]]]) -> WindowRow:
    """The same numbers in plain Python."""

    def having(kind: str) -> int:
        return sum(any(k == kind for k, _ in said[r["request_id"]]) for r in records)

    thumbs = [[v for k, v in said[r["request_id"]] if k == "thumb"][-1:] for r in records]
    latencies = [r["latency_ms"] for r in records if r["latency_ms"] is not None]
    quantiles = [float(q) for q in np.quantile(latencies, [0.5, 0.95, 0.99])] if latencies else [None] * 3
    tokens = [r["prompt_tokens"] for r in records if r["prompt_tokens"] is not None]
    return WindowRow(
        requests=len(records),
        errors=sum(r["status"] in ("error", "truncated") for r in records),
        cancelled=sum(r["status"] == "cancelled" for r in records),
        edits=having("edit"),
        corrections=having("correction"),
        thumbs_up=thumbs.count(["up"]),
        thumbs_down=thumbs.count(["down"]),
        p50_ms=quantiles[0],
        p95_ms=quantiles[1],
        p99_ms=quantiles[2],
        prompt_tokens=sum(tokens) if tokens else None,
    )


@pytest.fixture
def traffic(root: Path, clock: ManualClock, record: Record) -> tuple[list[dict[str, Any]], dict[str, list[tuple[str, Any]]]]:
    """400 requests over four hours, half of them compacted, with feedback that partly comes later."""
    rng = random.Random(5)
    spool = Spool(root, "gateway-0", clock, max_seconds=600)
    records: list[dict[str, Any]] = []
    said: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for i in range(400):
        clock.advance(36)
        made = record(
            variant=rng.choice(["champion", "challenger"]),
            status=rng.choice(["ok"] * 6 + ["error", "truncated", "cancelled"]),
            latency_ms=rng.choice([None, rng.lognormvariate(3, 1)]),
            prompt_tokens=rng.choice([None, rng.randrange(100)]),
            segments=rng.choice([{}, {"team": "a"}, {"team": "b", "x": "y"}]),
            purpose=rng.choice(["user", "user", "shadow"]),
        )
        records.append(made)
        spool.ended(made)
        about = rng.choice(records)["request_id"]
        kind, value = rng.choice([("thumb", "up"), ("thumb", "down"), ("edit", "e"), ("correction", "c"), ("label", 1)])
        said[about].append((kind, value))
        spool.feedback({"id": f"fb_{i}", "request_id": about, "timestamp": clock.utc(), "kind": kind, "value": value})
        spool.flush()
        if i == 200:
            with segments.maintenance(root):
                assert compact(root).records > 100
    spool.close()
    return records, said


def close_to(found: WindowRow, wanted: WindowRow) -> bool:
    same = all(
        getattr(found, n) == getattr(wanted, n)
        for n in (
            "requests",
            "errors",
            "cancelled",
            "interrupted",
            "edits",
            "corrections",
            "thumbs_up",
            "thumbs_down",
            "prompt_tokens",
        )
    )
    return same and all(getattr(found, n) == pytest.approx(getattr(wanted, n)) for n in ("p50_ms", "p95_ms", "p99_ms"))


def test_a_window_agrees_with_a_plain_computation(root: Path, clock: ManualClock, traffic: Any) -> None:
    records, said = traffic
    log = Log(root, clock)
    (row,) = log.window("support-desk", None, None)
    assert close_to(row, expected([r for r in records if r["purpose"] == "user"], said))
    since, until = clock.start + timedelta(hours=1, seconds=1), clock.start + timedelta(hours=2, minutes=30)
    inside = [r for r in records if since <= r["timestamp"] < until]
    (row,) = log.window("support-desk", since, until, purpose=None)
    assert close_to(row, expected(inside, said))


@pytest.mark.parametrize("by", [("variant",), ("hour", "variant"), ("segment:team",), ("segment:team", "segment:x", "status")])
def test_groups_agree_with_a_plain_computation(root: Path, clock: ManualClock, traffic: Any, by: tuple[str, ...]) -> None:
    records, said = traffic

    def key(record: dict[str, Any]) -> tuple[str | None, ...]:
        hour = record["timestamp"].isoformat()[:13]
        return tuple(
            hour if n == "hour" else record["segments"].get(n[8:]) if n.startswith("segment:") else record[n] for n in by
        )

    groups = defaultdict(list)
    for record in records:
        if record["purpose"] == "user":
            groups[key(record)].append(record)
    rows = Log(root, clock).window("support-desk", None, None, by)
    assert {tuple(row.key.values()) for row in rows} == set(groups)
    assert all(close_to(row, expected(groups[tuple(row.key[n] for n in by)], said)) for row in rows)


@pytest.mark.parametrize("name", ["request", "variant; DROP TABLE hot", "1", "", "segments", "timestamp) --"])
def test_only_what_is_on_the_list_can_be_grouped_by(root: Path, clock: ManualClock, name: str) -> None:
    with pytest.raises(UserError, match="cannot be grouped"):
        Log(root, clock).window("support-desk", None, None, (name,))


def test_an_empty_window_has_no_rows(root: Path, clock: ManualClock) -> None:
    assert Log(root, clock).window("support-desk", None, None) == []
    assert Log(root, clock).window("support-desk", None, None, ("variant",)) == []


def test_an_id_that_was_written_twice_counts_once(root: Path, clock: ManualClock, record: Record) -> None:
    made = record()
    for _ in range(2):
        spool = Spool(root, "gateway-0", clock)
        spool.ended(made)
        spool.close()
    log = Log(root, clock)
    assert [row.requests for row in log.window("support-desk", None, None)] == [1]
    with segments.maintenance(root):
        assert compact(root).segments == 2
    assert [row.requests for row in log.window("support-desk", None, None)] == [1]
    assert len(log.find()) == 1


def test_a_record_is_seen_by_a_reader_that_was_there_before_it(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    for n in range(1, 6):
        spool.ended(record())
        spool.flush()
        assert [row.requests for row in log.window("support-desk", None, None)] == [n]
    spool.close()


def test_an_id_that_is_compacted_and_written_again_counts_once(root: Path, clock: ManualClock, record: Record) -> None:
    made = [record() for _ in range(4)]
    log = Log(root, clock)
    for few, settled in ((made[:3], True), (made[1:], False)):
        spool = Spool(root, "gateway-0", clock)
        for each in few:
            spool.ended(each)
        spool.close()
        if settled:
            with segments.maintenance(root):
                compact(root)
    assert [row.requests for row in log.window("support-desk", None, None)] == [4]
    assert len(log.find(limit=10)) == 4


def test_purposes_are_filtered_one_several_none_or_all(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    for purpose in ("user", "user", "shadow", "exam", "of a newer version"):
        spool.ended(record(purpose=purpose))
    spool.close()
    log = Log(root, clock)
    for purposes, wanted in ((("user",), 2), (("shadow", "exam"), 2), (("of a newer version", "user"), 3), ((), 0), (None, 5)):
        assert sum(row.requests for row in log.window(None, None, None, purpose=purposes)) == wanted
        assert len(log.find(purpose=purposes)) == wanted


def test_hours_that_are_dropped_one_after_the_other_while_they_are_asked_for_are_passed_over(
    root: Path, clock: ManualClock, record: Record
) -> None:
    spool = Spool(root, "gateway-0", clock)
    ids = []
    for _ in range(20):
        clock.advance(3600)
        ids.append(record(request=b"{}", response=b"{}"))
        spool.ended(ids[-1])
    spool.close()
    with segments.maintenance(root):
        compact(root)
    paths = sorted((root / "log" / "bodies").rglob("*.parquet"))
    assert len(paths) == 20

    def files() -> list[Path]:
        """The files that are there, of which the oldest goes before it is read."""
        there = [path for path in paths if path.exists()]
        if len(there) > 2:
            there[0].unlink()
        return there

    found = Reader(root).bodies([each["request_id"] for each in ids], files)
    assert set(found) == {each["request_id"] for each in ids[-2:]}
