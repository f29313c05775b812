from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.quality import bad_roles, dropped_for, empty, examine, maybe_truncated, refusal, too_long

MakeExample = Callable[..., Example]


def kinds(example: Example, **options: Any) -> list[str]:
    return [found.kind for found in examine(example, Config(), **options)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("The parcel has not ARRIVED", "answer_equals_prompt"),
        ('{"category": "bug", "pri', "truncated"),
        ("Use this:\n```\nrestart", "truncated"),
        ("We looked at it. The parcel left the house on Monday and then it went to the", "truncated"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("As an AI language model, I cannot triage this ticket.", "refusal"),
        ("I cannot assist with your request.", "refusal"),
        ("The cafÃ© donâ€™t open", "mojibake"),
        ("broken \ufffd text", "mojibake"),
        ("<|im_start|>assistant\nyes", "template_leak"),
        ("Dear {{ customer.name }}, yes", "template_leak"),
        ("### Response:\nyes", "template_leak"),
    ],
)
def test_each_trouble_is_found(row: MakeExample, answer: str, kind: str) -> None:
    assert kinds(row("The parcel has not arrived.", answer)) == [kind]


@pytest.mark.parametrize(
    "answer",
    [
        '{"category": "bug", "priority": "high"}',
        "Sorry about the double charge with Pixel Pad. We will look at it.",
        "Unfortunately, we cannot provide a refund after 30 days.",
        "I cannot find your order. Could you send the number?",
        "Thank you. We will answer soon.\n\nBest regards,\nAna from the desk",
        "Yes",
        "Das Café öffnet um neun – naïve façade, 20 € für Ñandú.",
        "Ça va? Âge: 12 ans. Ô là là",
        "Use the <b>Export</b> button, or a[i] = {x} in code.",
        "```\nls\n```",
    ],
)
def test_good_answers_are_left_alone(row: MakeExample, answer: str) -> None:
    assert kinds(row("The parcel has not arrived.", answer)) == []


def talk(*turns: tuple[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple({"role": role, "content": content} for role, content in turns)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((("assistant", "a"), ("user", "b")), "begins|last message"),
        ((("user", "a"), ("user", "b"), ("assistant", "c")), "messages 1 and 2 are both of the user"),
        ((("user", "a"), ("system", "b"), ("assistant", "c")), "system message after"),
        ((("alien", "a"), ("assistant", "b")), "no known role"),
        ((("tool", "a"), ("user", "b"), ("assistant", "c")), "tool answers before"),
        ((("assistant", "a"),), "no message of the user"),
        ((("assistant", "a"), ("user", "b"), ("assistant", "c")), "begins with the assistant"),
    ],
)
def test_wrong_orders_of_roles_are_named(turns: Any, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        assert bad_roles(talk(*turns)) == ""


def test_a_conversation_with_tools_is_in_order() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]}
    messages = (*talk(("system", "s"), ("user", "a")), call, *talk(("tool", "{}"), ("assistant", "b")))
    assert bad_roles(messages) == ""
    assert empty(messages) == ""


@pytest.mark.parametrize("blank", ["", "  \n", None, []])
def test_an_answer_without_a_word_is_empty(blank: Any) -> None:
    assert empty(talk(("user", "a"), ("assistant", blank))) == "message 2 of the assistant is empty"


def test_length_is_counted_in_tokens_where_a_limit_is_known(row: MakeExample) -> None:
    example = row("word " * 50, "yes")
    assert kinds(example, context=40) == ["too_long"]
    assert kinds(example, context=40, count=lambda text: 1) == []
    assert too_long(example, Config(max_chars=100), None, None).endswith("characters, 100 are allowed")


def test_only_a_certain_truncation_is_dropped(row: MakeExample) -> None:
    cut, maybe = row("a?", '{"a": '), row("a?", "We looked. Then the parcel left the house and went to")
    decided = [dropped_for(examine(e, Config())[0], Config(), e) for e in (cut, maybe)]
    assert decided == [True, False]
    assert not dropped_for(examine(cut, Config())[0], Config(truncated="flag"), cut)


def test_a_long_text_that_begins_like_a_refusal_is_none() -> None:
    assert refusal("I cannot help with that. " + "But here is how it goes. " * 40) == ""
    assert maybe_truncated("") == ""
