from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.admission import Admitted, Quota, admit, presentable, said_at, standing
from tunekeeper.data.config import Config
from tunekeeper.data.heard import Heard

MakeExample = Callable[..., Example]


@pytest.fixture
def heard_row(row: MakeExample) -> MakeExample:
    """`heard_row(id, answer, day, kind, prompt=…)`: an example out of the log, said on a day of January."""

    def make(id: str, answer: str, day: int, kind: str = "edit", *, prompt: str = "Where?", **metadata: Any) -> Example:
        said = {"said_as": kind, "said_at": f"2026-01-{day:02}T00:00:00+00:00", "created": "2025-12-01", **metadata}
        return row(prompt, answer, id=id, source=f"inference:{id}", **said)

    return make


def into(draft: list[Example], *candidates: Example, config: Config = Config(), dropped: Any = ()) -> Admitted:
    return admit(standing(draft, candidates, Heard()), candidates, Heard(), dropped, config)


def test_among_contradicting_words_a_reviewers_counts_then_what_most_people_say_then_the_last(heard_row: MakeExample) -> None:
    two, one = heard_row("a", "here", 1, user_id="u1"), heard_row("b", "there", 3, user_id="u2")
    assert into([], two, one).added == ("b",)
    third = heard_row("c", "Here", 2, user_id="u3")
    assert set(into([], two, one, third).added) == {"a", "c"}
    spam = [heard_row(f"s{i}", "There" + " " * i, 5, user_id="u2") for i in range(3)]
    assert "b" not in into([], two, one, third, *spam).added, "one person who says it often is one person"
    judged = heard_row("d", "nowhere", 1, "review")
    found = into([], two, one, third, judged)
    assert (found.added, [line["kind"] for line in found.lines]) == (("d",), ["contradiction"] * 3)


@pytest.mark.parametrize(
    ("old", "kind", "day", "wins"),
    [
        ({"created": "2026-01-02"}, "edit", 3, True),
        ({"created": "2026-01-04"}, "edit", 3, False),
        ({}, "edit", 3, True),
        ({}, "thumb", 3, False),
        ({"said_as": "review", "said_at": "2026-01-02T00:00:00+00:00"}, "edit", 3, False),
        ({"said_as": "review", "said_at": "2026-01-02T00:00:00+00:00"}, "review", 3, True),
        ({"created": "2026-01-02", "readmitted": {"contradiction": "2026-01-05T00:00:00+00:00"}}, "edit", 3, False),
    ],
)
def test_what_was_said_last_wins_against_the_draft_but_praise_displaces_nothing(
    row: MakeExample, heard_row: MakeExample, old: dict[str, Any], kind: str, day: int, wins: bool
) -> None:
    found = into([row("where", "here", id="old", **old)], heard_row("new", "there", day, kind))
    assert [e.id for e in found.examples] == (["new"] if wins else ["old"])
    assert (found.added, found.replaced) == ((("new",), ("old",)) if wins else ((), ()))
    assert [line["id"] for line in found.lines] == (["old"] if wins else ["new"])


def test_the_same_words_twice_are_one_example_and_what_was_dropped_does_not_come_again(heard_row: MakeExample) -> None:
    first, second = heard_row("a", "here", 1), heard_row("b", "here", 2)
    found = into([], first, second)
    assert (found.added, [line["kind"] for line in found.lines]) == (("a",), ["exact_duplicate"])
    again = into(list(found.examples), first, second, dropped=found.lines)
    assert (again.added, again.lines, again.known) == ((), (), 2)
    assert into([], second, dropped=[{**found.lines[0], "action": "flagged"}]).added == ("b",)


def test_a_preference_about_a_conversation_that_is_there_leaves_its_rejected_answer_with_it(heard_row: MakeExample) -> None:
    first, pair = heard_row("a", "here", 1), heard_row("b", "here", 2, rejected="nowhere")
    found = into([first], pair)
    assert [(e.id, e.metadata["rejected"], e.metadata["rejected_from"]) for e in found.examples] == [
        ("a", "nowhere", "inference:b")
    ]
    assert (found.added, found.replaced, found.lines) == (("a",), ("a",), ())
    assert into(list(found.examples), pair).known == 1
    together = into([], first, pair)
    assert [(e.id, e.metadata.get("rejected")) for e in together.examples] == [("a", "nowhere")]


def test_a_limit_leaves_the_rest_and_a_quota_counts_what_the_draft_has(heard_row: MakeExample) -> None:
    rows = [heard_row(f"r{i}", f"a{i}", 1, prompt=f"question {i}", user_id="u1") for i in range(6)]
    found = admit(standing([], rows, Heard()), rows, Heard(), (), Config(), limit=4)
    assert (found.added, found.left) == (("r0", "r1", "r2", "r3"), ("r4", "r5"))
    capped = into(rows[:2], *rows[2:], config=Config(collect_per_user=3))
    assert (capped.added, capped.over, capped.over_ids) == (("r2",), {"user u1": 3}, ("r3", "r4", "r5"))
    quota = Quota(standing(rows[:2], rows, Heard()), 2)
    assert [quota.takes(e) for e in rows[:3]] == [True, True, False]


def test_a_cycle_takes_what_a_check_lets_in_and_nobody_dropped(row: MakeExample, heard_row: MakeExample) -> None:
    good, refusal = heard_row("a", "here", 1), heard_row("b", "I'm sorry, but I can't help with that.", 1, prompt="How?")
    gone = heard_row("c", "gone", 1, prompt="When?")
    dropped = into([row("when", "now", id="x", created="2026-01-09")], gone).lines
    said = [good, refusal, gone]
    assert presentable(standing([], said, Heard()), said, dropped, Config()) == {"a"}
    assert presentable(standing([refusal], said, Heard()), said, (), Config()) == {"a", "b", "c"}


def test_a_row_without_any_date_was_said_before_everything(row: MakeExample, heard_row: MakeExample) -> None:
    assert said_at(row("q", "a")) < said_at(heard_row("a", "here", 1))
    assert said_at(heard_row("a", "here", 2)).day == 2
