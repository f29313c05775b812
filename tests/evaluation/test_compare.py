from __future__ import annotations

from tunekeeper.core.nouns.evaluation import Suite
from tunekeeper.evaluation.compare import exams
from tunekeeper.evaluation.results import Result

SUITE = Suite(id="s", model="m", cases=(), criteria=(), scorers=("exact",))


def answered(case: str, right: bool, category: str = "billing") -> Result:
    return Result(case=case, category=category, answer=f"{case} {right}", scores={"exact": (float(right), "expected yes")})


def test_fixed_and_broken_cases_are_named_with_both_answers() -> None:
    old = [answered("a", True), answered("b", False), answered("c", True, "refund"), answered("only old", True)]
    new = [answered("a", True), answered("b", True), answered("c", False, "refund")]
    found = exams(SUITE, new, old)
    assert [flip.case for flip in found.fixed] == ["b"]
    assert [(flip.case, flip.before, flip.after, flip.reason) for flip in found.broken] == [
        ("c", "c True", "c False", "expected yes")
    ]
    assert (found.difference.value, found.difference.n, found.p) == (0.0, 3, 1.0)
    before, after = found.slices["refund"]
    assert (before.value, after.value) == (1.0, 0.0)


def test_two_exams_without_a_common_case_compare_nothing() -> None:
    found = exams(SUITE, [answered("a", True)], [answered("b", True)])
    assert (found.difference.value, found.difference.n, found.fixed, found.broken) == (None, 0, (), ())
