from __future__ import annotations

import pytest

from tunekeeper.core.nouns.evaluation import Suite
from tunekeeper.evaluation.results import Result, decode, encode, estimate, judged, p95, passes, primary, values

ROWS = [
    Result(case="a", answer="x", ms=5.0, scores={"json_fields": (1.0, "right"), "format": (1.0, "")}),
    Result(case="b", answer="y", ms=9.0, scores={"json_fields": (0.5, "half"), "format": (1.0, "")}),
    Result(case="c", error="gone", scores={"json_fields": (0.0, "no answer")}),
    Result(case="d", answer="z", scores={"json_fields": (None, "no reference")}),
    Result(case="e", answer="no", scores={"refusal": (1.0, "declines")}),
]


def test_a_torn_last_line_and_a_doubled_case_are_left_out() -> None:
    data = encode(ROWS) + encode([Result(case="a", answer="again")]) + encode(ROWS)[:40]
    assert decode(data) == ROWS


def test_accuracy_counts_fully_right_answers_and_a_scorer_its_mean() -> None:
    assert values(ROWS, "accuracy", "json_fields") == {"a": 1.0, "b": 0.0, "c": 0.0, "d": None}
    assert judged(values(ROWS, "json_fields", "json_fields")) == [1.0, 0.5, 0.0]
    assert values(ROWS, "refusal", "json_fields") == {"e": 1.0}


def test_an_estimate_of_nothing_is_none_and_graded_scores_have_an_interval() -> None:
    assert (estimate([]).value, estimate([]).low, estimate([]).n) == (None, None, 0)
    graded = estimate([0.5, 0.75, 1.0] * 10)
    assert graded.value == 0.75
    assert graded.low is not None
    assert graded.low < 0.75


@pytest.mark.parametrize(
    ("scorers", "name"), [(("format", "exact"), "exact"), (("refusal",), "refusal"), (("contains", "exact"), "contains")]
)
def test_accuracy_is_judged_by_the_first_scorer_of_what_was_said(scorers: tuple[str, ...], name: str) -> None:
    assert primary(Suite(id="s", model="m", cases=(), criteria=(), scorers=scorers)) == name


def test_a_regression_case_holds_only_when_it_is_right_and_well_formed() -> None:
    assert [passes(row, "json_fields") for row in ROWS] == [True, False, False, False, False]


def test_the_95th_percentile_is_an_answer_s_own_time() -> None:
    assert p95(ROWS) == 9.0
    assert p95([]) is None
