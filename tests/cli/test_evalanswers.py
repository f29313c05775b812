from __future__ import annotations

from tunekeeper.cli.evalanswers import SHOWN, lines
from tunekeeper.evaluation.answers import Answered

ASKED = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "which\nteam?"})


def test_a_person_sees_what_was_asked_said_and_wanted() -> None:
    wrong = Answered(
        case="c1", category="teams", messages=ASKED, expected={"team": "desk"}, answer="kitchen", wrong=("no JSON", "late")
    )
    assert list(lines([wrong], 5)) == [
        "c1 (teams): no JSON; late",
        "  asked   which team?",
        "  said    kitchen",
        '  wanted  {"team": "desk"}',
    ]


def test_silence_is_told_with_its_reason_long_texts_are_cut_and_what_is_left_out_is_counted() -> None:
    silent = Answered(case="c2", messages=ASKED, error="timed out", wrong=("no answer",))
    long = Answered(case="c3", messages=ASKED, answer="x" * 1000)
    shown = list(lines([silent, long, long, long], 2))
    assert "  said    nothing: timed out" in shown
    assert "c3: right" in shown
    assert max(map(len, shown)) == len("  said    ") + SHOWN + 1
    assert shown[-1] == "2 more: --limit 4"
