from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tunekeeper.core.nouns.rollout import Margins, Rollout
from tunekeeper.rollout.decision import Action, Evidence, Tick, blast_radius, decide, phases_of

HOUR = 3600.0
ROLLOUT = Rollout(
    id="rol_1",
    model="desk",
    version="desk@v2",
    slot="green",
    artifact_digest="sha256:a",
    phases=phases_of([(5, 2), (25, 4)]),
    margins=Margins(errors=0.05, corrections=0.05),
    state="running",
    phase=0,
    phase_started=0.0,
)
PRIOR = {"errors": 0.02, "corrections": 0.05}


def ticks(n: int, share: float, bad: float, base: float, seed: int = 1, steps: int = 8) -> list[Tick]:
    rng = random.Random(seed)
    made = []
    for _ in range(steps):
        arms = [rng.random() < share for _ in range(n // steps)]
        new = [rng.random() < bad for arm in arms if arm]
        old = [rng.random() < base for arm in arms if not arm]
        made.append(Tick(candidate=len(new), candidate_failed=sum(new), champion=len(old), champion_failed=sum(old), share=share))
    return made


def look(
    rollout: Rollout,
    errors: list[Tick],
    now: float,
    *,
    corrections: list[Tick] | None = None,
    requests: int = 100,
    **facts: object,
) -> Action:
    evidence = Evidence(
        ticks={"errors": errors, "corrections": corrections if corrections is not None else errors},
        phase_requests=requests,
        slot_ready=bool(facts.get("slot_ready", True)),
        digest=str(facts.get("digest", "sha256:a")),
    )
    return decide(rollout, evidence, now, min_requests=20, prior=PRIOR)


def test_silence_holds_and_never_advances() -> None:
    action = look(ROLLOUT, [], 3 * HOUR, requests=0)
    assert (action.kind, action.verdict.outcome) == ("hold", "inconclusive")
    assert "0 of 20" in action.reason


def test_a_phase_is_waited_for() -> None:
    action = look(ROLLOUT, ticks(400, 0.05, 0.02, 0.02), HOUR)
    assert action.kind == "hold"
    assert "1.0 h of 2.0 h" in action.reason


def test_no_harm_at_five_percent_goes_on_to_the_next_phase_and_is_no_pass() -> None:
    action = look(ROLLOUT, ticks(400, 0.05, 0.02, 0.02), 2 * HOUR)
    assert (action.kind, action.verdict.outcome) == ("advance", "inconclusive")


def test_harm_goes_back_before_the_phase_is_over() -> None:
    action = look(ROLLOUT, ticks(400, 0.05, 0.9, 0.02), 0.25 * HOUR)
    assert (action.kind, action.verdict.outcome) == ("go_back", "fail")
    assert action.verdict.measured["errors.candidate"].n > 0


def test_harm_in_corrections_alone_goes_back() -> None:
    action = look(ROLLOUT, ticks(400, 0.05, 0.0, 0.0), 0.25 * HOUR, corrections=ticks(400, 0.05, 0.9, 0.05))
    assert action.kind == "go_back"
    assert "corrections" in action.reason


def test_promotion_needs_every_margin_excluded() -> None:
    last = replace(ROLLOUT, phase=1)
    enough = ticks(1_600, 0.25, 0.01, 0.01)
    few = ticks(80, 0.25, 0.01, 0.01)
    assert look(last, enough, 4 * HOUR).kind == "promote"
    held = look(last, enough, 4 * HOUR, corrections=few)
    assert (held.kind, held.verdict.outcome) == ("hold", "inconclusive")
    assert "not excluded yet" in held.reason


def test_a_hold_without_decision_goes_back_after_its_patience() -> None:
    action = look(replace(ROLLOUT, patience=10 * HOUR), ticks(40, 0.05, 0.02, 0.02), 10 * HOUR)
    assert action.kind == "go_back"
    assert action.verdict.rules == ("RBK-12",)


def test_another_file_than_the_judged_one_goes_back_at_once() -> None:
    assert look(ROLLOUT, [], 0.0, digest="sha256:b").kind == "go_back"


def test_a_candidate_that_does_not_answer_holds() -> None:
    action = look(ROLLOUT, [], 3 * HOUR, slot_ready=False)
    assert (action.kind, action.verdict.outcome) == ("hold", "inconclusive")


def test_an_equal_model_is_rarely_gone_back_from_though_it_is_looked_at_every_tick() -> None:
    wrong = 0
    for seed in range(200):
        seen = ticks(1_600, 0.25, 0.05, 0.05, seed=seed, steps=16)
        wrong += any(look(replace(ROLLOUT, phase=1), seen[: i + 1], HOUR).kind == "go_back" for i in range(16))
    assert wrong / 200 <= 0.05


def test_a_model_worse_by_more_than_the_margin_is_never_promoted_in_200_runs() -> None:
    promoted = sum(
        look(replace(ROLLOUT, phase=1), ticks(1_600, 0.25, 0.15, 0.05, seed=seed), 4 * HOUR).kind == "promote"
        for seed in range(200)
    )
    assert promoted == 0


@pytest.mark.parametrize(("percent", "failure", "radius"), [(5, 0.3, 0.015), (25, 1.0, 0.25), (0, 0.5, 0.0)])
def test_the_blast_radius_is_share_times_failure(percent: float, failure: float, radius: float) -> None:
    assert blast_radius(percent, failure) == pytest.approx(radius)
