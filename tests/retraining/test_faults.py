from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

from tests.retraining.test_worker import cycles, worker_of
from tunekeeper.core.errors import OurFault
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Wait
from tunekeeper.overview import overview
from tunekeeper.retraining.cycle import ORDER, STAGES, Stage, open_cycle
from tunekeeper.retraining.faults import FORGOTTEN, WAITS, after_fault, due, keep, told
from tunekeeper.store.ledgers.outbox import find_messages
from tunekeeper.testing.desk import MODEL, Desk

ENOUGH = (*(half for wait in WAITS for half in (wait / 2, wait / 2)), 1)
"""Seconds between rounds: one in the middle of each wait, in which nothing is tried, and one at its end."""
CYCLE = Cycle(id="cyc_1", model="desk", number=3, why="test", stage="export")


def stages(data: object) -> list[Stage]:
    """The loop with another first stage."""

    def poke(*given: object) -> Answer:
        if isinstance(data, Exception):
            raise copy(data)  # one raised twice would carry both tracebacks
        assert isinstance(data, Done | Wait)
        return data

    return [Stage(name="data", section="data", poke=poke), *STAGES[1:]]


def rounds(desk: Desk, stages: list[Stage], *seconds: float) -> list[dict[str, object]]:
    """What a worker says in rounds after which so many seconds of real time pass."""
    worker, said = worker_of(desk)
    worker.stages = stages
    for passing in seconds:
        worker.tick()
        desk.clock.elapsed += passing
    worker.resign()
    return said


def test_a_fault_of_ours_is_tried_five_times_and_then_the_cycle_stops_with_one_line_and_a_fix(desk: Desk) -> None:
    open_cycle(desk.ws, MODEL, why="test", by="ana")
    said = rounds(desk, stages(KeyError("rows")), *ENOUGH)
    [cycle] = cycles(desk)
    [file] = (desk.ws.root / "work").glob("fault-*.txt")
    assert (cycle.state, len(cycle.faults), cycle.waiting) == ("failed", 5, "")
    assert cycle.closed_why == (
        f"data: a fault of our own, 5 times: KeyError: 'rows' (fix: report it together with {file}; "
        f"`tunekeeper retrain run --model {MODEL}` opens a new cycle)"
    )
    assert "Traceback (most recent call last)" in file.read_text()
    assert [line["event"] for line in said if line["event"] in ("fault", "error", "closed")] == ["fault"] * 5 + ["closed"]
    with desk.ws.state.read() as tx:
        assert [message.subject for message in find_messages(tx) if message.kind == "cycle"] == [f"{MODEL}: cycle 1 failed"]


def test_status_says_a_fault_while_it_is_tried_again_and_after_it_stopped_the_cycle(desk: Desk) -> None:
    open_cycle(desk.ws, MODEL, why="test", by="ana")
    rounds(desk, stages(ZeroDivisionError("division by zero")), 1, 1)
    now = overview(desk.ws, [MODEL])[0]
    assert "cycle 1 in data, a fault of our own, 1 of 5: ZeroDivisionError: division by zero; tried again in 5 s" in now.verdict
    assert now.ended == ""
    rounds(desk, stages(ZeroDivisionError("division by zero")), *ENOUGH)
    now = overview(desk.ws, [MODEL])[0]
    assert now.cycle is None
    assert now.ended.startswith("cycle 1 failed: data: a fault of our own, 5 times: ZeroDivisionError")
    open_cycle(desk.ws, MODEL, why="test", by="ana")
    assert overview(desk.ws, [MODEL])[0].ended == ""


def test_a_fault_that_passes_leaves_no_trace_in_the_stages_after_it(desk: Desk) -> None:
    open_cycle(desk.ws, MODEL, why="test", by="ana")
    rounds(desk, stages(KeyError("rows")), 5, 10, 10, 10, 1)
    [tried] = cycles(desk)
    assert (tried.state, len(tried.faults)) == ("open", 3)
    rounds(desk, stages(Wait(why="at work")), 120, 1)
    assert cycles(desk)[0].waiting == "at work"
    rounds(desk, [stages(Done(record="dst_1"))[0], replace(STAGES[1], poke=lambda *given: Wait(why="training"))], 1)
    assert (cycles(desk)[0].stage, cycles(desk)[0].faults, cycles(desk)[0].waiting) == ("train", (), "training")


