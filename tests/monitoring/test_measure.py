from __future__ import annotations

import dataclasses
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.monitoring.measure import (
    Number,
    Window,
    accuracy,
    features_of,
    input_drift,
    noise_of,
    numbers,
    vocabulary_drift,
)
from tunekeeper.stats.intervals import wilson
from tunekeeper.testing.desk import FORMAT, right

T0 = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def served(id: str, said: str | None = None, asked: str = "where is my parcel", **fields: Any) -> Inference:
    body = {"choices": [{"message": {"content": said if said is not None else right("shipping")}}]}
    request = {"messages": [{"role": "system", "content": "Triage."}, {"role": "user", "content": asked}]}
    return Inference(
        request_id=id, timestamp=T0, model_id="desk", **{"request": request, "response": body, "latency_ms": 10.0, **fields}
    )


def said(id: str, kind: Any = "edit", value: Any = "x") -> Feedback:
    return Feedback(id=f"fb_{id}", request_id=id, timestamp=T0, kind=kind, value=value)


def measured(inferences: list[Inference], feedback: tuple[Feedback, ...] = (), features: Any = None) -> dict[str, Number]:
    window = Window(inferences=inferences, feedback=feedback, reviews=())
    return {number.name: number for number in numbers(window, FORMAT, features)}


def test_shares_carry_interval_count_and_the_requests_behind_them() -> None:
    found = measured(
        [served(f"r{n}") for n in range(10)], (said("r1"), said("r1"), said("r2", "correction"), said("r3", "thumb", "down"))
    )
    edits = found["edit_rate"]
    assert (edits.value, edits.n, edits.detail) == (0.2, 10, {"requests": ["r1", "r2"]})
    assert edits.low is not None
    assert edits.high is not None
    assert 0 < edits.low < 0.2 < edits.high < 1
    assert found["thumbs_down_rate"].value == 0.1
    assert found["requests"].value == 10


def test_errors_count_over_all_requests_and_edits_over_answered_ones() -> None:
    found = measured(
        [served("r1", status="error"), served("r2", status="truncated"), served("r3"), served("r4")], (said("r1"), said("r3"))
    )
    assert (found["error_rate"].value, found["error_rate"].n) == (0.5, 4)
    assert (found["edit_rate"].value, found["edit_rate"].n) == (0.5, 2)


@pytest.mark.parametrize("status", ["cancelled", "interrupted"])
def test_what_its_user_or_our_death_ended_is_no_traffic(status: Any) -> None:
    assert measured([served("r1"), served("r2", status=status)])["requests"].value == 1


def test_format_is_measured_by_the_model_s_own_specification() -> None:
    found = measured([served("r1"), served("r2", said="No."), served("r3", said=right("weather")), served("r4", response=None)])[
        "format"
    ]
    assert (found.value, found.n, found.detail) == (0.5, 4, {"requests": ["r2", "r3"]})


def test_nothing_measured_is_none_and_never_zero() -> None:
    found = measured([])
    assert found["requests"].value == 0
    assert {name: number.value for name, number in found.items() if name != "requests"} == dict.fromkeys(
        ("error_rate", "edit_rate", "thumbs_down_rate", "format", "accuracy", "latency_p95", "confidence")
    )


def test_the_95th_percentile_is_a_measured_value() -> None:
    found = measured([served(f"r{n}", latency_ms=float(n)) for n in range(1, 101)])["latency_p95"]
    assert (found.value, found.n, found.low) == (96.0, 100, None)


def test_confidence_is_the_mean_of_the_answers_that_have_one_and_names_the_least_sure() -> None:
    inferences = [served(f"r{n}", confidence=0.5 + n / 10) for n in (3, 1, 2)]
    found = measured([*inferences, served("r8"), served("r9", status="error", confidence=0.0)])["confidence"]
    assert (found.value, found.n, found.detail) == (pytest.approx(0.7), 3, {"requests": ["r1", "r2", "r3"]})
    assert (found.low, found.high) == (pytest.approx(0.7 - 1.96 * 0.1 / 3**0.5), pytest.approx(0.7 + 1.96 * 0.1 / 3**0.5))
    assert measured([served("r1", confidence=0.5)])["confidence"].low is None


def review(verdict: Any, state: Any = "done") -> ReviewItem:
    return ReviewItem(id=f"rev_{verdict}", model="desk", request_id=f"r_{verdict}", why="sample", state=state, verdict=verdict)


