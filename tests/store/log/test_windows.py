"""Windows: what is said and counted later is added to what was counted first, in the group it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import UserError
from tunekeeper.store.log import Log, Spool, WindowRow, segments, windows
from tunekeeper.store.log.compact import compact

Record = Callable[..., dict[str, Any]]


def test_what_is_said_after_a_window_was_asked_is_in_the_next_answer(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    made = [record(variant=variant, segments={"team": "x"}) for variant in ("champion", "champion", "challenger")]
    for each in made:
        spool.ended(each)
    spool.flush()
    spool.seal()
    with segments.maintenance(root):
        compact(root)

    def asked() -> list[tuple[str | None, int, int, int, int | None, float | None]]:
        rows = log.window("support-desk", None, None, ("variant", "segment:team"))
        return [(r.key["variant"], r.requests, r.thumbs_up, r.edits, r.prompt_tokens, r.cost_usd) for r in rows]

    assert asked() == [("challenger", 1, 0, 0, None, None), ("champion", 2, 0, 0, None, None)]
    for n, (about, kind, value) in enumerate([(made[0], "thumb", "up"), (made[0], "edit", "x"), (made[2], "thumb", "down")]):
        given = {"id": f"fb_{n}", "request_id": about["request_id"], "timestamp": clock.utc(), "kind": kind, "value": value}
        spool.feedback(given)
    spool.tokens(made[1]["request_id"], 7, 8, 0.5)
    spool.flush()
    expected = [("challenger", 1, 0, 0, None, None), ("champion", 2, 1, 1, 7, 0.5)]
    assert asked() == asked() == expected
    spool.seal()
    with segments.maintenance(root):
        compact(root)
    assert asked() == expected
    later = {"id": "fb_9", "request_id": made[1]["request_id"], "timestamp": clock.utc(), "kind": "thumb", "value": "up"}
    spool.feedback(later)
    spool.close()
    assert asked() == [("challenger", 1, 0, 0, None, None), ("champion", 2, 2, 1, 7, 0.5)]


def test_what_is_added_to_a_group_that_has_none_of_it_is_all_of_it() -> None:
    counted = {"key0": ["a", "b"], "requests": [3, 2], "errors": [1, 0], "cancelled": [0, 0], "interrupted": [0, 0]}
    counted |= {
        "quantiles": [[1.0, 2.0, 3.0], None],
        "prompt_tokens": [10, None],
        "completion_tokens": [None, 5],
        "cost_usd": [0.5, None],
    }
    added = {"key0": ["b", "a", "gone"], "edits": [1, 0, 9], "corrections": [0, 2, 9], "thumbs_up": [0, 1, 9]}
    added |= {
        "thumbs_down": [1, 0, 9],
        "prompt_tokens": [None, 5, 9],
        "completion_tokens": [1, 2, 9],
        "cost_usd": [None, 0.25, 9.0],
    }
    first, second = windows.rows(pa.table(counted), pa.table(added), ["variant"])
    assert first == WindowRow(
        key={"variant": "a"}, requests=3, errors=1, corrections=2, thumbs_up=1, p50_ms=1.0, p95_ms=2.0, p99_ms=3.0,
        prompt_tokens=15, completion_tokens=2, cost_usd=0.75,
    )  # fmt: skip
    assert second == WindowRow(key={"variant": "b"}, requests=2, edits=1, thumbs_down=1, completion_tokens=6)
    assert windows.rows(pa.table(counted), None, ["variant"])[1] == WindowRow(
        key={"variant": "b"}, requests=2, completion_tokens=5
    )


@pytest.mark.parametrize("name", ["request", "1; DROP TABLE hot", "", "segments"])
def test_only_what_is_on_the_list_can_be_grouped_by(name: str) -> None:
    with pytest.raises(UserError, match="cannot be grouped"):
        windows.group_key(name, 0)
    assert windows.group_key("segment:" + name, 3) == "segments[$segment3]"


def test_portions_put_quiet_hours_together_divide_busy_ones_and_leave_no_moment_out() -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    counts = [3, 4, 5, 60, 0, 9, 1]
    hours = [(start + timedelta(hours=n), count) for n, count in enumerate(counts)]
    spans = windows.portions(hours, None, None, 10)
    assert (spans[0][0], spans[-1][1]) == (None, None)
    assert all(one[1] == other[0] for one, other in pairwise(spans)), "they join"
    edges = [(low or start - timedelta(1), high or start + timedelta(9)) for low, high in spans]
    assert all(low < high for low, high in edges)
    requests = [at + timedelta(hours=1) * (k + 0.5) / count for at, count in hours for k in range(count)]
    assert max(sum(low <= at < high for at in requests) for low, high in edges) <= 20
    assert len(spans) <= 12
    assert windows.portions([], start, None, 10) == [(start, None)]
    inside = windows.portions(hours, start + timedelta(hours=3.5), start + timedelta(hours=3.9), 10)
    assert (inside[0][0], inside[-1][1]) == (start + timedelta(hours=3.5), start + timedelta(hours=3.9))
    assert 2 <= len(inside) <= 4
