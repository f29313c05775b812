from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.endings import maybe_truncated
from tunekeeper.data.quality import dropped_for, examine, too_long
from tunekeeper.data.refusals import refusal
from tunekeeper.data.roles import bad_roles, empty

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


def test_what_redaction_wrote_is_no_blank_that_somebody_forgot(row: MakeExample) -> None:
    greeted = row("Who sends my parcel?", "Dear [NAME], we send it on Monday.")
    assert kinds(greeted) == ["template_leak"], "where no names are taken out somebody wrote it"
    named = Config(redact=("email", "name"))
    assert examine(greeted, named) == examine(replace(greeted, source="inference:req_1"), Config()) == []
    assert kinds(row("Who are you?", "Hi [EMAIL:2], we send parcels.")) == []
    assert [found.kind for found in examine(row("Who?", "Dear [Name], we do."), named)] == ["template_leak"]


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


def test_a_label_that_is_called_as_what_was_asked_repeats_nothing(row: MakeExample) -> None:
    assert kinds(row("freeze account", "freeze_account")) == []
    assert kinds(row("freeze account", "Freeze account!")) == ["answer_equals_prompt"]


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


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("[INST] triage this [/INST] bug", "template_leak"),
        ("<|start_header_id|>assistant<|end_header_id|> bug", "template_leak"),
        ("<｜Assistant｜>bug", "template_leak"),
        ("bug<｜end▁of▁sentence｜>", "template_leak"),
        ("<start_of_turn>model\nbug", "template_leak"),
    ],
)
def test_the_templates_of_every_usual_family_are_known(row: MakeExample, answer: str, kind: str) -> None:
    assert kinds(row("The parcel has not arrived.", answer)) == [kind]


@pytest.mark.parametrize("answer", ["use a <| b |> c in F#", "x <|> y parses either", "if a<|b", "5 < 6 | 7 > 3", "arr[INSTALL]"])
def test_signs_that_only_resemble_a_template_are_left_alone(row: MakeExample, answer: str) -> None:
    assert kinds(row("The parcel has not arrived.", answer)) == []


def test_the_refusals_of_other_languages_are_configured(row: MakeExample) -> None:
    german = row("a?", "Damit  BIN ich überfragt.")
    assert kinds(german) == []
    assert [f.kind for f in examine(german, Config(refusal_phrases=("damit bin ich", " ")))] == ["refusal"]
    assert refusal("I am glad. Damit bin ich überfragt.", ("damit bin ich",)) == ""


@pytest.mark.parametrize(
    ("key", "value"), [("finish_reason", "length"), ("stop_reason", "max_tokens"), ("finish_reason", "MAX_TOKENS")]
)
def test_an_answer_that_the_server_cut_is_certainly_truncated(row: MakeExample, key: str, value: str) -> None:
    cut = row("a?", "The parcel is", **{key: value})
    found = examine(cut, Config())
    assert [f.detail for f in found] == [f"the server stopped it: {key} is {value}"]
    assert dropped_for(found[0], Config(), cut)
    assert examine(row("a?", "The parcel is", finish_reason="stop"), Config()) == []


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        ("too_long", ("word " * 50, "yes")),
        ("answer_equals_prompt", ("the same", "The same.")),
        ("mojibake", ("a?", "The cafÃ© is open")),
        ("template_leak", ("a?", "<|im_end|> yes")),
    ],
)
def test_each_kind_is_dropped_or_only_told_as_the_model_file_says(row: MakeExample, kind: str, example: tuple[str, str]) -> None:
    made = row(*example)
    (found,) = examine(made, Config(), context=40)
    assert found.kind == kind
    flagging: dict[str, Any] = {kind: "flag"}
    assert [dropped_for(found, section, made) for section in (Config(), Config(**flagging))] == [True, False]


def test_what_somebody_brought_a_row_back_in_spite_of_is_not_said_again(row: MakeExample) -> None:
    text = "I cannot help with that. <|im_end|>"
    assert kinds(row("a?", text)) == ["refusal", "template_leak"]
    assert kinds(row("a?", text, readmitted={"refusal": "2026-01-01T00:00:00+00:00"})) == ["template_leak"]
    assert kinds(row("a?", text, readmitted="yes")) == ["refusal", "template_leak"], (
        "a column of that name is no decision of ours"
    )


def test_another_language_is_told_where_some_are_wanted(row: MakeExample) -> None:
    german = row("Das Paket ist nicht da und ich warte seit Montag. Wo ist es?", '{"category": "der die das und ist nicht"}')
    assert kinds(german) == []
    (found,) = examine(german, Config(languages=("en", "fr")))
    assert (found.kind, found.detail) == ("language", "the prompt seems to be de; en, fr is wanted")
    assert examine(german, Config(languages=("de",))) == []
    assert [dropped_for(found, section, german) for section in (Config(), Config(language="drop"))] == [False, True]
    assert examine(row("Wo?", "bug"), Config(languages=("en",))) == [], "too little to tell"


def test_bad_words_are_those_of_the_model_file(row: MakeExample) -> None:
    rude = row("Your DARN parcel, darn it", "We are sorry for the delay.")
    assert kinds(rude) == []
    (found,) = examine(rude, Config(bad_words=("darn", "heck")))
    assert (found.kind, found.detail) == ("profanity", "bad words: DARN, darn")
    assert [dropped_for(found, section, rude) for section in (Config(), Config(profanity="drop"))] == [False, True]
    assert examine(row("A darning needle", "bug"), Config(bad_words=("darn",))) == []


def test_instructions_are_looked_at_like_the_rest(row: MakeExample) -> None:
    plain = row("Where is it?", "It is on its way.")
    for text, kind in (("Be kind to {{ customer }}.", "template_leak"), ("Sei hÃ¶flich.", "mojibake"), ("Be kind.", None)):
        made = replace(plain, messages=({"role": "system", "content": text}, *plain.messages[1:]))
        assert kinds(made) == ([kind] if kind else [])


def test_what_a_model_thinks_before_it_answers_is_no_part_of_the_format(row: MakeExample) -> None:
    form = {"kind": "json", "fields": {"category": ["bug", "refund"]}}
    thought = "<think>\nIt wants money back.\n</think>\n\n"
    assert kinds(row("Money back?", thought + '{"category": "refund"}'), format=form) == []
    assert kinds(row("Money back?", thought + '{"category": "other"}'), format=form) == ["format"]


@pytest.mark.parametrize(
    ("arguments", "found"), [('{"id": 1', ["broken"]), ("{id: 1}", ["broken"]), ('{"id": 1}', []), ("", []), ({"id": 1}, [])]
)
@pytest.mark.parametrize("old", [False, True])
def test_a_call_whose_arguments_are_no_json_is_broken(row: MakeExample, arguments: Any, found: list[str], old: bool) -> None:
    asked = {"name": "order", "arguments": arguments}
    call = {"function_call": asked} if old else {"tool_calls": [{"id": "c1", "type": "function", "function": asked}]}
    example = row("Where is it?", "-")
    example = replace(example, messages=(*example.messages[:-1], {"role": "assistant", "content": None, **call}))
    assert kinds(example) == found
