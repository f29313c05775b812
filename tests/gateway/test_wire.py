"""Request bodies: what is read, what is refused, what is sent on."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.refusals import RefusedError
from tunekeeper.gateway.wire import error_message, parse_answer, parse_call, parse_fields, splice_of, upstream_body

LIMITS = Limits()
CHAT = "chat.completions"


def call(endpoint: str = CHAT, **body: Any) -> Any:
    return parse_call(
        json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **body}).encode(), endpoint, LIMITS
    )


def refused(body: bytes, endpoint: str = CHAT) -> tuple[str, str | None]:
    with pytest.raises(RefusedError) as error:
        parse_call(body, endpoint, LIMITS)
    return error.value.refusal.code, error.value.refusal.param


def test_the_few_fields_are_read() -> None:
    made = call(stream=True, stream_options={"include_usage": True, "x": 1}, user="u", metadata={"a": "b"})
    assert (made.model, made.stream, made.usage, made.user, made.metadata) == ("m", True, True, "u", {"a": "b"})


@pytest.mark.parametrize("half", ["\\ud83d", "\\ud83d and more of it, so that nothing is short", "\\ude00", "\\ud83dA"])
def test_a_text_that_was_cut_within_an_emoji_is_named_as_such(half: str) -> None:
    with pytest.raises(RefusedError) as error:
        parse_fields(b'{"messages":[{"content":"%s"}]}' % half.encode(), 64)
    assert error.value.refusal.code == "invalid_json"
    assert error.value.refusal.message.startswith("the body holds half of a character: ")


def test_null_means_absent() -> None:
    made = call(stream=None, stream_options=None, user=None, metadata=None)
    assert (made.stream, made.usage, made.user, made.metadata) == (False, False, None, None)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b'{"model":"\xff"}', "invalid_json", None),
        (b"{}", "invalid_value", "model"),
        (b'{"model":1}', "invalid_value", "model"),
        (b'{"model":""}', "invalid_value", "model"),
        (b'{"model":"m"}', "invalid_value", "messages"),
        (b'{"model":"m","messages":[ ]}', "invalid_value", "messages"),
        (b'{"model":"m","messages":{}}', "invalid_value", "messages"),
        (b'{"model":"m","messages":[1],"stream":"x"}', "invalid_value", "stream"),
        (b'{"model":"m","messages":[1],"stream_options":[]}', "invalid_value", "stream_options"),
        (b'{"model":"m","messages":[1],"user":1}', "invalid_value", "user"),
        (b'{"model":"m","messages":[1],"metadata":"x"}', "invalid_value", "metadata"),
        (b'{"model":"m","messages":[' + b"1," * 2000 + b"1]}", "invalid_value", "messages"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, code: str, param: str | None) -> None:
    assert refused(body) == (code, param)


def test_each_endpoint_needs_its_own_field() -> None:
    assert refused(b'{"model":"m"}', "completions") == ("invalid_value", "prompt")
    assert refused(b'{"model":"m"}', "embeddings") == ("invalid_value", "input")


def test_a_thousand_messages_are_within_the_limit() -> None:
    messages = [{"role": "user", "content": "[{" * 40}] * 1000
    assert call(messages=messages).model == "m"


def test_depth_is_measured_outside_strings() -> None:
    def nested(levels: int) -> bytes:
        opened = "".join('{"a":' if i % 2 else "[" for i in range(levels))
        closed = "".join("}" if i % 2 else "]" for i in reversed(range(levels)))
        return f'{{"x":{opened}1{closed},"y":"\\\\\\"[[[{"[" * 200}"}}'.encode()

    assert set(parse_fields(nested(63), 64)) == {"x", "y"}
    with pytest.raises(RefusedError):
        parse_fields(nested(64), 64)


def test_depth_agrees_with_a_plain_count_on_random_bodies() -> None:
    rng = random.Random(5)

    def value(depth: int) -> Any:
        kind = rng.random()
        if depth == 0 or kind < 0.1:
            return rng.choice([1, "[", '"', "\\", "{}", None])
        if kind < 0.6:
            return [value(depth - 1) for _ in range(rng.randint(0, 3))]
        return {f"k{i}{{": value(depth - 1) for i in range(rng.randint(0, 3))}

    def depth_of(found: Any) -> int:
        if isinstance(found, dict):
            return 1 + max((depth_of(v) for v in found.values()), default=0)
        if isinstance(found, list):
            return 1 + max((depth_of(v) for v in found), default=0)
        return 0

    for _ in range(300):
        body = {"a": value(7), "b": [[]] * 30}
        for limit in (3, 4, 5):
            deep = depth_of(body) > limit
            try:
                parse_fields(json.dumps(body).encode(), limit)
                refused_ = False
            except RefusedError:
                refused_ = True
            assert refused_ == deep


def test_a_body_passes_untouched_but_for_the_model_name() -> None:
    raw = b'{"z":1e-7,"model":"m","messages":[ {"role":"user"} ],"n":123456789012345678901234567890,"model":"evil"}'
    made = parse_call(raw, CHAT, LIMITS)
    assert made.model == "evil", "the last of repeated keys counts, here and upstream"
    sent = upstream_body(made, splice_of("up", None, (), None))
    assert sent == b'{"z":1e-7,"model":"up","messages":[ {"role":"user"} ],"n":123456789012345678901234567890}'


def test_a_stream_always_asks_for_usage_and_keeps_other_options() -> None:
    sent = json.loads(upstream_body(call(stream=True, stream_options={"x": 1}), splice_of("up", None, (), None)))
    assert sent["stream_options"] == {"x": 1, "include_usage": True}
    assert "stream_options" not in json.loads(upstream_body(call(), splice_of("up", None, (), None)))


def test_prompt_and_adapter_are_spliced_in() -> None:
    splice = splice_of("up", "Be brief.", ({"role": "user", "content": "q"},), 2)
    sent = json.loads(upstream_body(call(lora=[{"id": 9}]), splice))
    assert [m["content"] for m in sent["messages"]] == ["Be brief.", "q", "x"]
    assert sent["lora"] == [{"id": 2, "scale": 1}]
    assert "lora" not in json.loads(upstream_body(call(lora=[1]), splice_of("up", None, (), None, llamacpp=True)))
    assert json.loads(upstream_body(call(lora=[1]), splice_of("up", None, (), None)))["lora"] == [1]


def test_a_prompt_of_its_own_replaces_the_system_message_and_every_other_byte_stays() -> None:
    raw = b'{"model":"m","messages":[{"role":"system","content":"old"} , {"content":"\\u00e9","role":"user","x":1e-7},7]}'
    sent = upstream_body(parse_call(raw, CHAT, LIMITS), splice_of("up", "new", (), None))
    assert b'"messages":[{"role":"system","content":"new"},{"content":"\\u00e9","role":"user","x":1e-7},7]' in sent
    shots = ({"role": "assistant", "content": "r"},)
    sent = upstream_body(parse_call(raw, CHAT, LIMITS), splice_of("up", None, shots, None))
    assert [m["content"] for m in json.loads(sent)["messages"][:2]] == ["old", "r"]


def test_embeddings_never_stream() -> None:
    assert not parse_call(b'{"model":"m","input":"x","stream":true}', "embeddings", LIMITS).stream


def test_answers_give_their_few_fields_or_none() -> None:
    good = parse_answer(
        b'{"id":"i","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}', CHAT
    )
    assert good is not None
    assert good.id == "i"
    assert good.usage is not None
    assert good.usage.completion_tokens == 4
    for bad in (
        b"",
        b"{",
        b"[]",
        b'{"choices":[]}',
        b'{"error":{"message":"x"}}',
        b'{"choices":"x"}',
        b'{"choices":[{}],"id":"\xff"}',
    ):
        assert parse_answer(bad, CHAT) is None
    assert parse_answer(b'{"data":[]}', "embeddings") is not None
    assert parse_answer(b'{"data":{}}', "embeddings") is None


@pytest.mark.parametrize(
    ("odd", "tokens"),
    [
        (b'"usage":{"prompt_tokens":5.0,"completion_tokens":"7"}', 7),
        (b'"usage":[]', None),
        (b'"id":7,"usage":{"completion_tokens":7}', 7),
        (b'"usage":{"completion_tokens":-0.5,"prompt_tokens":null}', None),
    ],
)
def test_an_answer_with_a_field_of_another_type_is_an_answer(odd: bytes, tokens: int | None) -> None:
    found = parse_answer(b'{"choices":[{"finish_reason":3,"logprobs":[1]},5,{}],%s}' % odd, CHAT)
    assert found is not None
    assert (found.usage and found.usage.completion_tokens) == tokens
    assert found.choices is not None
    assert [choice.finish_reason for choice in found.choices] == [None, None]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"m"}}', "m"),
        (b'{"error":"m"}', "m"),
        (b'{"error":{"message":5}}', None),
        (b'[{"error":{"message":"m"}}]', "m"),
        (b'{"detail":"m"}', "m"),
        (b'{"detail":[{"loc":["body","messages"],"msg":"field required"},{"msg":"bad"}]}', "body.messages: field required; bad"),
        (b'{"object":"error","message":"m"}', "m"),
        (b'{"message":["x"]}', None),
        (b'{"detail":[5]}', None),
        (b"[]", None),
        (b"[5]", None),
        (b"x", None),
        (b"{}", None),
    ],
)
def test_error_messages_are_found_in_the_shapes_that_servers_use(body: bytes, message: str | None) -> None:
    assert error_message(body) == message


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("embeddings", {"messages": [{"role": "user", "content": "x"}]}),
        ("completions", {"prompt_embeds": "AAAA", "prompt": None}),
    ],
)
def test_what_vllm_takes_in_place_of_a_text_is_sent_on(endpoint: str, fields: dict[str, Any]) -> None:
    made = parse_call(json.dumps({"model": "m", **fields}).encode(), endpoint, LIMITS)
    assert json.loads(upstream_body(made, splice_of("big", "Be kind.", (), None))) == {"model": "big", **fields}


@pytest.mark.parametrize(("endpoint", "param"), [("embeddings", "input"), ("completions", "prompt"), (CHAT, "messages")])
def test_a_request_without_what_is_asked_names_the_field(endpoint: str, param: str) -> None:
    nothing = {"messages": None, "prompt_embeds": None, "input": None}
    assert refused(json.dumps({"model": "m", **nothing}).encode(), endpoint) == ("invalid_value", param)
    assert refused(b'{"model":"m"}', endpoint) == ("invalid_value", param)


@pytest.mark.parametrize(
    ("body", "said"), [(b"", "has no body"), (b" \r\n", "has no body"), (b'\xef\xbb\xbf{"model":"m"}', "byte order mark")]
)
def test_what_a_body_lacks_or_has_too_much_is_said(body: bytes, said: str) -> None:
    with pytest.raises(RefusedError) as error:
        parse_fields(body, 64)
    assert (error.value.refusal.code, said in error.value.refusal.message) == ("invalid_json", True)
