from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.rollout.conftest import CONFIG, canary, now_of
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.core.nouns.serving import Attempt, Feedback, Inference
from tunekeeper.rollout.canary import tick
from tunekeeper.rollout.evidence import Judged, count, failing, gather, judge
from tunekeeper.testing.desk import FORMAT, MODEL, Desk, right

T0 = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ROLLOUT = Rollout(
    id="rol_1", model="desk", version="desk@v1.1", slot="green", started_at=T0, phase_since=T0, check_every=900.0, settle=600.0
)
GOOD = right("billing")


def asked(minute: float = 0.0, slot: str = "green", said: str | None = GOOD, **fields: Any) -> Inference:
    body = {"choices": [{"message": {"content": said}}]} if said is not None else None
    known = {
        "slot_assigned": slot,
        "weight": 500 if slot == "green" else 9_500,
        "attempts": (Attempt(slot=slot),),
        "response": body,
    }
    return Inference(
        request_id=f"req_{minute}_{slot}", timestamp=T0 + timedelta(minutes=minute), model_id="desk", **{**known, **fields}
    )


def edit(inference: Inference, value: object, after: float = 60.0, kind: Any = "edit") -> Feedback:
    at = inference.timestamp + timedelta(seconds=after)
    return Feedback(id="fb", request_id=inference.request_id, timestamp=at, kind=kind, value=value)


def judged(inference: Inference, *edits: Feedback) -> Judged:
    found = judge(inference, edits, ROLLOUT, FORMAT)
    assert found is not None
    return found


def test_a_good_answer_fails_nothing() -> None:
    found = judged(asked())
    assert (found.arm, found.weight, found.failed, found.why) == ("candidate", 500, {"errors": False, "corrections": False}, "")


def test_the_champion_s_requests_carry_the_candidate_s_share() -> None:
    assert (judged(asked(slot="blue")).arm, judged(asked(slot="blue")).weight) == ("champion", 500)


@pytest.mark.parametrize("status", ["cancelled", "interrupted"])
def test_a_request_that_its_user_or_our_death_ended_says_nothing(status: Any) -> None:
    assert judge(asked(status=status), (), ROLLOUT, FORMAT) is None


def test_a_request_that_nobody_was_assigned_says_nothing() -> None:
    assert judge(asked(slot_assigned=None), (), ROLLOUT, FORMAT) is None


@pytest.mark.parametrize(
    ("inference", "why"),
    [
        (asked(status="error", said=None), "ended as error"),
        (asked(status="truncated"), "ended as truncated"),
        (asked(said="No idea."), "wrong format"),
        (asked(said=right("weather")), "wrong format"),
        (asked(response={"choices": []}), "no answer text"),
    ],
)
def test_a_failed_or_badly_formed_answer_is_an_error(inference: Inference, why: str) -> None:
    found = judged(inference)
    assert found.failed["errors"]
    assert why in found.why


def test_an_answer_that_a_fallback_gave_counts_against_the_arm_it_was_assigned_to() -> None:
    found = judged(
        asked(slot="green", attempts=(Attempt(slot="green", error="connect"), Attempt(slot="blue")), variant="fallback")
    )
    assert (found.arm, found.failed["errors"], found.why) == ("candidate", True, "green failed: connect")


def test_a_body_that_was_not_kept_is_not_held_against_the_format() -> None:
    assert not judged(asked(said=None)).failed["errors"]


@pytest.mark.parametrize(
    ("value", "after", "failed"),
    [
        (right("refund"), 60.0, True),
        (GOOD, 60.0, False),
        (f" {GOOD}\n", 60.0, False),
        (right("refund"), 601.0, False),
        ({"category": "refund"}, 60.0, True),
    ],
)
def test_an_edit_counts_when_it_changes_the_answer_in_time(value: object, after: float, failed: bool) -> None:
    inference = asked()
    assert judged(inference, edit(inference, value, after)).failed["corrections"] is failed


def item(minute: float, arm: str = "candidate", weight: int = 500, unit: str = "", bad: bool = False) -> Judged:
    at = T0 + timedelta(minutes=minute)
    return Judged(
        request_id=f"req_{minute:07.2f}{arm}",
        at=at,
        arm=arm,
        weight=weight,
        unit=unit or f"u{minute}{arm}",
        failed={"errors": bad, "corrections": False},
        why="",
    )


def totals(items: list[Judged], now: float = 600.0) -> tuple[int, int, int]:
    """(candidate's requests, champion's, candidate's in this phase) `now` minutes after the start."""
    made, phase = count(items, ROLLOUT, T0 + timedelta(minutes=now))
    return sum(t.candidate for t in made["errors"]), sum(t.champion for t in made["errors"]), phase


def test_a_request_is_counted_once_it_has_settled_in_both_arms_alike() -> None:
    items = [item(1), item(1, "champion"), item(12), item(12, "champion")]
    assert totals(items, now=15) == (1, 1, 1)
    assert totals(items, now=22) == (2, 2, 2)


def test_one_person_counts_once_per_share_with_the_first_request() -> None:
    items = [item(2, unit="ana", bad=True), item(1, unit="ana"), item(3, unit="ana", weight=2_500), item(4, unit="ben")]
    made, _ = count(items, ROLLOUT, T0 + timedelta(hours=9))
    assert sum(t.candidate for t in made["errors"]) == 3
    assert sum(t.candidate_failed for t in made["errors"]) == 0, "the first request of a share counts, not the worst"


def test_ticks_have_fixed_edges_and_one_share_each() -> None:
    made, _ = count([item(1), item(14), item(16), item(17, weight=2_500)], ROLLOUT, T0 + timedelta(hours=9))
    assert [(t.candidate, t.share) for t in made["errors"]] == [(2, 0.05), (1, 0.05), (1, 0.25)]


def test_a_share_of_nothing_or_everything_compares_nothing() -> None:
    assert totals([item(1, weight=0), item(2, weight=10_000)]) == (0, 0, 0)


def test_before_traffic_moved_there_is_no_evidence() -> None:
    made, phase = count([item(1)], Rollout(id="r", model="desk", version="v", slot="green"), T0)
    assert (made, phase) == ({"errors": [], "corrections": []}, 0)


def test_the_log_is_read_through_from_the_first_move_on(desk: Desk) -> None:
    desk.traffic(20, 600)
    canary(desk)
    tick(desk.ws, "rol_1", CONFIG, FORMAT)
    asked_of = desk.traffic(300, 7200, desk.faulty({"green": 1.0}))
    desk.clock.advance(3600)
    found, edits = failing(desk.ws, now_of(desk), FORMAT)
    assert {each.slot_assigned for each in found} == {"green"}
    assert len(found) == len(edits) == asked_of["green"] > 5
    evidence = gather(desk.ws, now_of(desk), FORMAT, slot_ready=True, digest="sha256:v1.1")
    corrections = evidence.ticks["corrections"]
    assert sum(t.candidate for t in corrections) == sum(t.candidate_failed for t in corrections) == asked_of["green"]
    assert sum(t.champion for t in corrections) == asked_of["blue"]
    assert sum(t.candidate_failed for t in evidence.ticks["errors"]) == 0
    assert evidence.phase_requests == asked_of["green"]
    assert desk.shares() == {"blue": 9_500, "green": 500}
    assert now_of(desk).model == MODEL
