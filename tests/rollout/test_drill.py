from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.rollout.conftest import canary
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import Busy, NotFound, UpstreamUnavailable, UserError
from tunekeeper.core.nouns.serving import Route
from tunekeeper.rollout import rollback
from tunekeeper.rollout.drill import REASON, drill, last_drill, unfinished
from tunekeeper.rollout.moves import promote
from tunekeeper.rollout.routes import all_to
from tunekeeper.store.ledgers.incidents import find_incidents
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.routes import find_routes, load_route, save_route
from tunekeeper.store.lock import exclusive
from tunekeeper.store.published import PublishedReader, WorkerSlot
from tunekeeper.testing.desk import MODEL, Desk
from tunekeeper.workspace import open_workspace


@pytest.fixture
def two(desk: Desk) -> Desk:
    """`blue` was live, `green` is."""
    promote(desk.ws, MODEL, "green", by="test", reason="second")
    desk.clock.advance(60)
    return desk


def last(desk: Desk) -> object:
    with desk.ws.control.read() as tx:
        return last_drill(tx, MODEL)


def test_a_drill_goes_back_and_returns_over_the_real_road(two: Desk) -> None:
    before = two.route()
    done = drill(two.ws, MODEL, by="ana", hold_seconds=3.0)
    assert (done.version, done.went_to) == ("v1.1", "v1.0")
    assert min(done.back_ms, done.forth_ms) >= 0
    after = two.route()
    assert after.generation == before.generation + 2
    assert (after.shares, after.champion, after.previous, after.salt) == (before.shares, "green", before.previous, before.salt)
    assert PublishedReader(two.ws.root).current().generation == after.generation
    with two.ws.control.read() as tx:
        away = find_routes(tx, model=MODEL)[1]
        assert find_incidents(tx, model=MODEL) == []
        assert len(find_promotions(tx, model=MODEL)) == 2, "a drill is no promotion and no rollback"
    assert away.champion == "blue"
    assert after.created is not None
    assert away.created == after.created - timedelta(seconds=3)


def test_a_drill_counts_workers_that_obey_and_names_those_that_do_not(two: Desk) -> None:
    with closing(WorkerSlot(two.ws.root, "idle")):
        done = drill(two.ws, MODEL, by="ana", hold_seconds=0.0)
    assert done.acknowledged_by == ()
    assert [pid for pid, _ in done.pending] == [os.getpid()] * 2
    with closing(WorkerSlot(two.ws.root, "quick")) as worker:
        worker.acknowledge(two.route().generation + 2)
        assert drill(two.ws, MODEL, by="ana", hold_seconds=0.0).acknowledged_by == ("quick",)


def test_a_drill_is_refused_while_a_rollout_is_active(two: Desk) -> None:
    canary(two)
    with pytest.raises(UserError, match="a rollout of desk is active"):
        drill(two.ws, MODEL, by="ana")
    assert two.shares() == {"green": 10_000}


def test_without_an_earlier_version_there_is_nothing_to_drill(desk: Desk) -> None:
    with pytest.raises(UpstreamUnavailable, match="nothing to drill"):
        drill(desk.ws, MODEL, by="ana")


def killed_between_its_moves(desk: Desk) -> Route:
    with desk.ws.control.write(by="ana") as tx:
        home = load_route(tx, MODEL)
        save_route(tx, replace(all_to(home, "blue", salt=home.salt), by="ana", reason=REASON, created=None))
    return home


def test_an_unfinished_drill_returns_once(two: Desk) -> None:
    home = killed_between_its_moves(two)
    move = unfinished(two.ws, MODEL, by="worker-1")
    assert move is not None
    assert (move.before, move.after) == ("blue", "green")
    assert two.route().shares == home.shares
    assert unfinished(two.ws, MODEL, by="worker-1") is None
    assert PublishedReader(two.ws.root).generation() == two.route().generation


def test_a_finished_drill_and_a_route_without_any_are_left_alone(two: Desk) -> None:
    assert unfinished(two.ws, MODEL, by="worker-1") is None
    drill(two.ws, MODEL, by="ana")
    before = two.route()
    assert unfinished(two.ws, MODEL, by="worker-1") is None
    assert two.route() == before
    assert unfinished(two.ws, "nobody", by="worker-1") is None


class Worker(ManualClock):
    """A clock on which the worker has its round while the drill holds."""

    saw: object = "nothing yet"

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        other = open_workspace(self.root, clock=self)
        self.saw = (unfinished(other, MODEL, by="worker-1"), PublishedReader(self.root).current().routes[MODEL].champion)

    root: Path


def test_the_worker_leaves_a_drill_under_way_alone_and_so_does_a_second_drill(two: Desk) -> None:
    clock = Worker(start=two.clock.utc())
    clock.root = two.ws.root
    before = two.route().generation
    drill(open_workspace(two.ws.root, clock=clock), MODEL, by="ana")
    assert clock.saw == (None, "blue")
    assert two.route().generation == before + 2
    with exclusive(two.ws.path("run", f"drill-{MODEL}.lock")), pytest.raises(Busy):
        drill(two.ws, MODEL, by="ben")


def test_what_somebody_set_during_a_drill_counts(two: Desk) -> None:
    killed_between_its_moves(two)
    two.clock.advance(1)
    promote(two.ws, MODEL, "green", by="ana", reason="I want green")
    assert unfinished(two.ws, MODEL, by="worker-1") is None
    assert two.route().reason == "I want green"


def test_the_last_exercise_is_a_drill_or_a_rollback_in_earnest(two: Desk) -> None:
    assert last(two) is None
    drill(two.ws, MODEL, by="ana", hold_seconds=0.0)
    drilled = two.clock.utc()
    assert last(two) == drilled
    two.clock.advance(60)
    rollback(two.ws, MODEL, by="ana", reason="complaints")
    assert last(two) == two.clock.utc()


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e9])
def test_a_drill_that_could_not_hold_so_long_moves_nobody(two: Desk, seconds: float) -> None:
    before = two.route().generation
    with pytest.raises(UserError, match="a drill holds for 0 to 3600 seconds"):
        drill(two.ws, MODEL, by="ana", hold_seconds=seconds)
    assert two.route().generation == before


def test_a_drill_of_a_model_without_a_route_is_refused_before_anything_is_made(two: Desk) -> None:
    with pytest.raises(NotFound, match="no route was ever set"):
        drill(two.ws, "../../desk", by="ana")


def test_a_drill_that_is_interrupted_brings_users_back(two: Desk) -> None:
    class Interrupted(ManualClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    before, two.ws.clock = two.route(), Interrupted(two.ws.clock.utc())
    with pytest.raises(KeyboardInterrupt):
        drill(two.ws, MODEL, by="ana")
    assert (two.route().champion, two.route().generation) == (before.champion, before.generation + 2)
