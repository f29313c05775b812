from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.text.fingerprints import answer_of, fingerprint, normalise, prompt_key, prompt_of, text_of


def talk(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def test_equal_conversations_have_equal_fingerprints_whatever_surrounds_the_text() -> None:
    one = talk(("user", "Line one\r\ncafe\u0301 "), ("assistant", "ok"))
    other = [
        {"content": "Line one\ncaf\u00e9", "role": "user", "weight": 1, "name": None},
        {"role": "assistant", "content": "ok"},
    ]
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one).startswith("sha256:")


@pytest.mark.parametrize(
    "other",
    [
        talk(("user", "hi"), ("assistant", "ok")),
        talk(("system", "Hi"), ("assistant", "ok")),
        talk(("user", "H i"), ("assistant", "ok")),
        [{"role": "user", "content": "Hi", "name": "ana"}, *talk(("assistant", "ok"))],
        [*talk(("user", "Hi")), {"role": "assistant", "content": "ok", "tool_calls": [{"id": "1"}]}],
    ],
)
def test_another_word_role_name_or_call_is_another_conversation(other: Any) -> None:
    assert fingerprint(other) != fingerprint(talk(("user", "Hi"), ("assistant", "ok")))


def test_tools_are_part_of_a_conversation() -> None:
    messages = talk(("user", "Hi"))
    assert fingerprint(messages, [{"type": "function"}]) != fingerprint(messages)


@pytest.mark.parametrize(
    ("text", "expected"), [("  Hello\n WORLD! ", "hello world"), ("ﬁne…", "fine"), ("Straße?", "strasse"), ("..", "")]
)
def test_normalised_texts_forget_case_spaces_and_outer_marks(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_prompt_and_answer_are_told_apart_and_parts_are_read() -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "image_url"}, {"type": "text", "text": "this?"}]
    messages = talk(("system", "S"), ("user", parts), ("assistant", "A"))
    assert (prompt_of(messages), answer_of(messages), prompt_key(messages).split("\x00")[0]) == (
        "Look:\nthis?",
        "A",
        "look: this",
    )
    assert (prompt_of(messages[:2]), answer_of(messages[:2]), answer_of([])) == ("Look:\nthis?", "", "")
    assert text_of(None) == ""


def test_the_same_words_about_another_picture_ask_something_else() -> None:
    def about(url: str | None) -> list[dict[str, Any]]:
        parts = [{"type": "text", "text": "What is this?"}]
        parts += [{"type": "image_url", "image_url": {"url": url}}] if url else []
        return [{"role": "user", "content": parts}, {"role": "assistant", "content": "A cat"}]

    keys = {prompt_key(about(url)) for url in ("a.png", "b.png", "a.png", None)}
    assert len(keys) == 3
    assert prompt_key(about(None)) == prompt_key([{"role": "user", "content": "what is this"}])
