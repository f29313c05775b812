"""A request that does not fit into its server's context has a code of its own, in whatever words the server says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import FallbackEntry
from tunekeeper.gateway.outcome import Failed, Rejected, judge
from tunekeeper.gateway.overflow import OVERFLOW, UNSUPPORTED, overflows
from tunekeeper.gateway.wire import error_message

CHAT = "chat.completions"
VLLM_OLD = {
    "object": "error",
    "message": "The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make sure that …",
    "type": "BadRequestError",
    "code": 400,
}


def envelope(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, envelope("This model's maximum context length is 4097 tokens. However, you requested 5000 tokens.")),
        (400, envelope("Input tokens exceed the configured limit of 272000 tokens.", code="context_length_exceeded")),
        (400, envelope("No words of ours.", code="context_length_exceeded")),
        (400, envelope("the request exceeds the available context size (4096 tokens)", type="exceed_context_size_error")),
        (500, envelope("the request exceeds the available context size. try increasing the context size", code=500)),
        (500, envelope("Context size has been exceeded.", code=500, type="server_error")),
        (500, envelope("input is too large to process. increase the physical batch size", code=500)),
        (200, envelope("the request exceeds the available context size", type="exceed_context_size_error")),
        (400, VLLM_OLD),
        (400, envelope("This model's maximum context length is 2048 tokens. However, you requested 3000 tokens.", code=400)),
        (400, envelope("You passed 4097 input tokens. However, the model's context length is only 4096 tokens", code=400)),
        (400, envelope("'max_tokens' is too large: 5000. This model's maximum context length is 2048 tokens and …")),
        (400, envelope("The prompt (total length 25938) is too long to fit into the model (context length 4096).")),
        (400, {"error": "the input length exceeds the context length"}),
        (500, {"error": "input length exceeds maximum context length"}),
        (400, {"error": {"message": "prompt too long; exceeded max context length by 213 tokens", "type": "api_error"}}),
        (400, envelope("Requested tokens (2285) exceed context window of 2048", type="invalid_request_error")),
        (400, envelope("prompt is too long: 210000 tokens > 200000 maximum")),
        (400, [{"error": {"code": 400, "message": "The input token count (1100000) exceeds the maximum number of tokens"}}]),
        (413, envelope("Please shorten it.", code="context_length_exceeded")),
    ],
)
def test_every_server_s_words_get_the_one_code(status: int, body: Any) -> None:
    verdict = judge(status, {}, json.dumps(body).encode(), CHAT)
    assert isinstance(verdict, Rejected)
    assert (verdict.code, verdict.status) == (OVERFLOW, 413 if status == 413 else 400)


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 5000. This model supports at most 4096 completion tokens.",
        "out of memory",
        "The context of this question is unclear",
        "Rate limit exceeded",
        "Invalid value for 'messages[0].content'",
        "Unsupported parameter: 'context'",
        "loading model",
    ],
)
def test_other_complaints_do_not(message: str) -> None:
    body = json.dumps(envelope(message)).encode()
    assert not overflows(body, error_message(body))
    verdict = judge(400, {}, body, CHAT)
    assert isinstance(verdict, Rejected)
    assert verdict.code == "upstream_rejected"


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b"7", b'{"error":7}', b'{"error":{"code":7}}', b"[" * 9_000])
def test_a_body_that_says_nothing_is_no_overflow(body: bytes) -> None:
    assert not overflows(body, error_message(body))
    assert isinstance(judge(500, {}, body, CHAT), Failed)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["overflow", "overflow_in_stream"])
def test_record_metric_and_answer_name_it_and_the_server_is_not_to_blame(bench: Any, how: str, stream: bool) -> None:
    for _ in range(8):
        bench.a.script.append(how)
        response = bench.chat("x" * 500, stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (400, OVERFLOW)
    record = bench.record(response)
    assert (record["status"], record["error"], record["http_status"]) == ("error", OVERFLOW, 400)
    assert bench.chat().status_code == 200, "eight of them do not make a server ill"
    assert (
        f'model_inference_errors_total{{model_id="support-desk",variant="champion",error="{OVERFLOW}"}} 8'
        in bench.get("/metrics").text
    )


def picture(bench: Any) -> Any:
    shown = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    return bench.chat(messages=[{"role": "user", "content": shown}])


def test_a_picture_that_a_server_does_not_take_is_the_callers_and_no_reason_to_rest(bench: Any) -> None:
    bench.a.default = "no_images"
    for _ in range(8):
        response = picture(bench)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "input_unsupported")
        assert error["message"].startswith("image input is not supported")
    assert bench.record(response)["error"] == "input_unsupported"
    assert bench.chat().status_code == 200, "eight of them do not make a server ill"


def test_a_fallback_may_take_the_picture(bench: Any) -> None:
    bench.a.default = "no_images"
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    response = picture(bench)
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
    assert [attempt["error"] for attempt in bench.record(response)["attempts"]] == ["input_unsupported", None]


ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
PLACE = (
    "\n------------\nWhile executing CallExpression at line 1, column 226 in source:\n"
    "...op.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user...\n" + 43 * " " + "^\n"
)
PARSER = "Unable to generate parser for this template. Automatic parser generation failed: "


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        (500, f"{PLACE}Error: Jinja Exception: {ALTERNATE}", f"the chat template refuses this: {ALTERNATE}"),
        (400, f"{PARSER}{PLACE}Error: Jinja Exception: {ALTERNATE}", f"the chat template refuses this: {ALTERNATE}"),
        (500, f"{PLACE}Error: Jinja Exception: Only yes!", "the chat template refuses this: Only yes!"),
        (
            500,
            "Only yes! at row 19, column 27:\n{%- if x -%}\n    {{ raise_exception('Only yes!') }}\n     ^\n{%- endif -%}\n",
            "the chat template refuses this: Only yes!",
        ),
        (500, "tools param requires --jinja flag", None),
        (500, 'Failed to parse messages: Missing \'role\' in message: {"content":"x"}', None),
        (501, "This server does not support embeddings. Start it with `--embeddings`", None),
        (501, "Not implemented here", None),
        (400, ALTERNATE, None),
        (400, "System role not supported", None),
        (400, "Qwen/Qwen3-8B is not a multimodal model", None),
        (400, "At most 0 image(s) may be provided in one prompt.", None),
        (400, "registry.ollama.ai/library/gemma:2b does not support tools", None),
        (200, ALTERNATE, None),
    ],
)
def test_what_a_template_or_a_server_does_not_take_is_told_without_the_place_in_the_template(
    status: int, message: str, said: str | None
) -> None:
    verdict = judge(status, {}, json.dumps(envelope(message)).encode(), CHAT)
    assert isinstance(verdict, Failed)
    assert (verdict.refusal.code, verdict.refusal.message) == (UNSUPPORTED, said or message)


@pytest.mark.parametrize(
    "message", [f"{PLACE}Error: Value is not callable: null", "Failed to decode the batch", "system memory not supported"]
)
def test_a_server_that_cannot_render_its_template_is_ill(message: str) -> None:
    verdict = judge(500, {}, json.dumps(envelope(message)).encode(), CHAT)
    assert isinstance(verdict, Failed)
    assert verdict.refusal.code == "upstream_error"


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("endpoint", ["embeddings", "completions"])
@pytest.mark.parametrize("body", [b"", b'{"detail":"Not Found"}', b'{"error":{"code":404,"message":"File Not Found"}}'])
def test_an_endpoint_that_a_server_does_not_have_is_no_illness(status: int, endpoint: str, body: bytes) -> None:
    verdict = judge(status, {}, body, endpoint)
    assert isinstance(verdict, Failed)
    assert verdict.refusal.code == UNSUPPORTED
    if status != 501:  # that one is about the server, whatever it names
        unknown = judge(status, {}, b'{"error":{"message":"The model `big` does not exist."}}', endpoint)
        assert isinstance(unknown, Failed)
        assert unknown.refusal.code == "upstream_error", "its name is wrong, and whoever runs the gateway must learn of it"


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_that_a_template_refuses_is_no_reason_to_rest_and_a_fallback_may_take_it(bench: Any, stream: bool) -> None:
    bench.a.default = "template"
    for _ in range(8):
        response = bench.chat(stream=stream)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "input_unsupported")
        assert error["message"] == f"the chat template refuses this: {ALTERNATE}"
    bench.a.default = "ok"
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    assert bench.chat().headers["x-tunekeeper-slot"] == "a", "eight of them do not make a server ill"
    bench.a.default = "template"
    response = bench.chat(stream=stream)
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
    assert [attempt["error"] for attempt in bench.record(response)["attempts"]] == ["input_unsupported", None]


def test_all_that_one_server_does_not_take_goes_to_the_fallback_whatever_the_retry_budget_says(bench: Any) -> None:
    bench.a.default = "template"
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    assert {bench.chat().headers["x-tunekeeper-slot"] for _ in range(20)} == {"b"}
    assert bench.a.counts.requests == 20, "it is asked each time: the next request may be one that it takes"
