from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.rollout.conftest import CONFIG, canary, now_of
from tunekeeper.core.ids import request_id
from tunekeeper.rollout.canary import tick
from tunekeeper.rollout.decision import Evidence
from tunekeeper.rollout.evidence import gather
from tunekeeper.rollout.tally import Looks
from tunekeeper.store.log import Log
from tunekeeper.testing.desk import FORMAT, MODEL, Desk

HOUR = 3600.0


@pytest.fixture
def begun(desk: Desk) -> Desk:
    canary(desk)
    tick(desk.ws, "rol_1", CONFIG, FORMAT)
    return desk


def seen(desk: Desk, looks: Looks | None = None) -> Evidence:
    return gather(desk.ws, now_of(desk), FORMAT, slot_ready=True, digest=None, looks=looks)


def counted(evidence: Evidence) -> int:
    return sum(tick.candidate + tick.champion for tick in evidence.ticks["errors"])


def reading(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many inferences each further question to the log gave."""
    found: list[int] = []
    find = Log.find

    def counting(self: Log, **wanted: Any) -> Any:
        rows = find(self, **wanted)
        found.append(len(rows))
        return rows

    monkeypatch.setattr(Log, "find", counting)
    return found


def test_a_look_that_remembers_sees_what_one_that_reads_everything_sees(begun: Desk) -> None:
    looks, answers = Looks(), begun.faulty({"green": 0.2, "blue": 0.1}, {"green": 0.1})
    for number in range(8):
        begun.traffic(40, 900, answers)
        assert seen(begun, looks) == seen(begun)
        if number == 3:
            begun.clock.advance(3 * HOUR)
            phase = tick(begun.ws, "rol_1", replace(CONFIG, min_requests=1), FORMAT, looks=looks).phase
            assert phase == 1, "the next share begins, and with it the count of its requests"
    assert seen(begun, looks).phase_requests > 0


def test_a_look_reads_only_what_is_new(begun: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks()
    for _ in range(6):
        begun.traffic(30, 900)
        seen(begun, looks)
    read = reading(monkeypatch)
    begun.traffic(30, 900)
    now = seen(begun, looks)
    assert sum(read) <= 3 * 30
    assert counted(now) > 180
    read.clear()
    assert seen(begun) == now
    assert sum(read) == 210


def test_an_erased_user_is_gone_from_what_is_remembered(begun: Desk) -> None:
    looks = Looks()
    ana = begun.world.ticket(begun.rng)
    begun.ask(ana, lambda slot, ticket: ticket.answer)
    for _ in range(5):
        begun.traffic(20, 900)
        before = seen(begun, looks)
    begun.spool.close()
    assert begun.ws.log.erase(ana.user)["requests"] >= 1
    after = seen(begun, looks)
    assert after == seen(begun)
    assert counted(after) < counted(before)


def test_a_request_that_takes_long_counts_when_it_has_ended(begun: Desk) -> None:
    looks = Looks()
    at = begun.clock.utc() + timedelta(seconds=60)
    slow = request_id(at, begun.ws.request_key(), begun.ws.entropy)
    begun.traffic(4, 120)
    begun.spool.opened({"request_id": slow, "timestamp": at, "model_id": MODEL})
    for _ in range(5):
        begun.traffic(20, 900)
        assert seen(begun, looks) == seen(begun)
    begun.ask(begun.world.ticket(begun.rng), lambda slot, ticket: ticket.answer, request_id=slow, timestamp=at)
    begun.spool.flush()
    assert seen(begun, looks) == seen(begun)


def test_what_comes_later_than_any_request_may_take_is_counted_as_well(begun: Desk) -> None:
    looks = Looks()
    at = begun.clock.utc() + timedelta(seconds=60)
    for _ in range(5):
        begun.traffic(20, 900)
        seen(begun, looks)
    begun.ask(begun.world.ticket(begun.rng), lambda slot, ticket: ticket.answer, timestamp=at)
    begun.spool.flush()
    assert seen(begun, looks) == seen(begun)


def test_other_rules_count_anew(begun: Desk) -> None:
    looks = Looks()
    for _ in range(4):
        begun.traffic(20, 900)
        seen(begun, looks)
    strict = {"kind": "json", "fields": {"category": ["account", "billing"]}}
    given = gather(begun.ws, now_of(begun), strict, slot_ready=True, digest=None, looks=looks)
    assert given == gather(begun.ws, now_of(begun), strict, slot_ready=True, digest=None)
    assert sum(t.champion_failed for t in given.ticks["errors"]) > sum(t.champion_failed for t in seen(begun).ticks["errors"])
