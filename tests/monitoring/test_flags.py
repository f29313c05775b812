"""Which requests came in a drift: from traffic that changes to what `log ls` and `show` say."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tunekeeper.cli.app import main
from tunekeeper.core.nouns.monitoring import Signal
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.monitoring.config import Config, Limits
from tunekeeper.monitoring.flags import Flags, mark
from tunekeeper.monitoring.watch import watch
from tunekeeper.store.ledgers.signals import save_signal
from tunekeeper.testing.desk import FORMAT, MODEL, Desk

DAY = 86_400.0
START = datetime(2026, 1, 5, tzinfo=UTC)


def window(desk: Desk, day: int, *, name: str = "input_drift", segment: str = "", days: int = 1, drifted: bool = False) -> None:
    """A measured window of `days` that ends after `day` days."""
    until = START + timedelta(days=day)
    since = until - timedelta(days=days)
    id = f"{MODEL}/{name}/{segment}/{until.isoformat()}"
    with desk.ws.state.write(by="test") as tx:
        saved = save_signal(tx, Signal(id=id, model=MODEL, name=name, segment=segment, since=since, until=until, value=0.5))
        mark(tx, [saved] if drifted else [])


def at(days: float, **fields: object) -> Inference:
    return Inference(request_id="r1", timestamp=START + timedelta(days=days), model_id=MODEL, **fields)  # type: ignore[arg-type]


def test_requests_of_a_drifted_window_are_flagged_where_they_are_read(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(
        every_hours=24, window_hours=24, min_samples=20, baseline_requests=60, limits=Limits(input=0.001, vocabulary=0.001)
    )
    desk.traffic(80, DAY)
    watch(desk.ws, MODEL, config, FORMAT)
    calm, drifting = list(desk.sent), []
    answers = desk.rules()
    for _ in range(40):
        ticket = desk.world.ticket(desk.rng)
        words = ticket.text.replace("Hello", "Greetings esteemed zeppelin owners")
        desk.ask(type(ticket)(text=words, answer=ticket.answer, category=ticket.category, user=ticket.user), answers)
        drifting.append(desk.sent[-1])
        desk.clock.advance(DAY / 40)
    desk.spool.flush()
    watch(desk.ws, MODEL, config, FORMAT)
    assert main(["log", "ls", "--dir", str(desk.folder)]) == 0
    found = {each["request_id"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {tuple(found[id]["drift_flags"]) for id in calm[:40]} == {()}
    measured = [id for id in drifting if found[id]["drift_flags"]]
    assert len(measured) >= 20
    assert found[measured[-1]]["drift_flags"] == ["input_drift"]
    assert main(["show", measured[-1], "--dir", str(desk.folder)]) == 0
    assert ", input_drift" in capsys.readouterr().out.splitlines()[0]


def test_the_first_window_that_holds_a_request_speaks_for_it(desk: Desk) -> None:
    window(desk, 1, days=7)
    window(desk, 2, days=7, drifted=True)
    window(desk, 3, days=7)
    flags = Flags(desk.ws)
    days = (-7.0, 0.5, 1.0, 1.9, 2.0, 3.0)
    assert [flags.on(at(day)).drift_flags for day in days] == [(), (), ("input_drift",), ("input_drift",), (), ()]


def test_a_hole_between_windows_is_no_drift_and_neither_is_what_no_user_asked(desk: Desk) -> None:
    window(desk, 1)
    window(desk, 5, drifted=True)
    flags = Flags(desk.ws)
    assert flags.on(at(2.5)).drift_flags == ()
    assert flags.on(at(4.5)).drift_flags == ("input_drift",)
    assert flags.on(at(4.5, purpose="shadow")).drift_flags == ()


def test_a_segment_has_its_own_and_stored_flags_stay(desk: Desk) -> None:
    window(desk, 1, segment="tier=gold", drifted=True)
    flags = Flags(desk.ws)
    assert flags.on(at(0.5, segments={"tier": "gold"})).drift_flags == ("input_drift[tier=gold]",)
    assert flags.on(at(0.5, segments={"tier": "free"}, drift_flags=("length",))).drift_flags == ("length",)


def test_what_is_no_drift_is_not_marked(desk: Desk) -> None:
    window(desk, 1, name="error_rate", drifted=True)
    assert Flags(desk.ws).on(at(0.5)).drift_flags == ()