def test_accuracy_is_the_share_of_reviewed_answers_that_were_good() -> None:
    found = accuracy(
        [review("good")] * 3
        + [review("bad"), review("edited"), review("excluded"), review("good", "open"), review(None, "skipped")]
    )
    assert (found.value, found.n) == (0.6, 5)
    assert found.detail == {"requests": ["r_bad", "r_edited"]}
    assert accuracy([review("excluded")]).value is None


def test_an_answer_that_was_reviewed_because_of_a_complaint_says_nothing_about_the_others() -> None:
    complained = [dataclasses.replace(review("bad"), why=why) for why in ("thumb", "escalation", "cap", "incident")]
    found = accuracy([review("good"), *complained])
    assert (found.value, found.n) == (1.0, 1)


def test_an_answer_that_was_sampled_for_looking_doubtful_counts_only_for_those_it_stands_for() -> None:
    doubtful = [dataclasses.replace(review("bad"), weight=1.0)] * 10
    usual = [dataclasses.replace(review("good"), weight=9.0)] * 10
    found = accuracy([*doubtful, *usual])
    assert (found.value, found.n) == (0.9, 20)
    assert (found.low, found.high) == pytest.approx(wilson(0.9 * 12.195, 12.195), abs=1e-4)


def test_drift_needs_a_baseline() -> None:
    assert "vocabulary_drift" not in measured([served("r1")])
    found = measured([served("r1")], features=features_of([served("b1")]))
    assert found["vocabulary_drift"].value == 0
    assert found["input_drift"].value == pytest.approx(0)


def test_new_words_are_counted_and_named() -> None:
    features = features_of([served("b1", asked="where is my parcel")])
    found = vocabulary_drift(["where is my drone", "my drone 12345", "a drone came", "is my parcel there, asks bo"], features)
    assert (found.value, found.n, found.detail) == (3 / 4, 4, {"new_words": ["drone"]})


def test_a_word_that_training_knew_or_that_comes_once_is_no_new_term() -> None:
    features = features_of([served("b1", asked="where is my parcel")], ["my drone"])
    assert vocabulary_drift(["my drone", "my drone", "my drone", "bo", "leo"], features).value == 0


def test_the_noise_of_day_one_is_what_two_halves_of_it_differ_by() -> None:
    rng = random.Random(1)
    topics = ("parcel", "invoice", "refund", "login", "crash", "export", "delay", "price")
    day_one = [served(f"b{i}", asked=f"where is my {rng.choice(topics)} {rng.choice(topics)}") for i in range(120)]
    features = features_of(day_one)
    noise = noise_of(day_one, features)
    again = input_drift([each.question for each in day_one[:60]], features).value
    other = input_drift(["completely different text"] * 60, features).value
    assert again is not None
    assert other is not None
    assert again < noise["input_drift"] < other
    assert noise_of(day_one[:2], features) == {}


def test_words_that_training_knew_are_no_noise_of_day_one() -> None:
    names = [f"name{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(60)]
    day_one = [served(f"b{i}", asked=f"regards {names[i // 3 % 40]}") for i in range(120)]
    knowing = features_of(day_one, [f"regards {name}" for name in names])
    assert noise_of(day_one, knowing)["vocabulary_drift"] == 0
    assert noise_of(day_one, features_of(day_one))["vocabulary_drift"] > 0


def test_no_words_or_no_baseline_measure_nothing() -> None:
    assert vocabulary_drift([], {"vocabulary": {"a": 1}}).value is None
    assert vocabulary_drift(["word"], {}).value is None
    assert input_drift([], {"vocabulary": {"a": 1}}).value is None
    assert input_drift(["word"], {}).value is None


def test_input_drift_grows_with_the_distance_from_day_one() -> None:
    features = features_of([served("b", asked="where is my parcel today")] * 20)
    same = input_drift(["where is my parcel today"] * 5, features).value
    some = input_drift(["where is my invoice today"] * 5, features).value
    other = input_drift(["completely different text"] * 5, features).value
    assert same is not None
    assert some is not None
    assert other is not None
    assert same < some < other <= 1
    assert same == pytest.approx(0)


def test_features_count_words_and_question_lengths() -> None:
    made = features_of([served("b", asked="my parcel my parcel"), served("c", asked="one two three four five six")])
    assert made["vocabulary"]["parcel"] == 2
    assert made["lengths"] == {"0": 1, "5": 1}
