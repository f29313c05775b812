from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.data.small import deal_out
from tests.patience import until
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, freezing, gathering, versions, weekly
from tunekeeper.data.collection import history
from tunekeeper.data.config import Config
from tunekeeper.store.ledgers.jobs import find_jobs
from tunekeeper.workspace import Workspace

SECTION = Config(collect_sample=0)
DAY = 86_400.0


@pytest.fixture
def first(ws: Workspace, task: Model, row: Any, tickets: Any) -> None:
    """A first version, frozen now."""
    rows = [row(text, answer, id=f"t{i}") for i, (text, answer) in enumerate(tickets(20))]
    deal_out(ws, rows, SECTION)
    freezing.freeze(ws, task, SECTION)


@pytest.mark.parametrize(("text", "days"), [("7d", 7.0), ("2w", 14.0), ("12h", 0.5), ("90m", 0.0625), ("never", None)])
def test_a_period_is_read(text: str, days: float | None) -> None:
    assert weekly.period("desk", Config(collect_every=text)) == (None if days is None else timedelta(days=days))


@pytest.mark.parametrize("text", ["", "7", "weekly", "-1d", "0d", "1s"])
def test_what_is_no_period_is_refused_with_its_file_and_field(text: str) -> None:
    with pytest.raises(ConfigError, match=r"models/desk\.yaml: data\.collect_every"):
        weekly.period("desk", Config(collect_every=text))


def test_it_is_due_a_week_after_the_first_version_and_missed_weeks_are_caught_up_once(
    ws: Workspace, task: Model, first: None, traffic: Any
) -> None:
    begun = versions.log(ws, "desk")[0].created
    assert begun is not None
    traffic.clock.advance(7 * DAY - 60)
    assert weekly.due(ws, "desk", SECTION) is None
    traffic.clock.advance(60)
    assert weekly.due(ws, "desk", SECTION) == begun + timedelta(days=7)
    assert weekly.due(ws, "desk", Config(collect_every="never")) is None
    traffic.clock.advance(45 * DAY)
    moment = weekly.due(ws, "desk", SECTION)
    assert moment == begun + timedelta(days=49)
    gathering.collect(ws, task, SECTION, now=moment)
    assert weekly.due(ws, "desk", SECTION) is None
    traffic.clock.advance(4 * DAY)
    assert weekly.due(ws, "desk", SECTION) == begun + timedelta(days=56)


def test_without_a_version_nothing_is_due(ws: Workspace, traffic: Any) -> None:
    traffic.clock.advance(100 * DAY)
    assert weekly.due(ws, "desk", SECTION) is None


def test_a_child_collects_once_and_freezes_nothing(ws: Workspace, task: Model, first: None, traffic: Any) -> None:
    traffic.clock.advance(8 * DAY)
    asked = traffic.ask("The lamp of order 7 went dark", "served", edit="right")
    assert until(lambda: (job := weekly.tend(ws, task, SECTION)) is not None and job.state == "done", seconds=60)
    assert asked in {e.id for e in drafts.load_draft(ws, "desk")}
    [run] = history(ws, "desk")
    assert (run["by"], run["added"], run["told"]) == ("schedule", [asked], "1 examples from 1 statements")
    assert weekly.tend(ws, task, SECTION) is None
    with ws.state.read() as tx:
        [job] = find_jobs(tx, model="desk", kind=weekly.JOB)
    assert (job.state, (job.output or {})["added"]) == ("done", [asked])
    assert len(versions.log(ws, "desk")) == 1


def test_a_clock_that_was_ahead_for_a_while_puts_no_collection_off(ws: Workspace, task: Model, first: None, traffic: Any) -> None:
    traffic.clock.advance(7 * DAY)
    before = traffic.ask("The lamp of order 7 went dark", "served", edit="right")
    assert gathering.collect(ws, task, SECTION).added == (before,)
    traffic.clock.start += timedelta(days=400)
    ahead = traffic.ask("The lamp of order 8 went dark", "served", edit="right")
    assert gathering.collect(ws, task, SECTION).added == (ahead,)
    traffic.clock.start -= timedelta(days=400)
    after = traffic.ask("The lamp of order 9 went dark", "served", edit="right")
    assert weekly.due(ws, "desk", SECTION) is None
    traffic.clock.advance(7 * DAY)
    assert weekly.due(ws, "desk", SECTION) is not None
    done = gathering.collect(ws, task, SECTION)
    assert (done.added, done.known) == ((after,), 2)
    assert gathering.collect(ws, task, SECTION).said == {}
    assert weekly.due(ws, "desk", SECTION) is None
