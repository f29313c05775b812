from __future__ import annotations

import json
from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.outside import rows_of
from tunekeeper.data.rows import parse_row

ASKED = [{"role": "system", "content": "Sé amable"}, {"role": "user", "content": "¿Dónde está mi paquete?"}]
SAID = {"role": "assistant", "content": "En Sevilla."}
TALK = [("system", "Sé amable"), ("user", "¿Dónde está mi paquete?"), ("assistant", "En Sevilla.")]
TOOL = {"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}
CHOICES = [{"index": 0, "message": SAID, "finish_reason": "stop"}]
COMPLETION = {"object": "chat.completion", "id": "c1", "model": "m-1", "choices": CHOICES}

BRAINTRUST = {
    "id": "row-1",
    "_xact_id": "1000",
    "span_id": "s1",
    "root_span_id": "r1",
    "span_parents": None,
    "is_root": True,
    "project_id": "p1",
    "created": "2026-03-01T10:00:00Z",
    "input": ASKED,
    "output": CHOICES,
    "expected": None,
    "metadata": {"model": "m-1", "tools": [TOOL], "customer_id": "c7"},
    "tags": ["returns"],
    "scores": {"Factuality": 1},
    "metrics": {"tokens": 12},
    "span_attributes": {"type": "llm", "name": "Chat Completion"},
}
HELICONE = {
    "request_id": "h1",
    "request_created_at": "2026-03-01T10:00:00Z",
    "request_user_id": "u7",
    "request_model": "m-1",
    "request_properties": {"country": "ES"},
    "request_body": {"model": "m-1", "messages": ASKED, "tools": [TOOL]},
    "response_body": COMPLETION,
    "response_status": 200,
}
LITELLM = {
    "request_id": "l1",
    "call_type": "acompletion",
    "spend": 0.001,
    "startTime": "2026-03-01T10:00:00Z",
    "model": "m-1",
    "user": "default_user_id",
    "end_user": "u7",
    "messages": ASKED,
    "response": COMPLETION,
    "proxy_server_request": {"model": "m-1", "messages": ASKED, "tools": [TOOL]},
    "request_tags": ["web"],
    "status": "success",
}
WEAVE = {
    "id": "w1",
    "trace_id": "t1",
    "op_name": "weave:///team/desk/op/openai.chat.completions.create:abc",
    "started_at": "2026-03-01T10:00:00Z",
    "inputs": {"self": "weave:///…", "model": "m-1", "messages": ASKED, "tools": [TOOL]},
    "output": COMPLETION,
    "exception": None,
}
ALL = {"braintrust": BRAINTRUST, "helicone": HELICONE, "litellm": LITELLM, "weave": WEAVE}


def spoken(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(m["role"], m["content"]) for m in parse_row(row, {}).messages]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("stored", [False, True], ids=["as objects", "as JSON text"])
def test_a_log_gives_its_conversation_with_its_tools_and_whose_it_is(name: str, stored: bool) -> None:
    row = {key: json.dumps(value) if stored and isinstance(value, dict | list) else value for key, value in ALL[name].items()}
    made = parse_row(row, {})
    assert ([(m["role"], m["content"]) for m in made.messages], made.shape, made.tools) == (TALK, name, (TOOL,))
    assert (made.metadata["id"], made.metadata["model"]) == (ALL[name].get("request_id", ALL[name].get("id")), "m-1")
    assert made.metadata["created"] == "2026-03-01T10:00:00Z"
    assert "finish_reason" not in made.metadata


def test_users_and_conversations_are_told_under_the_names_that_keep_rows_together() -> None:
    assert parse_row(HELICONE, {}).metadata["user_id"] == "u7"
    assert parse_row(HELICONE, {}).metadata["country"] == "ES"
    assert parse_row(LITELLM, {}).metadata["user_id"] == "u7"
    assert parse_row(LITELLM | {"end_user": ""}, {}).metadata.get("user_id") is None
    assert parse_row(BRAINTRUST, {}).metadata["customer_id"] == "c7"


def test_what_braintrust_expected_is_learned_and_what_was_answered_instead_is_kept() -> None:
    made = parse_row(BRAINTRUST | {"expected": "En Cádiz."}, {})
    assert (made.messages[-1]["content"], made.metadata["rejected"]) == ("En Cádiz.", "En Sevilla.")
    same = parse_row(BRAINTRUST | {"expected": {"role": "assistant", "content": "En Sevilla."}}, {})
    assert (same.messages[-1]["content"], "rejected" in same.metadata) == ("En Sevilla.", False)
    of_dataset = {"id": "d1", "dataset_id": "ds", "_xact_id": "1", "root_span_id": "r", "input": {"q": 1}, "expected": {"a": 2}}
    assert spoken(of_dataset) == [("user", '{"q": 1}'), ("assistant", '{"a": 2}')]


def test_litellm_may_have_kept_the_request_alone_and_weave_a_single_text() -> None:
    assert spoken(LITELLM | {"messages": "{}"}) == TALK
    asked = {"op_name": "weave:///t/p/op/answer:1", "inputs": {"self": "x", "question": "Why?"}, "output": "Because.", "id": "w"}
    assert spoken(asked) == [("user", "Why?"), ("assistant", "Because.")]


def test_an_answer_that_was_cut_off_says_so() -> None:
    cut = {**COMPLETION, "choices": [{**CHOICES[0], "finish_reason": "length"}]}
    for row in (HELICONE | {"response_body": cut}, LITELLM | {"response": cut}, WEAVE | {"output": cut}):
        assert parse_row(row, {}).metadata["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (BRAINTRUST | {"span_attributes": {"type": "tool"}}, "a TOOL span of Braintrust"),
        (BRAINTRUST | {"span_attributes": {"type": "score"}}, "a SCORE span of Braintrust"),
        (BRAINTRUST | {"error": "timeout"}, "failed"),
        (BRAINTRUST | {"output": None}, "output is empty"),
        (HELICONE | {"request_body": {}}, "exported with its bodies"),
        (HELICONE | {"response_status": 429}, "failed with 429"),
        (HELICONE | {"feedback_rating": False}, "rated as bad"),
        (LITELLM | {"call_type": "aembedding"}, "aembedding, no chat"),
        (LITELLM | {"status": "failure"}, "failed"),
        (LITELLM | {"messages": {}, "response": {}, "proxy_server_request": {}}, "store_prompts_in_spend_logs"),
        (WEAVE | {"exception": "Error"}, "failed"),
        (WEAVE | {"inputs": {"a": 1, "b": "x"}}, "their keys are a, b"),
    ],
)
def test_a_row_that_teaches_nothing_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        parse_row(row, {})


def test_the_pages_that_their_interfaces_answer_with_are_taken_apart() -> None:
    assert rows_of({"events": [BRAINTRUST], "cursor": "x"}) == [BRAINTRUST]
    assert rows_of({"data": [HELICONE], "error": None}) == [HELICONE]
    assert rows_of({"calls": [WEAVE]}) == [WEAVE]
