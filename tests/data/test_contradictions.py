from __future__ import annotations

from collections.abc import Callable

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.contradictions import believed, contradicting_groups, contradictions

MakeExample = Callable[..., Example]


def test_each_side_of_a_contradiction_names_the_other(row: MakeExample) -> None:
    rows = [
        row("Where?", "here", id="a"),
        row("where", "Here.", id="b"),
        row("WHERE?", "there", id="c"),
        row("Who?", "me", id="d"),
    ]
    assert [(f.id, f.of) for f in contradictions(rows)] == [("a", "c"), ("b", "c"), ("c", "a")]
    assert contradictions(rows)[2].detail == "it answers 'there', a answers 'here'"
    assert [[e.id for e in group] for group in contradicting_groups(rows)] == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("answers", "votes", "expected"),
    [
        ([("x", "2026-01-01"), ("y", "2026-01-02")], {}, "y"),
        ([("x", "2026-01-02"), ("y", "2026-01-02")], {}, None),
        ([("x", "2026-01-01"), ("y", None)], {}, None),
        ([("x", None), ("x!", None), ("y", None)], {}, "x!"),
        ([("x", None), ("y", None)], {"x": 3}, "x"),
        ([("x", None), ("y", None), ("z", None)], {"x": 2}, None),
    ],
)
def test_the_newest_answer_is_believed_then_that_of_more_than_half(
    row: MakeExample, answers: list[tuple[str, str | None]], votes: dict[str, int], expected: str | None
) -> None:
    group = [row("Q?", text, **({"created": at} if at else {})) for text, at in answers]
    counted = {e.fingerprint: votes.get(str(e.messages[-1]["content"]), 1) for e in group}
    found = believed(group, counted)
    assert found == (None if expected is None else expected.rstrip("!"))
