"""The numbers of arms agree with a plain computation, whatever part of the log is still hot, and with what `window` counts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import UserError
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact

Record = Callable[..., dict[str, Any]]


@pytest.fixture
def traffic(root: Path, clock: ManualClock, record: Record) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """240 requests of which some have everything and some nothing, half of them compacted; what was said last, by request."""
    rng = random.Random(11)
    spool = Spool(root, "gateway-0", clock, max_seconds=600)
    records: list[dict[str, Any]] = []
    said: dict[str, dict[str, Any]] = {}
    for i in range(240):
        clock.advance(20)
        ending = rng.choice([("ok", None)] * 5 + [("error", "upstream_timeout"), ("truncated", "upstream_truncated")])
        made = record(
            variant=rng.choice(["champion", "challenger"]),
            slot_assigned="a",
            slot=rng.choice(["a", "a", "b"]),
            status=ending[0],
            error=ending[1],
            ttft_ms=rng.choice([None, rng.random() * 50]),
            completion_tokens=rng.choice([None, rng.randrange(1, 90)]),
            cost_usd=rng.choice([None, rng.random() / 100]),
            confidence=rng.choice([None, rng.random()]),
            quality_score=rng.choice([None, None, rng.random()]),
        )
        records.append(made)
        spool.ended(made)
        about = rng.choice(records)["request_id"]
        kind, value = rng.choice([("score", 0.25), ("escalation", True), ("outcome", "success"), ("outcome", "failure")])
        said.setdefault(about, {})[kind] = value
        spool.feedback({"id": f"fb_{i}", "request_id": about, "timestamp": clock.utc(), "kind": kind, "value": value})
        spool.flush()
        if i == 120:
            with segments.maintenance(root):
                assert compact(root).records > 50
    spool.close()
    return records, said


def test_every_number_of_an_arm_is_what_plain_counting_gives(
    root: Path, clock: ManualClock, traffic: tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]
) -> None:
    records, said = traffic
    rows = {row.key["variant"]: row for row in Log(root, clock).arms("support-desk", None, None)}
    assert set(rows) == {"champion", "challenger"}
    for variant, row in rows.items():
        mine = [each for each in records if each["variant"] == variant]
        told = [said.get(each["request_id"], {}) for each in mine]
        codes = Counter(each["error"] for each in mine if each["error"])
        assert (row.requests, row.codes, row.errors + row.truncated) == (len(mine), dict(codes), codes.total())
        assert row.rescued == sum(each["slot"] == "b" for each in mine)
        first = [each["ttft_ms"] for each in mine if each["ttft_ms"] is not None]
        assert row.ttft_ms == pytest.approx(tuple(np.quantile(first, [0.5, 0.95, 0.99])))
        counted = [each for each in mine if each["completion_tokens"] is not None]
        assert (row.counted, row.counted_ms) == (len(counted), pytest.approx(sum(each["latency_ms"] for each in counted)))
        assert row.completion_tokens == sum(each["completion_tokens"] for each in counted)
        costs = [each["cost_usd"] for each in mine if each["cost_usd"] is not None]
        assert (row.priced, row.cost_usd) == (len(costs), pytest.approx(sum(costs)))
        sure = [each["confidence"] for each in mine if each["confidence"] is not None]
        assert (row.confident, row.confidence2) == (len(sure), pytest.approx(sum(value**2 for value in sure)))
        scores = [
            each["quality_score"] if each["quality_score"] is not None else what.get("score")
            for each, what in zip(mine, told, strict=True)
        ]
        known = [score for score in scores if score is not None]
        assert (row.scored, row.score) == (len(known), pytest.approx(sum(known)))
        assert row.escalations == sum("escalation" in what for what in told)
        assert row.successes == sum(what.get("outcome") == "success" for what in told)
        assert row.failures == sum(what.get("outcome") == "failure" for what in told)


def test_arms_and_windows_count_the_same(
    root: Path, clock: ManualClock, traffic: tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]
) -> None:
    log = Log(root, clock)
    windows = {row.key["hour"]: (row.requests, row.errors, row.p95_ms) for row in log.window(None, None, None, by=("hour",))}
    arms = log.arms(None, None, None, by=("hour",))
    assert {
        row.key["hour"]: (row.requests, row.errors + row.truncated, (row.latency_ms or (0, 0, 0))[1]) for row in arms
    } == windows
    assert log.arms("other", None, None) == []
    with pytest.raises(UserError, match="cannot be grouped"):
        log.arms(None, None, None, by=("request",))
