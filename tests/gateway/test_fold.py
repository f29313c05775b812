"""Chunks folded into the answer they amount to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunekeeper.gateway.fold import Fold, confidence_of, mean_probability, parse_chunk
from tunekeeper.gateway.wire import Probabilities, TokenProbability


def folded(*chunks: dict[str, Any], chat: bool = True) -> Fold:
    fold = Fold(chat=chat)
    for each in chunks:
        chunk = parse_chunk(json.dumps(each).encode())
        assert chunk is not None
        fold.add(chunk)
    return fold


def said(text: str | None = None, index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {
        "id": "i",
        "model": "m",
        "created": 5,
        "choices": [{"index": index, "delta": {"content": text, **delta}, "finish_reason": finish}],
    }


def test_text_role_and_reason_are_put_together() -> None:
    fold = folded(said("", role="assistant"), said("Hel"), said("lo"), said(finish="length"))
    answer = json.loads(fold.answer())
    assert answer["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "length"}]
    assert (answer["id"], answer["object"], answer["created"], answer["model"]) == ("i", "chat.completion", 5, "m")
    assert (fold.finished, fold.finish_reason) == (True, "length")


def test_no_reason_is_made_up() -> None:
    fold = folded(said("Hel"))
    assert (fold.finished, fold.finish_reason) == (False, None)
    assert json.loads(fold.answer())["choices"][0]["finish_reason"] is None
    assert not folded().finished


def test_several_choices_each_need_their_reason() -> None:
    fold = folded(said("a"), said("b", 1), said(finish="stop"))
    assert not fold.finished
    fold = folded(said("a"), said("b", 1), said(finish="stop"), said(index=1, finish="stop"))
    assert fold.finished
    assert [c["message"]["content"] for c in json.loads(fold.answer())["choices"]] == ["a", "b"]


def test_tool_calls_are_put_together() -> None:
    pieces = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a"'}},
        {"index": 0, "function": {"arguments": ":1}"}},
        {"index": 1, "id": "c2", "function": {"name": "go", "arguments": "{}"}},
    ]
    fold = folded(*[said(tool_calls=[piece]) for piece in pieces], said(finish="tool_calls"))
    message = json.loads(fold.answer())["choices"][0]["message"]
    assert message["content"] is None
    assert [t["function"] for t in message["tool_calls"]] == [
        {"name": "look", "arguments": '{"a":1}'},
        {"name": "go", "arguments": "{}"},
    ]


@pytest.mark.parametrize("number", [{"index": 0}, {}])
def test_tool_calls_that_their_server_does_not_number_are_kept_apart(number: dict[str, int]) -> None:
    pieces = [
        {**number, "id": "c1", "function": {"name": "look", "arguments": '{"a"'}},
        {**number, "id": "c1", "function": {"name": "", "arguments": ":1}"}},
        {**number, "id": "c2", "function": {"name": "go", "arguments": "{"}},
        {**number, "function": {"arguments": "}"}},
    ]
    fold = folded(said(tool_calls=pieces[:3]), said(tool_calls=pieces[3:]), said(finish="tool_calls"))
    calls = json.loads(fold.answer())["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], *call["function"].values()) for call in calls] == [("c1", "look", '{"a":1}'), ("c2", "go", "{}")]


def test_refusals_and_reasoning_are_kept_apart() -> None:
    message = json.loads(folded(said(reasoning_content="hm", refusal="no")).answer())["choices"][0]["message"]
    assert (message["reasoning_content"], message["refusal"]) == ("hm", "no")


def test_completion_streams_fold_into_text() -> None:
    fold = folded(
        {"choices": [{"index": 0, "text": "a"}]}, {"choices": [{"index": 0, "text": "b", "finish_reason": "stop"}]}, chat=False
    )
    assert json.loads(fold.answer())["choices"] == [{"index": 0, "text": "ab", "finish_reason": "stop"}]


def test_usage_comes_from_the_server_alone() -> None:
    assert "usage" not in json.loads(folded(said("a")).answer())
    fold = folded(said("a"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    assert json.loads(fold.answer())["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_fresh_text_is_what_came_since() -> None:
    fold = folded(said("a"), said("b"))
    assert fold.fresh_text() == "ab"
    assert fold.fresh_text() == ""
    assert folded().fresh_text() == ""


@pytest.mark.parametrize("data", [b"", b"x", b"[]", b'{"choices":5}', b"\xff"])
def test_what_is_no_chunk_is_none(data: bytes) -> None:
    assert parse_chunk(data) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"created": 1.7},
        {"id": 7},
        {"usage": {"prompt_tokens": "many"}},
        {"usage": []},
        {"choices": [{"index": None, "delta": {"content": "a"}}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": [1]}]},
        {"choices": [{"index": 0, "delta": {"content": "a", "tool_calls": [{"index": None, "function": {"arguments": {}}}]}}]},
    ],
)
def test_a_field_of_another_type_costs_that_field_alone(odd: dict[str, Any]) -> None:
    fold = folded({**said("a"), **odd}, said("b"), said(finish="stop"))
    assert fold.finished
    assert json.loads(fold.answer())["choices"][0]["message"]["content"] == "ab"


def message_of(*deltas: dict[str, Any]) -> dict[str, Any]:
    fold = folded(*[{"choices": [{"index": 0, "delta": delta}]} for delta in deltas])
    message: dict[str, Any] = json.loads(fold.answer())["choices"][0]["message"]
    return message


def test_content_in_parts_stays_in_parts_once_one_is_no_text() -> None:
    def thought(text: str) -> dict[str, Any]:
        return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}

    whole = message_of({"role": "assistant", "content": ""}, thought("h"), thought("m"), {"content": "ye"}, {"content": "s"})
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]
    assert whole == {"role": "assistant", "content": parts}
    assert message_of({"content": "so "}, thought("hm"))["content"] == [{"type": "text", "text": "so "}, parts[0]]
    assert message_of({"content": "y"}, {"content": [{"type": "text", "text": "es"}]})["content"] == "yes"


CALLED = {"name": "f", "arguments": "{}"}
ALONE = {"role": "assistant", "content": None}


@pytest.mark.parametrize(
    ("deltas", "message"),
    [
        (
            [
                {**ALONE, "audio": {"id": "audio_1", "transcript": "Hel"}},
                {"audio": {"data": "YWJjZA=="}},
                {"audio": {"data": "eHk=", "transcript": "lo"}},
                {"audio": {"expires_at": 5}},
            ],
            {**ALONE, "audio": {"id": "audio_1", "transcript": "Hello", "data": "YWJjZHh5", "expires_at": 5}},
        ),
        (
            [
                {**ALONE, "tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": ""}}]},
                {"tool_calls": [{"index": 0, "custom": {"input": "SEL"}}]},
                {"tool_calls": [{"index": 0, "custom": {"input": "ECT"}}]},
            ],
            {**ALONE, "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT"}}]},
        ),
        (
            [{**ALONE, "tool_calls": [{"id": "c", "function": CALLED, "extra_content": {"google": {"thought_signature": "S"}}}]}],
            {
                **ALONE,
                "tool_calls": [
                    {"id": "c", "type": "function", "function": CALLED, "extra_content": {"google": {"thought_signature": "S"}}}
                ],
            },
        ),
        (
            [
                {"role": "assistant", "content": "", "refusal": None},
                {"refusal": "I "},
                {"refusal": "cannot"},
            ],
            {**ALONE, "refusal": "I cannot"},
        ),
        (
            [
                {"role": "assistant", "content": "x", "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]},
                {"annotations": [{"type": "url_citation", "url_citation": {"url": "v"}}]},
            ],
            {
                "role": "assistant", "content": "x",
                "annotations": [{"type": "url_citation", "url_citation": {"url": each}} for each in "uv"],
            },
        ),
        (
            [
                {"role": "assistant", "content": ""},
                {"content": "x", "reasoning_details": [{"type": "reasoning.text", "text": "a", "index": 0}]},
                {"reasoning_details": [{"type": "reasoning.text", "text": "b", "index": 0}]},
            ],
            {"role": "assistant", "content": "x", "reasoning_details": [{"type": "reasoning.text", "text": "ab", "index": 0}]},
        ),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"index": 0, "id": "c", "function": CALLED}]}],
            {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "type": "function", "function": CALLED}]},
        ),
    ],
    ids=["audio", "custom tool", "signed call", "refusal", "annotations", "reasoning details", "empty beside a call"],
)  # fmt: skip
def test_a_stream_is_kept_as_the_plain_answer_would_have_been(deltas: list[dict[str, Any]], message: dict[str, Any]) -> None:
    assert message_of(*deltas) == message


def test_fields_that_nobody_foresaw_are_kept() -> None:
    first = {
        "provider": "p",
        "citations": ["u"],
        "choices": [{"index": 1, "delta": {"content": "a", "mood": "gl"}, "stop_reason": None}],
    }
    other = {"choices": [{"index": 0, "delta": {"content": "b"}, "token_ids": [1, 2]}]}
    last = {
        "provider": "p", "citations": ["u", "v"],
        "choices": [
            {"index": 0, "delta": {"content": "c"}, "token_ids": [3], "content_filter_results": {"hate": {"filtered": False}}},
            {"index": 1, "delta": {"mood": "ad"}, "stop_reason": 7, "finish_reason": "stop", "message": {"content": "ac"}},
        ],
    }  # fmt: skip
    empty = {"citations": [], "choices": [{"index": 0, "delta": {}, "content_filter_results": {}}]}
    answer = json.loads(folded(first, other, last, empty).answer())
    assert (answer["provider"], answer["citations"]) == ("p", ["u", "v"])
    assert answer["choices"] == [
        {
            "index": 0, "message": {"role": "assistant", "content": "bc"}, "finish_reason": None,
            "token_ids": [1, 2, 3], "content_filter_results": {"hate": {"filtered": False}},
        },
        {"index": 1, "message": {"role": "assistant", "content": "a", "mood": "glad"}, "finish_reason": "stop", "stop_reason": 7},
    ]  # fmt: skip


def test_usage_that_comes_in_several_chunks_is_one_with_all_its_fields() -> None:
    counts = [
        {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "prompt_cache_hit_tokens": 2},
        {"completion_tokens": 5, "total_tokens": 8, "cost": 0.25},
    ]
    fold = folded(said("a"), *[{"choices": [], "usage": each} for each in counts])
    assert json.loads(fold.answer())["usage"] == counts[0] | counts[1]


def test_log_probabilities_of_a_refusal_go_on_as_those_of_a_text_do() -> None:
    fold = Fold(chat=True, probabilities=True)
    for token in "ab":
        known = {"content": None, "refusal": [{"token": token, "logprob": -0.5}]}
        chunk = parse_chunk(json.dumps({"choices": [{"index": 0, "delta": {"refusal": token}, "logprobs": known}]}).encode())
        assert chunk is not None
        fold.add(chunk)
    told = json.loads(fold.answer())["choices"][0]["logprobs"]
    assert told == {"content": None, "refusal": [{"token": token, "logprob": -0.5} for token in "ab"]}


def test_what_a_client_asked_for_beside_the_text_is_kept_in_its_shape() -> None:
    def chunk(*tokens: str) -> dict[str, Any]:
        known = {"content": [{"token": t, "logprob": -0.5, "top_logprobs": []} for t in tokens], "refusal": None}
        choice = {"index": 0, "delta": {"content": "".join(tokens)}, "logprobs": known}
        return {"choices": [choice], "system_fingerprint": "fp", "service_tier": "default"}

    usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 2}}
    fold = Fold(chat=True, probabilities=True)
    for each in (chunk("a", "b"), chunk("c"), {"choices": [], "usage": usage}):
        found = parse_chunk(json.dumps(each).encode())
        assert found is not None
        fold.add(found)
    answer = json.loads(fold.answer())
    assert [each["token"] for each in answer["choices"][0]["logprobs"]["content"]] == ["a", "b", "c"]
    assert (answer["usage"], answer["system_fingerprint"], answer["service_tier"]) == (usage, "fp", "default")
    assert "logprobs" not in json.loads(folded(chunk("a")).answer())["choices"][0], "only the gateway asked for them"


def test_reasoning_by_its_other_name_and_the_older_function_call_are_kept() -> None:
    call = [{"name": "look", "arguments": ""}, {"arguments": '{"a":'}, {"arguments": "1}"}]
    fold = folded(said(reasoning="hm "), said(reasoning="so"), *[said(function_call=piece) for piece in call])
    message = json.loads(fold.answer())["choices"][0]["message"]
    assert message["reasoning"] == "hm so"
    assert message["content"] is None
    assert message["function_call"] == {"name": "look", "arguments": '{"a":1}'}


def test_confidence_is_the_geometric_mean_of_token_probabilities() -> None:
    assert mean_probability([]) is None
    assert mean_probability([-0.1, -0.3]) == pytest.approx(0.8187, abs=1e-4)
    assert confidence_of(None) is None
    assert confidence_of(Probabilities(content=[TokenProbability(-0.2), TokenProbability(None)])) == pytest.approx(
        0.8187, abs=1e-4
    )
    assert confidence_of(Probabilities(token_logprobs=[None, 0.0])) == 1.0
    chunk = said("a")
    chunk["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -0.5}]}
    assert folded(chunk).confidence() == pytest.approx(0.6065, abs=1e-4)
    assert folded().confidence() is None


def test_a_stream_can_be_weighed_once_its_first_tokens_are_known_or_will_not_come() -> None:
    def said(text: str, *logprobs: float, **more: Any) -> bytes:
        known = {"logprobs": {"content": [{"logprob": number} for number in logprobs]}} if logprobs else {}
        return json.dumps({"choices": [{"index": 0, "delta": {"content": text, **more}, **known}]}).encode()

    def fold_of(*events: bytes) -> Fold:
        fold = Fold(chat=True)
        for event in events:
            chunk = parse_chunk(event)
            assert chunk is not None
            fold.add(chunk)
        return fold

    assert not fold_of().weighable(2)
    assert not fold_of(said(""), said("a", -1.0)).weighable(2)
    known = fold_of(said("a", -1.0), said("b", -1.0, -9.0))
    assert known.weighable(2)
    assert known.confidence(2) == pytest.approx(0.3679, abs=1e-4)
    assert fold_of(said(""), said("a"), said("b")).weighable(2), "a server that gives none is not waited for"
    assert fold_of(said("", tool_calls=[{"index": 0, "function": {"name": "f"}}])).weighable(2)
