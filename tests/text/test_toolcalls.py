"""Arguments of tool calls: a text of JSON in OpenAI's format, an object for most chat templates."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.text.rendering import render
from tunekeeper.text.toolcalls import has_silent, has_texts, wants_objects, wants_text, with_objects, with_texts

AS_JSON = "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
EITHER = AS_JSON.replace(
    "{{ c.function.arguments | tojson }}",
    "{% if c.function.arguments is string %}{{ c.function.arguments }}{% else %}{{ c.function.arguments | tojson }}{% endif %}",
)
AS_TAGS = AS_JSON.replace(
    "{{ c.function.arguments | tojson }}", "{% for k, v in c.function.arguments.items() %}<{{ k }}>{{ v }}{% endfor %}"
)
JOINED = AS_JSON.replace("c.function.arguments | tojson", "'call ' + c.function.arguments")


def called(arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": arguments}}
    return [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [call]}]


@pytest.mark.parametrize(
    ("template", "wanted"), [(AS_JSON, True), (AS_TAGS, True), (EITHER, False), (JOINED, False), ("no tools", False)]
)
def test_a_template_that_would_quote_the_text_of_json_once_more_wants_the_object(template: str, wanted: bool) -> None:
    assert wants_objects(lambda messages: render(template, messages, add_generation_prompt=False)) == wanted


def test_a_text_of_an_object_becomes_one_and_nothing_else_changes() -> None:
    given = called('{"q": "x", "n": [1]}')
    assert has_texts(given)
    assert with_objects(given) == called({"q": "x", "n": [1]})
    assert given == called('{"q": "x", "n": [1]}'), "what was given stays as it is"
    for odd in ({"q": 1}, "not JSON", "[1]", "null", "", None, 7, "[" * 100_000):
        assert with_objects(called(odd)) == called(odd)
        assert not has_texts(called(odd))


@pytest.mark.parametrize(
    "calls", [None, [], "text", [1], [{"name": "find"}], [{"function": None}], [{"function": {"name": "f"}}]]
)
def test_calls_of_any_shape_are_left_alone(calls: Any) -> None:
    messages = [{"role": "assistant", "content": "a", "tool_calls": calls}]
    assert with_objects(messages) == messages
    assert not has_texts(messages)


def test_a_call_in_the_older_flat_form_is_known_as_well() -> None:
    messages = [{"role": "assistant", "tool_calls": ({"name": "find", "arguments": '{"q": 1}'},)}]
    assert with_objects(messages)[0]["tool_calls"] == [{"name": "find", "arguments": {"q": 1}}]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("{{ m.content }}", True),
        ("{{ '>' + m.content }}", True),
        ("{% if 'x' in m.content %}x{% endif %}", True),
        ("{% if m.content %}{{ m.content }}{% endif %}", False),
        ("{% if m.content is none %}nothing{% endif %}", False),
        ("{{ raise_exception('no') }}", False),
    ],
)
def test_null_beside_a_call_is_an_empty_text_where_a_template_does_not_take_it(content: str, wanted: bool) -> None:
    template = "{% for m in messages %}" + content + "{% endfor %}"
    assert wants_text(lambda messages: render(template, messages, add_generation_prompt=False), {}) == wanted


def test_only_what_stands_beside_a_call_is_made_a_text() -> None:
    given = called({})
    assert has_silent(given)
    assert with_texts(given) == [given[0], {**given[1], "content": ""}]
    said = [{**given[1], "content": "I look"}, {"role": "assistant", "content": None}]
    assert not has_silent(said)
    assert with_texts(said) == said
