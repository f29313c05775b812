"""A request that does not fit into its server's context has a code of its own, in whatever words the server says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import FallbackEntry
from tunekeeper.gateway.outcome import Failed, Rejected, judge
from tunekeeper.gateway.overflow import OVERFLOW, overflows
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
