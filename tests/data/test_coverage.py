from __future__ import annotations

from collections.abc import Callable

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.coverage import leaks, uncovered

MakeExample = Callable[..., Example]
TEXT = "Hello team, the parcel with my new camera has not arrived and the tracking page shows nothing at all since Monday"


@pytest.mark.parametrize(
    ("held", "detail"),
    [
        (TEXT.upper() + "!", "the same prompt stands in suite.yaml"),
        (TEXT.replace("Hello team", "Good evening"), "% of the prompt's word 3-grams stand in suite.yaml"),
    ],
)
def test_a_prompt_that_stands_exactly_or_nearly_in_the_suite_is_a_leak(row: MakeExample, held: str, detail: str) -> None:
    found = leaks([row("Other", "x", id="a"), row(TEXT, "x", id="b")], [row(held, "y", id="h")], 0.7, where="suite.yaml")
    assert [(f.id, f.of) for f in found] == [("b", "h")]
    assert detail in found[0].detail


def test_another_turn_of_the_same_conversation_is_a_leak(row: MakeExample) -> None:
    rows = [row("One", "x", id="a", conversation_id=7), row("Two", "x", id="b", conversation_id=8), row("Three", "x", id="c")]
    found = leaks(rows, [row("Four", "x", id="h", conversation_id="7")], 0.85, where="suite.yaml")
    assert [(f.id, f.detail) for f in found] == [("a", "the same conversation stands in suite.yaml")]


def test_prompts_that_merely_resemble_each_other_are_no_leak(row: MakeExample) -> None:
    other = TEXT.replace("camera", "watch").replace("Monday", "May").replace("parcel", "box")
    assert leaks([row(TEXT, "x")], [row(other, "x")], 0.85, where="suite.yaml") == []


def test_a_topic_is_uncovered_from_its_share_on(row: MakeExample) -> None:
    rows = [row(f"q{i}", "x", category="rare" if i < 2 else "common") for i in range(100)]
    held = [row("h", "x", category="common")]
    assert [f.topic for f in uncovered(rows, held, 0.02, where="suite")] == ["rare"]
    assert uncovered(rows, held, 0.03, where="suite") == []
    assert uncovered(rows, [], 0.02, where="suite") == []
    assert [(f.topic, f.detail) for f in uncovered(held, rows, 0.02, where="suite")] == [
        ("rare", "2 of 100 rows in suite (2.0%), none in the dataset")
    ]