def test_a_promise_of_ours_that_is_broken_for_a_while_is_tried_again_too(desk: Desk) -> None:
    open_cycle(desk.ws, MODEL, why="test", by="ana")
    rounds(desk, stages(OurFault("the log cannot be read", fix="tunekeeper log verify")), 1)
    [cycle] = cycles(desk)
    assert (cycle.state, len(cycle.faults)) == ("open", 1)
    assert "the log cannot be read (fix: tunekeeper log verify); tried again in 5 s" in cycle.waiting


def test_a_full_disk_is_waited_for_and_is_no_fault(desk: Desk) -> None:
    open_cycle(desk.ws, MODEL, why="test", by="ana")
    rounds(desk, stages(OSError(28, "No space left on device", "/data/x")), 1, 10)
    [cycle] = cycles(desk)
    assert (cycle.faults, cycle.waiting) == ((), "the disk is full: /data/x (fix: free some space)")


def test_the_waits_grow_and_a_clock_that_began_anew_does_not_wait() -> None:
    cycle, real = CYCLE, 1000.0
    for tries, wait in enumerate(WAITS, 1):
        cycle = after_fault(cycle, "KeyError: 'x'", None, real)
        assert (cycle.state, len(cycle.faults)) == ("open", tries)
        assert (due(cycle, real), due(cycle, real + wait - 0.1), due(cycle, real + wait)) == (False, False, True)
        assert due(cycle, 3.0), "the machine was started again"
        real += wait
    ended = after_fault(cycle, "KeyError: 'x'", None, real)
    assert (ended.state, "(fix: report it; " in ended.closed_why) == ("failed", True)


def test_faults_of_long_ago_do_not_count() -> None:
    cycle = replace(CYCLE, faults=(1.0, 2.0, 3.0, 4.0))
    assert len(after_fault(cycle, "KeyError", None, 4.0 + FORGOTTEN).faults) == 1
    assert after_fault(cycle, "KeyError", None, 3.5 + FORGOTTEN).state == "open"
    assert len(after_fault(cycle, "KeyError", None, 0.5).faults) == 1, "stamps of an earlier start of the machine"


def test_a_fault_in_the_last_stage_is_not_called_a_rollback() -> None:
    cycle = replace(CYCLE, stage=ORDER[-1], faults=(1.0, 6.0, 36.0, 156.0))
    assert after_fault(cycle, "KeyError", None, 756.0).state == "failed"


def test_a_fault_is_told_in_one_line_without_personal_data(tmp_path: Path) -> None:
    error = ValueError("no row of ana@example.org\nor of anybody")
    assert told(error) == "ValueError: no row of [EMAIL] or of anybody"
    assert told(AssertionError()) == "AssertionError"
    file = keep(error, tmp_path / "work", CYCLE)
    assert file is not None
    assert "ana@example.org" not in file.read_text()
    assert keep(error, tmp_path / "work", CYCLE) == file


def test_where_no_file_can_be_written_the_fault_is_still_told(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file where a folder should be")
    assert keep(KeyError("x"), tmp_path / "work", CYCLE) is None


def test_what_goes_wrong_at_every_round_is_not_said_at_every_round(desk: Desk) -> None:
    worker, said = worker_of(desk)

    def broken() -> None:
        raise KeyError("x")

    for _ in range(1000):
        worker._guarded("desk", "drill", broken)
        desk.clock.elapsed += 0.25
    assert len(said) == 8, "at 0, 1, 3, 7, 15, 31, 63 and 127 s of 250"
    worker._guarded("desk", "drill", lambda: None)
    worker._guarded("desk", "drill", broken)
    assert len(said) == 9, "after it was well it is news"
