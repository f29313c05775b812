from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunekeeper.cli.reviewtext import MOST_SHOWN, Veil, body, changed, changes, folded, marked, pretty_json, styled

ANY = st.text(st.characters(codec=None), max_size=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=12,
)


@given(ANY)
def test_nothing_that_is_shown_can_be_obeyed(text: str) -> None:
    for shown in (styled(text).plain, changed("", text).plain, Veil(text).text):
        odd = {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")}
        assert odd <= {"\n", "\t", "\u200c", "\u200d"}


@given(ANY, ANY)
def test_a_veiled_text_comes_back_as_it_was(text: str, more: str) -> None:
    veil = Veil(text)
    assert veil.back(veil.text) == text
    assert veil.back(veil.show(more)) == more or "\n" in more or any(c in veil.text for c in more)


def test_lines_that_end_as_in_windows_come_back_so() -> None:
    veil = Veil("one\r\ntwo\x1b")
    assert "\r" not in veil.text
    assert veil.back(veil.text + "\nthree") == "one\r\ntwo\x1b\r\nthree"


@given(VALUES.filter(lambda value: isinstance(value, dict | list)))
def test_json_laid_out_says_the_same(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=1)):
        laid_out = pretty_json(text)
        assert laid_out is not None
        assert json.loads(laid_out) == value


def test_json_keeps_numbers_and_repeated_keys_as_they_were_written() -> None:
    assert pretty_json('{"a":1.00,"a":[1e400,{}],"b":"\\u00e9"}') == (
        '{\n  "a": 1.00,\n  "a": [\n    1e400,\n    {}\n  ],\n  "b": "é"\n}'
    )
    assert pretty_json("[" * 100_000) is None
    assert pretty_json('"only a string"') is None
    assert pretty_json("{not json}") is None


@given(st.text("ab 漢é,.{}[]\n", max_size=40), st.text("ab 漢é,.{}[]\n", max_size=40))
@example(" {}", "{}")
@example("[]", " {}")
def test_a_change_holds_both_texts(before: str, after: str) -> None:
    found = changes(before, after)
    laid_out = pretty_json(before), pretty_json(after)
    both = None not in laid_out and laid_out[0] != laid_out[1]  # JSON is compared laid out, where more than white space changed
    assert ["".join(old for old, _ in found), "".join(new for _, new in found)] == [*(laid_out if both else (before, after))]


def test_a_change_is_told_word_by_word_and_without_colours_in_brackets() -> None:
    assert changed("the cat sat", "the dog sat", plain=True).plain == "the [-cat-]{+dog+} sat"
    assert changed("the cat sat", "the dog sat").plain == "the catdog sat"
    assert changed('{"a":1,"b":2}', '{"b":2, "a": 1}').plain != ""
    far = changed(f"{'x ' * 300}cat", f"{'x ' * 300}dog", around=20).plain
    assert far.startswith("…")
    assert len(far) < 40


def test_texts_that_differ_all_over_are_compared_in_bounded_time() -> None:
    before, after = (" ".join(f"{word}{i}" for i in range(3_000)) for word in ("a", "b"))
    assert len(changes(before, after)) <= 3


def test_two_answers_are_marked_where_they_differ() -> None:
    found = marked('{"category": "bug", "p": 1}', '{"category": "billing", "p": 1}')
    assert found.plain == '{\n  "category": "bug",\n  "p": 1\n}'
    assert [found.plain[s.start : s.end] for s in found.spans if "underline" in str(s.style)] == ["bug"]


def test_markdown_keeps_every_character_and_tells_its_parts_apart() -> None:
    text = "# Head\n- **bold** `code` [link](https://example.com)\n> quote\n```\n# no head\n```\nend"
    found = styled(text)
    assert found.plain == text
    looks = {text[s.start : s.end]: str(s.style) for s in found.spans}
    assert looks["# Head"] == "bold $accent"
    assert looks["**bold**"] == "bold"
    assert looks["```\n# no head\n```"] == "$code"
    assert not any("link" in style or "@" in style for style in looks.values())


def test_a_long_text_is_folded_and_says_how_much_is_missing() -> None:
    text = "begin " + "x" * 3 * MOST_SHOWN + " end"
    found = styled(text).plain
    assert len(found) < MOST_SHOWN + 100
    assert found.startswith("begin")
    assert found.endswith("end")
    assert f"{len(text) - MOST_SHOWN:,} more characters" in folded(text)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": "hello"}, "hello"),
        ({"content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {}}]}, "see\n[image_url: not text]"),
        ({"content": None, "tool_calls": [{"function": {"name": "find", "arguments": '{"q": 1}'}}]}, '→ find({"q": 1})'),
        ({"content": 7, "tool_calls": "odd"}, "[int: not text]"),
        ({}, ""),
    ],
)
def test_what_a_message_says(message: dict[str, object], said: str) -> None:
    assert body(message) == said
