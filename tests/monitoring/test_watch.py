from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from tunekeeper.core.errors import LeaseLost
from tunekeeper.core.nouns.monitoring import Alert, Signal, Trigger
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.data import review
from tunekeeper.monitoring.config import Config, Limits
from tunekeeper.monitoring.watch import OTHERS, VALUES, watch, window_end
from tunekeeper.store.ledgers.alerts import find_alerts
from tunekeeper.store.ledgers.outbox import find_messages
from tunekeeper.store.ledgers.signals import find_signals
from tunekeeper.store.ledgers.triggers import find_triggers
from tunekeeper.testing.desk import FORMAT, MODEL, Desk, Ticket, World

DAY = 86_400.0
CONFIG = Config(
    every_hours=24,
    window_hours=24,
    min_samples=20,
    min_reviewed=10,
    baseline_requests=60,
    limits=Limits(input=0.9, vocabulary=0.9),
)
WRONG = {"blue": 0.6}


def looked(desk: Desk, requests: int = 80, wrong: float = 0.0, config: Config = CONFIG) -> tuple[str, ...]:
    """A day of users, then a look; the rules that hold."""
    desk.traffic(requests, DAY, desk.faulty({"blue": wrong}))
    return tuple(each.rule.id for each in watch(desk.ws, MODEL, config, FORMAT) if each.holds == "yes")


def signals(desk: Desk, name: str, segment: str = "") -> list[Signal]:
    with desk.ws.state.read() as tx:
        return [each for each in find_signals(tx, model=MODEL, name=name) if each.segment == segment]


def alerts(desk: Desk) -> list[Alert]:
    with desk.ws.state.read() as tx:
        return find_alerts(tx, model=MODEL)


def triggers(desk: Desk) -> list[Trigger]:
    with desk.ws.state.read() as tx:
        return find_triggers(tx, model=MODEL)


def test_windows_end_on_a_grid_so_that_everybody_measures_the_same_ones() -> None:
    now = datetime(2026, 1, 5, 9, 41, tzinfo=UTC)
    assert window_end(now, 24) == datetime(2026, 1, 5, tzinfo=UTC)
    assert window_end(now, 0.5) == datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
    assert window_end(datetime(2026, 1, 5, 9, 30, tzinfo=UTC), 0.5) == datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


def test_a_window_is_measured_once(desk: Desk) -> None:
    desk.traffic(80, DAY)
    assert watch(desk.ws, MODEL, CONFIG, FORMAT) != ()
    before = signals(desk, "edit_rate")
    assert watch(desk.ws, MODEL, CONFIG, FORMAT) == ()
    desk.clock.advance(DAY / 2)
    assert watch(desk.ws, MODEL, CONFIG, FORMAT) == ()
    assert signals(desk, "edit_rate") == before
    desk.clock.advance(DAY / 2)
    assert watch(desk.ws, MODEL, CONFIG, FORMAT) != ()
    assert len(signals(desk, "edit_rate")) == 2


def test_only_what_lies_in_the_window_counts(desk: Desk) -> None:
    desk.traffic(100, 2 * DAY, desk.faulty(WRONG))
    watch(desk.ws, MODEL, CONFIG, FORMAT)
    [found] = signals(desk, "requests")
    assert (found.since, found.until) == (datetime(2026, 1, 6, tzinfo=UTC), datetime(2026, 1, 7, tzinfo=UTC))
    assert found.value == 50
    [edited] = signals(desk, "edit_rate")
    assert edited.value is not None
    assert 0.4 < edited.value < 0.8
    assert set(edited.detail["requests"]) <= set(desk.sent)


def test_an_alert_fires_once_stays_and_resolves(desk: Desk) -> None:
    assert looked(desk) == ()
    assert looked(desk, wrong=0.6) == ("MON-03",)
    [alert] = alerts(desk)
    assert (alert.rule, alert.state, alert.severity) == ("MON-03", "firing", "warning")
    assert set(alert.samples) <= set(desk.sent)
    assert looked(desk, wrong=0.7) == ("MON-03",)
    [again] = alerts(desk)
    assert (again.id, again.since, again.state) == (alert.id, alert.since, "firing")
    assert again.reason != alert.reason
    looked(desk, requests=5)
    assert alerts(desk)[0].state == "firing", "five requests are no all-clear"
    desk.clock.advance(DAY)
    assert looked(desk) == ()
    [ended] = alerts(desk)
    assert (ended.state, ended.until) == ("resolved", desk.clock.utc())
    with desk.ws.state.read() as tx:
        told = [message.subject for message in find_messages(tx) if message.kind == "alert"]
    assert sorted(told) == ["desk: MON-03 edit_rate", "desk: MON-03 resolved"]


def test_a_trigger_is_made_once_with_its_evidence(desk: Desk) -> None:
    looked(desk)
    assert triggers(desk) == []
    looked(desk, wrong=0.6)
    [trigger] = triggers(desk)
    assert (trigger.reason, trigger.state) == ("RETR-06", "open")
    assert "edit_rate is" in trigger.summary
    assert {alerts(desk)[0].id, signals(desk, "edit_rate")[-1].id} <= set(trigger.evidence)
    looked(desk, wrong=0.6)
    assert triggers(desk) == [trigger]


