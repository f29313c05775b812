from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tests.data.small import compare
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.difftext import as_text, word_changes, word_pieces

MakeExample = Callable[..., Example]


def test_a_change_of_text_is_shown_word_by_word() -> None:
    assert word_changes("we ship on Monday", "we ship late on Friday") == "we ship {+late+} on [-Monday-]{+Friday+}"
    assert word_changes("a b", "a b") == "a b"
    assert (word_changes("", "x"), word_changes("x", ""), word_changes("", "")) == ("{+x+}", "[-x-]", "")
    assert word_changes("a a", "a a a") == "a a {+a+}"


def test_the_pieces_of_a_change_put_together_are_both_texts() -> None:
    rng = random.Random(3)
    for _ in range(300):
        before, after = (" ".join(rng.choices("abc", k=rng.randint(0, 9))) for _ in range(2))
        pieces = word_pieces(before, after)
        assert " ".join(old for old, _ in pieces if old) == before
        assert " ".join(new for _, new in pieces if new) == after


def test_long_texts_that_differ_all_over_count_as_replaced_between_what_they_share() -> None:
    before, after = (" ".join(["start", *(f"{letter}{i}" for i in range(2100)), "end"]) for letter in "xy")
    [start, middle, end] = word_pieces(before, after)
    assert (start, end) == (("start", "start"), ("end", "end"))
    assert (middle[0].count(" "), middle[1].count(" ")) == (2099, 2099)


def test_what_changed_beside_prompt_and_answer_is_told_as_well(row: MakeExample) -> None:
    old = row("q", "x", id="1", category="bug")
    asked = ({"role": "system", "content": "Be kind."}, *old.messages[1:-1], {"role": "assistant", "content": "y"})
    new = replace(old, messages=asked, tools=({"name": "w"},), weight=0.5, metadata={"category": "refund"})
    system = old.messages[0]["content"]
    lines = as_text(compare([old], [new]))
    assert lines[lines.index("edited 1: q => [-x-]{+y+}") + 1 :][:4] == [
        f"  system: {word_changes(system, 'Be kind.')}",
        '  tools: [-[]-]{+[{"name": "w"}]+}',
        "  weight: [-1.0-]{+0.5+}",
        "  category: [-bug-]{+refund+}",
    ]
