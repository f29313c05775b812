from __future__ import annotations

from tunekeeper.core.nouns.evaluation import Case, Criterion, Suite
from tunekeeper.evaluation.erase import ERASED
from tunekeeper.evaluation.flagged import flagged
from tunekeeper.evaluation.results import REGRESSION, Result

NAMES = ("fine", "wrong", "broken", "kept", "unjudged", "silent", "erased", "polite")
SUITE = Suite(
    id="s",
    model="m",
    cases=tuple(Case(id=name, messages=({"role": "user", "content": f"q {name}"},)) for name in NAMES),
    criteria=(Criterion(metric="accuracy", at_least=0.9), Criterion(metric="politeness", at_least=0.5)),
    scorers=("exact", "politeness"),
)


def said(case: str, right: float | None, *, answer: str | None = "a", polite: float = 0.7, tags: tuple[str, ...] = ()) -> Result:
    return Result(case=case, answer=answer, tags=tags, scores={"exact": (right, "expected yes"), "politeness": (polite, "")})


def test_what_broke_comes_first_then_failed_regressions_then_what_nobody_could_judge_then_what_is_wrong() -> None:
    own = [
        said("fine", 1.0),
        said("wrong", 0.0),
        said("unjudged", None),
        said("kept", 0.5, tags=(REGRESSION,)),
        said("polite", 1.0, polite=0.4),
        said("broken", 0.0),
        said("silent", 0.0, answer=None),
        said("erased", 0.0, answer=ERASED),
    ]
    found = flagged(SUITE, own, [said("broken", 1.0), said("wrong", 0.0)])
    assert [each.case.id for each in found] == ["broken", "kept", "unjudged", "wrong", "polite"]
    assert found[0].reasons == ("it was right in the exam that this one is compared with", "exact gives 0: expected yes")
    assert found[1].reasons == ("a regression case fails", "exact gives 0.5: expected yes")
    assert found[2].reasons == ("exact could not judge it: expected yes",)
    assert found[4].reasons == ("politeness gives 0.4",)


def test_an_exam_that_is_compared_with_none_has_nothing_that_broke_and_a_good_one_flags_nothing() -> None:
    assert flagged(SUITE, [said("fine", 1.0)]) == []
    assert [each.reasons for each in flagged(SUITE, [said("wrong", 0.0)])] == [("exact gives 0: expected yes",)]
