from __future__ import annotations

from tunekeeper.core.nouns.evaluation import Case, Criterion, Suite
from tunekeeper.evaluation.answers import answers
from tunekeeper.evaluation.results import Result

ASKED = ({"role": "user", "content": "which team?"},)
SUITE = Suite(
    id="s",
    model="m",
    cases=(
        Case(id="a", messages=ASKED, expected="desk", category="teams"),
        Case(id="b", messages=ASKED),
        Case(id="c", messages=ASKED),
    ),
    criteria=(Criterion(metric="accuracy", at_least=0.9),),
    scorers=("exact", "format"),
)


def test_each_answer_stands_beside_its_question_its_reference_and_why_it_is_wrong() -> None:
    told = [
        Result(case="c", answer="desk", ms=3.0, scores={"exact": (1.0, ""), "format": (0.0, "no JSON")}),
        Result(case="a", category="teams", answer="kitchen", scores={"exact": (0.0, "expected desk")}),
        Result(case="b", error="timed out", scores={"exact": (0.0, "no answer")}),
        Result(case="gone", answer="x", scores={"exact": (0.0, "")}),
    ]
    right, wrong, silent = answers(SUITE, told)
    assert (right.case, right.wrong, right.ms, right.scores) == ("c", (), 3.0, {"exact": 1.0, "format": 0.0})
    assert (wrong.messages, wrong.expected, wrong.category, wrong.answer) == (ASKED, "desk", "teams", "kitchen")
    assert wrong.wrong == ("exact gives 0: expected desk",)
    assert (silent.answer, silent.error, silent.wrong) == (None, "timed out", ("exact gives 0: no answer",))
