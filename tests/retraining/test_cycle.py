from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunekeeper.config import ModelConfig
from tunekeeper.core.errors import Busy, Conflict, LeaseLost, NotFound, UpstreamUnavailable, UserError
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Stop, Wait
from tunekeeper.data import freezing, import_files
from tunekeeper.retraining.cycle import ORDER, Stage, after, open_cycle, step
from tunekeeper.store.ledgers.cycles import find_cycles, load_cycle
from tunekeeper.store.ledgers.outbox import find_messages
from tunekeeper.testing.desk import MODEL, Desk, World, write_rows

OPEN = Cycle(id="cyc_1", model=MODEL, number=1, why="test", stage="data", entered=10.0)


def test_done_notes_record_sentence_and_time_and_goes_on() -> None:
    moved = after(replace(OPEN, waiting="for rows", progress=0.5), Done(record="desk/d1", note="120 rows"), 12.5)
    assert (moved.stage, moved.state, moved.waiting, moved.progress) == ("train", "open", "", None)
    assert (moved.records, moved.notes, moved.timings) == ({"data": "desk/d1"}, {"data": "120 rows"}, {"data": 2.5})
    assert moved.entered == 12.5


def test_the_last_stage_closes_the_cycle_as_promoted() -> None:
    moved = after(replace(OPEN, stage="rollout"), Done(record="rol_1", note="every margin is excluded"), 11.0)
    assert (moved.stage, moved.state, moved.closed_why) == ("closed", "promoted", "every margin is excluded")
    assert after(replace(OPEN, stage="rollout"), Done(record="rol_1"), 11.0).closed_why == "promoted"


def test_a_clock_that_began_anew_gives_no_negative_time() -> None:
    """Real seconds start again at a reboot."""
    assert after(OPEN, Done(record="desk/d1"), 3.0).timings == {"data": 0.0}
    assert after(replace(OPEN, entered=None), Done(record="desk/d1"), 3.0).timings == {"data": 0.0}


def test_wait_says_why_and_does_not_save_every_thousandth() -> None:
    moved = after(OPEN, Wait(why="training", progress=0.333333), 11.0)
    assert (moved.stage, moved.waiting, moved.progress) == ("data", "training", 0.33)
    assert after(moved, Wait(why="training", progress=0.3349), 12.0) == moved


@pytest.mark.parametrize(
    ("stage", "outcome", "state"),
    [
        ("evaluate", "blocked", "blocked"),
        ("data", "inconclusive", "inconclusive"),
        ("train", "failed", "failed"),
        ("rollout", "failed", "rolled_back"),
    ],
)
def test_stop_closes_with_its_outcome_and_names_the_stage(stage: str, outcome: Any, state: str) -> None:
    moved = after(replace(OPEN, stage=stage), Stop(why="no", record="rec_1", outcome=outcome), 11.0)
    assert (moved.state, moved.closed_why, moved.records) == (state, f"{stage}: no", {stage: "rec_1"})
    assert after(replace(OPEN, stage=stage), Stop(why="no"), 11.0).records == {}


def test_after_is_pure() -> None:
    before = replace(OPEN)
    after(OPEN, Done(record="desk/d1", note="x"), 12.0)
    assert before == OPEN


def opened(desk: Desk, **given: Any) -> Cycle:
    return open_cycle(desk.ws, MODEL, why="test", by="ana", **given)


def test_one_cycle_at_a_time_numbered_from_one(desk: Desk, config: ModelConfig) -> None:
    first = opened(desk)
    assert (first.number, first.stage, first.rev) == (1, "data", 1)
    with pytest.raises(Busy, match="open already"):
        opened(desk)
    ended = step(desk.ws, first, config)
    assert ended.state == "failed"
    desk.clock.advance(1)
    assert opened(desk).number == 2


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        ({}, "data"),
        ({"data": "d"}, "train"),
        ({"data": "d", "train": "v", "export": "a"}, "evaluate"),
        ({"train": "v"}, "export"),
    ],
)
def test_a_cycle_begins_after_the_last_stage_that_has_its_record(desk: Desk, given: dict[str, str], begins: str) -> None:
    assert opened(desk, records=given).stage == begins


def test_a_cycle_with_nothing_left_to_do_is_refused(desk: Desk) -> None:
    with pytest.raises(UserError, match="nothing left"):
        opened(desk, records=dict.fromkeys(ORDER, "x"))


def test_the_data_stage_leaves_its_record_and_the_next_begins(desk: Desk, config: ModelConfig) -> None:
    rows = desk.folder / "data" / "rows.jsonl"
    write_rows(rows, [World().ticket(desk.rng) for _ in range(30)])
    import_files(desk.ws, config.task, config.sections["data"], [rows])
    frozen = freezing.freeze(desk.ws, config.task, config.sections["data"], by="ana")
    moved = step(desk.ws, opened(desk, options={"dataset": frozen.id}), config)
    assert (moved.stage, moved.records) == ("train", {"data": frozen.id})
    with desk.ws.state.read() as tx:
        assert load_cycle(tx, moved.id) == moved


def test_a_user_s_error_stops_the_cycle_with_its_line_and_tells_people(desk: Desk, config: ModelConfig) -> None:
    ended = step(desk.ws, opened(desk), config)
    assert (ended.state, ended.closed_at) == ("failed", desk.clock.utc())
    assert "tunekeeper data import" in ended.closed_why
    with desk.ws.state.read() as tx:
        [told] = [message for message in find_messages(tx) if message.kind == "cycle"]
    assert told.subject == "desk: cycle 1 failed"
    assert told.text.startswith("FAILED: data: ")


def raising(error: Exception) -> Stage:
    def poke(*given: object) -> Answer:
        raise error

    return Stage(name="data", section="data", poke=poke)


@pytest.mark.parametrize(
    ("error", "state", "waiting", "why"),
    [
        (UpstreamUnavailable("the server is away", fix="start it"), "open", "the server is away (fix: start it)", ""),
        (NotFound("no such dataset"), "failed", "", "data: no such dataset"),
    ],
)
def test_what_is_missing_outside_is_waited_for_and_what_the_user_gave_wrong_stops(
    desk: Desk, config: ModelConfig, error: Exception, state: str, waiting: str, why: str
) -> None:
    moved = step(desk.ws, opened(desk), config, stages=[raising(error)])
    assert (moved.state, moved.waiting, moved.closed_why) == (state, waiting, why)


@pytest.mark.parametrize("error", [Conflict("overtaken"), LeaseLost("overtaken")])
def test_being_overtaken_is_no_reason_to_close_a_cycle(desk: Desk, config: ModelConfig, error: Exception) -> None:
    cycle = opened(desk)
    with pytest.raises(type(error)):
        step(desk.ws, cycle, config, stages=[raising(error)])
    with desk.ws.state.read() as tx:
        assert load_cycle(tx, cycle.id) == cycle


def test_a_conductor_that_lost_its_lease_writes_nothing(desk: Desk, config: ModelConfig) -> None:
    cycle = opened(desk)
    lease = desk.ws.state.acquire_lease("worker", "one", 10.0)
    assert lease is not None
    desk.ws.state.release_lease(lease)
    desk.ws.state.acquire_lease("worker", "two", 10.0)
    with pytest.raises(LeaseLost):
        step(desk.ws, cycle, config, lease=lease)
    with desk.ws.state.read() as tx:
        assert find_cycles(tx, model=MODEL) == [cycle]
