from __future__ import annotations

from dataclasses import replace

from tunekeeper.core.nouns.monitoring import Trigger
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.retraining.report import summary

CYCLE = Cycle(
    id="cyc_1",
    model="desk",
    number=2,
    why="opened by hand",
    state="rolled_back",
    closed_why="rollout: errors are shown to be higher",
    records={"data": "desk/d2", "train": "desk@v1.1"},
    notes={"data": "120 rows"},
    timings={"data": 15.0, "train": 60.0},
)


def test_the_verdict_stands_first_and_each_stage_says_what_it_left() -> None:
    assert summary(CYCLE, None).splitlines() == [
        "ROLLED BACK: rollout: errors are shown to be higher",
        "opened because: opened by hand",
        "  data      120 rows  [15.0 s, 20%]",
        "  train     desk@v1.1  [60.0 s, 80%]",
        "took 75.0 s of real time; next: tunekeeper incident ls --model desk",
    ]


def test_a_deployment_is_held_against_the_time_that_is_set_aside_for_it() -> None:
    deployed = replace(CYCLE, timings={"export": 600.0, "load": 60.0})
    told = "deployment: export 10 min of 30 min, load and verify 1 min of 30 min: 1 h 19 min left of 1 h 30 min"
    assert told in summary(deployed, None).splitlines()


def test_a_trigger_gives_the_reason() -> None:
    trigger = Trigger(id="trg_1", model="desk", reason="RETR-01", summary="accuracy is 80.0 %")
    assert summary(CYCLE, trigger).splitlines()[1] == "opened because: accuracy is 80.0 %"


def test_a_blocked_cycle_names_the_exam_that_blocked_it() -> None:
    blocked = replace(CYCLE, state="blocked", records={"evaluate": "exam_1"})
    assert summary(blocked, None).endswith("next: tunekeeper eval show exam_1")
    assert summary(replace(CYCLE, state="open", closed_why=""), None).startswith("OPEN: data\n")


def test_a_stage_that_was_given_has_no_time() -> None:
    given = Cycle(id="cyc_2", model="desk", number=3, why="again", records={"data": "desk/d2"})
    assert summary(given, None).splitlines()[2] == "  data      desk/d2"