def test_an_edit_rate_just_above_the_line_must_be_confirmed_by_a_second_window(desk: Desk) -> None:
    desk.clock.advance((window_end(desk.clock.utc(), 24) - desk.clock.utc()).total_seconds() % DAY)
    looked(desk)
    numbers = count()

    def every_fifth(slot: str, ticket: Ticket) -> str:
        return ticket.answer if next(numbers) % 5 else "{}"

    for windows in (0, 1):
        desk.traffic(40, DAY, every_fifth)
        findings = watch(desk.ws, MODEL, CONFIG, FORMAT)
        edits = next(each for each in findings if each.rule.id == "MON-03")
        assert (edits.holds, edits.certain) == ("yes", False)
        assert len(triggers(desk)) == windows


def test_drift_alone_alerts_and_never_retrains(desk: Desk) -> None:
    config = Config(
        every_hours=24, window_hours=24, min_samples=20, baseline_requests=60, limits=Limits(input=0.001, vocabulary=0.001)
    )
    desk.traffic(80, DAY)
    watch(desk.ws, MODEL, config, FORMAT)
    for _ in range(3):
        for _ in range(40):
            ticket = World().ticket(desk.rng)
            words = ticket.text.replace("Hello", "Greetings esteemed zeppelin owners")
            desk.ask(type(ticket)(text=words, answer=ticket.answer, category=ticket.category, user=ticket.user), desk.rules())
            desk.clock.advance(DAY / 40)
        desk.spool.flush()
        held = {each.rule.id for each in watch(desk.ws, MODEL, config, FORMAT) if each.holds == "yes"}
    assert held == {"DRIFT-01", "DRIFT-06"}
    assert "zeppelin" in signals(desk, "vocabulary_drift")[-1].detail["new_words"]
    assert triggers(desk) == []


def test_accuracy_comes_from_reviewed_answers(desk: Desk) -> None:
    desk.traffic(80, DAY, desk.faulty({"blue": 0.5}))
    items = review.enqueue(desk.ws, MODEL, desk.sent[20:40], why="sample")
    for number, item in enumerate(items):
        review.judge(desk.ws, item.id, "good" if number % 2 else "bad", by="expert")
    watch(desk.ws, MODEL, CONFIG, FORMAT)
    [found] = signals(desk, "accuracy")
    assert found.n >= CONFIG.min_reviewed
    assert found.value is not None
    assert 0.3 < found.value < 0.7
    assert triggers(desk)[0].reason == "RETR-01"


def test_segments_are_measured_and_alerted_apart(desk: Desk) -> None:
    config = Config(every_hours=24, window_hours=24, min_samples=20, baseline_requests=60, segments=("category",))
    rng = desk.rng

    def answers(slot: str, ticket: object) -> str:
        return "{}" if getattr(ticket, "category", "") == "refund" and rng.random() < 0.9 else getattr(ticket, "answer", "")

    desk.traffic(200, DAY, answers, edits=0.0)
    watch(desk.ws, MODEL, config, FORMAT)
    held = {alert.rule for alert in alerts(desk)}
    assert held == {"MON-02", "MON-02[category=refund]"}
    assert signals(desk, "format", "category=billing")[0].value == 1.0
    assert sum(
        each.n for name in ("account", "billing", "refund", "shipping") for each in signals(desk, "requests", f"category={name}")
    ) == int(signals(desk, "requests")[0].n)


def test_of_a_segment_with_very_many_values_the_largest_are_measured_each_and_the_others_together(desk: Desk) -> None:
    config = Config(every_hours=24, window_hours=24, segments=("tenant", "plan"))
    at = window_end(desk.ws.clock.utc(), 24) - timedelta(hours=1)
    often, seldom = [f"a{number}" for number in range(VALUES)], [f"b{number}" for number in range(50)]
    tenants = [*often, *seldom, *often]
    desk.ws.log.append_import(
        Inference(request_id=f"{number}", timestamp=at, model_id=MODEL, segments={"tenant": tenant, "plan": "basic"})
        for number, tenant in enumerate(tenants)
    )
    watch(desk.ws, MODEL, config, FORMAT)
    with desk.ws.state.read() as tx:
        found = {each.segment: each.value for each in find_signals(tx, model=MODEL, name="requests")}
    each = {f"tenant={tenant}": 2.0 for tenant in often}
    assert found == {"": len(tenants), "plan=basic": len(tenants), f"tenant={OTHERS}": 50.0, **each}


def test_a_worker_whose_lease_is_gone_saves_nothing(desk: Desk) -> None:
    lease = desk.ws.state.acquire_lease("worker", "one", 10.0)
    assert lease is not None
    desk.ws.state.release_lease(lease)
    desk.ws.state.acquire_lease("worker", "two", 10.0)
    desk.traffic(80, DAY)
    with pytest.raises(LeaseLost):
        watch(desk.ws, MODEL, CONFIG, FORMAT, lease=lease)
    assert signals(desk, "requests") == []


def test_a_model_that_becomes_a_tenth_less_sure_of_its_answers_than_on_day_one_is_an_alert(desk: Desk) -> None:
    answers = desk.rules()

    def a_day(confidence: float) -> tuple[str, ...]:
        for _ in range(80):
            desk.ask(desk.world.ticket(desk.rng), answers, confidence=confidence)
            desk.clock.advance(DAY / 80)
        desk.spool.flush()
        return tuple(each.rule.id for each in watch(desk.ws, MODEL, CONFIG, FORMAT) if each.holds == "yes")

    assert a_day(0.8) == ()
    assert a_day(0.73) == ()
    assert a_day(0.6) == ("MON-04",)
    (fired,) = alerts(desk)
    assert fired.reason.startswith("confidence is 0.")
    assert fired.reason.endswith("line 0.720")
    assert a_day(0.8) == ()
    a_day(0.8)
    assert [each.state for each in alerts(desk)] == ["resolved"]
