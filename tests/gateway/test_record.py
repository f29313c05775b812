"""What the record of a request holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tunekeeper.core.nouns.serving import Slot
from tunekeeper.gateway.record import MAX_SEGMENTS, Record, assigned, occupied, segments_of, spent
from tunekeeper.gateway.routing import Choice, Unit
from tunekeeper.gateway.tables import Target, target_of
from tunekeeper.gateway.wire import Usage, splice_of


def target(price_in: float | None = None, price_out: float | None = None) -> Target:
    return Target("a", "v1", None, b"", b"", splice_of("m", None, (), None), price_in, price_out)


def test_only_what_is_known_is_noted() -> None:
    record: Record = {}
    assigned(record, Choice("a", None), None)
    assert record == {"slot_assigned": "a"}
    assigned(record, Choice("a", "champion", 17, 9000), Unit("user", "ann"))
    assert record == {
        "slot_assigned": "a",
        "variant": "champion",
        "bucket": 17,
        "weight": 9000,
        "unit_kind": "user",
        "unit": Unit("user", "ann").digest,
    }


def test_cost_needs_tokens_and_a_price() -> None:
    record: Record = {}
    spent(record, None, target(1.0, 1.0))
    assert record == {}
    spent(record, Usage(10, None), target())
    assert record == {"prompt_tokens": 10}
    spent(record, Usage(1_000_000, 500_000), target(2.0, 4.0))
    assert record["cost_usd"] == pytest.approx(4.0)


def test_what_is_paid_by_the_hour_costs_its_seconds_whether_it_answered_or_not() -> None:
    slot = Slot(id="a", model="desk", endpoint="http://127.0.0.1:1/v1", price_hour=7.2, options={"parallel": 4})
    hourly, free = target_of(slot, {}), target_of(replace(slot, price_hour=None), {})
    record: Record = {}
    occupied(record, 2.0, free)
    assert record == {}
    occupied(record, 2.0, hourly)
    occupied(record, 4.0, hourly)
    assert record["cost_usd"] == pytest.approx(6 * 7.2 / 3600 / 4)
    spent(record, Usage(prompt_tokens=10, completion_tokens=5), target(2.0, 10.0))
    assert record["cost_usd"] == pytest.approx(6 * 7.2 / 3600 / 4 + 70 / 1e6), "a fallback is paid for as well"


def test_segments_come_from_headers_and_metadata() -> None:
    headers = {b"x-tunekeeper-segment-plan": b" gold ", b"x-tunekeeper-segment-": b"no", b"host": b"x"}
    metadata = {"channel": "mail", "user_id": "ann", "n": 5, "long": "x" * 200, "plan": "silver"}
    assert segments_of(headers, metadata) == {"plan": "gold", "channel": "mail"}
    assert len(segments_of({}, {f"k{i}": "v" for i in range(100)})) == MAX_SEGMENTS
    assert segments_of({}, None) == {}
