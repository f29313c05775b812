from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tunekeeper.core.nouns.monitoring import Alert
from tunekeeper.monitoring.config import Config
from tunekeeper.monitoring.watchdog import (
    FILE_RULE,
    ROOM_RULE,
    RULE,
    check_room,
    check_routing,
    check_silence,
    shortage,
    silence,
)
from tunekeeper.store.ledgers.alerts import find_alerts
from tunekeeper.store.ledgers.outbox import find_messages
from tunekeeper.store.refusedfile import accept, refuse
from tunekeeper.store.reserve import lay_by
from tunekeeper.store.space import Level, Space
from tunekeeper.testing.desk import FORMAT, MODEL, Desk

NOW = datetime(2026, 1, 9, 9, 0, tzinfo=UTC)
CONFIG = Config(silent_hours=48)
HOUR = 3600.0


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


@pytest.mark.parametrize(
    ("last", "live", "silent"),
    [
        (None, None, False),
        (ago(100), None, False),
        (None, ago(47), False),
        (None, ago(48), True),
        (ago(47), ago(500), False),
        (ago(48), ago(500), True),
        (ago(100), ago(1), False),
    ],
)
def test_a_live_model_that_hears_nothing_is_silent(last: datetime | None, live: datetime | None, silent: bool) -> None:
    found = silence(last, live, NOW, 48)
    assert (found is not None) is silent
    if silent:
        assert found == "no request for 48 h: the numbers say nothing about today"


def alerts(desk: Desk) -> list[Alert]:
    with desk.ws.state.read() as tx:
        return find_alerts(tx, model=MODEL)


def test_silence_fires_once_and_ends_with_the_next_request(desk: Desk) -> None:
    desk.traffic(3, HOUR)
    desk.clock.advance(46 * HOUR)
    assert check_silence(desk.ws, MODEL, CONFIG) is None
    desk.clock.advance(3 * HOUR)
    fired = check_silence(desk.ws, MODEL, CONFIG)
    assert fired is not None
    assert (fired.rule, fired.severity, fired.state) == (RULE, "critical", "firing")
    desk.clock.advance(24 * HOUR)
    assert check_silence(desk.ws, MODEL, CONFIG) == fired
    assert alerts(desk) == [fired]
    desk.traffic(1, HOUR)
    assert check_silence(desk.ws, MODEL, CONFIG) is None
    assert [(each.id, each.state) for each in alerts(desk)] == [(fired.id, "resolved")]
    with desk.ws.state.read() as tx:
        assert len([message for message in find_messages(tx) if message.id.startswith(fired.id)]) == 1


def test_a_model_that_is_not_live_may_be_silent(desk: Desk) -> None:
    desk.clock.advance(99 * HOUR)
    assert check_silence(desk.ws, "nobody", CONFIG) is None
    assert FORMAT["kind"] == "json"


def test_a_filling_disk_fires_once_says_what_is_given_up_and_ends_with_room(desk: Desk) -> None:
    free = [30 << 20]

    def disk(root: Path) -> Space:
        return Space(total=64 << 20, free=free[0])

    assert check_room(desk.ws, MODEL, measure=disk) is None
    lay_by(desk.ws.root)
    free[0] = 12 << 20
    fired = check_room(desk.ws, MODEL, measure=disk)
    assert fired is not None
    assert (fired.rule, fired.state) == (ROOM_RULE, "firing")
    assert fired.reason == "the data directory's disk is 81% full, 12 MB are left: nothing yet"
    assert check_room(desk.ws, MODEL, measure=disk) == fired
    with desk.ws.state.read() as tx:
        assert [message.subject for message in find_messages(tx)] == [f"{MODEL}: the disk is filling up"]
    free[0] = 30 << 20
    assert check_room(desk.ws, MODEL, measure=disk) is None
    assert [(each.id, each.state) for each in alerts(desk)] == [(fired.id, "resolved")]


def test_a_routing_file_that_is_not_obeyed_fires_once_and_ends_when_it_is(desk: Desk) -> None:
    assert check_routing(desk.ws, MODEL) is None
    refuse(desk.ws.root, "/etc/routing.yaml", "routing.yaml:1: active_slot is missing", desk.clock.utc())
    fired = check_routing(desk.ws, MODEL)
    assert fired is not None
    assert (fired.rule, fired.severity) == (FILE_RULE, "critical")
    assert fired.reason.startswith("routing.yaml:1: active_slot is missing; the routes of before stay in force since 2026-")
    assert check_routing(desk.ws, MODEL) == fired
    with desk.ws.state.read() as tx:
        assert [message.subject for message in find_messages(tx)] == [f"{MODEL}: the routing file is not obeyed"]
    accept(desk.ws.root)
    assert check_routing(desk.ws, MODEL) is None
    assert [(each.id, each.state) for each in alerts(desk)] == [(fired.id, "resolved")]


def test_the_sentence_names_what_each_level_gives_up() -> None:
    space = Space(total=64 << 20, free=2 << 20)
    said = [shortage(space, level) for level in Level]
    assert said[0] is None
    assert [str(text).rpartition(": ")[2] for text in said[1:]] == [
        "nothing yet",
        "bodies are not logged",
        "bodies are not logged, no shadow copies are sent",
        "requests are refused",
    ]
