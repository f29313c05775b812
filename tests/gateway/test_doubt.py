"""Fallback on low confidence: judged before the first byte, kept for want of better, and invisible to who did not ask."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from tests.patience import until
from tunekeeper.core.nouns.serving import FallbackEntry, Timeouts
from tunekeeper.gateway.budget import LEAST
from tunekeeper.gateway.doubt import FIRST_TOKENS, Watch, doubtful, probing, without_probabilities
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.streaming import Stream
from tunekeeper.gateway.wire import Call, parse_call

MODEL = "support-desk"
FALL_TO_B = (FallbackEntry(slot="b"),)
TEXT = "one two three four five six seven eight nine ten eleven twelve"


def events(response: httpx.Response) -> list[str]:
    return [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]


def text_of(response: httpx.Response) -> str:
    chunks = [json.loads(event) for event in events(response)[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


def call(endpoint: str = "chat.completions", **more: Any) -> Call:
    body = {"model": "m", "messages": [], "prompt": "p", "input": "i", **more}
    body["messages"] = [{"role": "user", "content": "x"}]
    return parse_call(json.dumps(body).encode(), endpoint, Limits())


# ---- decisions ----


@pytest.mark.parametrize(("confidence", "is_"), [(0.49, True), (0.5, False), (0.9, False), (None, False), (0.0, True)])
def test_an_answer_is_doubtful_only_under_the_floor_and_only_when_its_confidence_is_known(
    confidence: float | None, is_: bool
) -> None:
    assert doubtful(confidence, 0.5) is is_


@pytest.mark.parametrize(
    ("made", "sent", "strips"),
    [
        (call(), b"true", True),
        (call(logprobs=False), b"true", True),
        (call(logprobs=None), b"true", True),
        (call(logprobs=True), b"true", False),
        (call(tools=[]), b"true", True),
        (call("completions"), b"1", True),
        (call("completions", logprobs=0), b"0", False),
        (call("completions", logprobs=5), b"5", False),
        (call(n_probs=0), b"true", True),
        (call(n_probs=None), b"true", True),
    ],
)
def test_log_probabilities_are_asked_for_where_the_client_did_not(made: Call, sent: bytes, strips: bool) -> None:
    before = dict(made.fields)
    probe = probing(made)
    assert probe is not None
    assert (bytes(probe[0].fields["logprobs"]), probe[1]) == (sent, strips)
    assert made.fields == before, "the client's own call is left as it was"


def test_a_client_that_asks_llama_cpp_in_its_own_words_keeps_what_it_asked_for() -> None:
    made = call("completions", n_probs=2)
    assert probing(made) == (made, False)


@pytest.mark.parametrize("made", [call("embeddings"), call(stream=True, tools=[])])
def test_what_cannot_have_log_probabilities_is_not_judged(made: Call) -> None:
    assert probing(made) is None


def test_only_the_log_probabilities_are_taken_out_of_an_answer() -> None:
    said = b'{"x":12345678901234567890123,"choices":[{"index":0,"text":"\\"logprobs\\"","logprobs":{"tokens":[]},"y":1.50}]}'
    assert (
        without_probabilities(said) == b'{"x":12345678901234567890123,"choices":[{"index":0,"text":"\\"logprobs\\"","y":1.50}]}'
    )
    for untouched in (b'{"choices": []}', b'{"logprobs" : 1}', b'not "logprobs" json', b'{"choices":"\\"logprobs\\""}'):
        assert without_probabilities(untouched) == untouched


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream_is_held_until_its_first_tokens_however_it_is_cut(size: int) -> None:
    def chunk(number: int, logprob: float) -> bytes:
        known = {"content": [{"token": "t", "logprob": logprob}]}
        said = {"choices": [{"index": 0, "delta": {"content": f"t{number} "}, "logprobs": known}]}
        return b"data: " + json.dumps(said).encode() + b"\n\n"

    sure = b"".join(chunk(i, -0.1) for i in range(FIRST_TOKENS)) + chunk(99, -50.0)
    stream, watch = Stream(call(stream=True)), Watch(0.5, strips=True)
    heard = b""
    for at in range(0, len(sure), size):
        passed = watch.take(stream.feed(sure[at : at + size]).forward, stream)
        assert passed is not None
        assert passed == b"" or len(stream.fold.choices[0].logprobs) >= FIRST_TOKENS
        heard += passed
    assert heard.count(b"data: ") == FIRST_TOKENS + 1, "what comes after the first tokens is not judged"
    assert b"logprob" not in heard

    unsure, watch = Stream(call(stream=True)), Watch(0.5, strips=True)
    data = b"".join(chunk(i, -2.0) for i in range(FIRST_TOKENS))
    found = [watch.take(unsure.feed(data[at : at + size]).forward, unsure) for at in range(0, len(data), size)]
    assert found[-1] is None
    assert set(found[:-1]) <= {b""}
    assert watch.confidence == pytest.approx(0.1353, abs=1e-4)
    assert watch.release().count(b"data: ") == FIRST_TOKENS


# ---- through the gateway ----


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_under_the_floor_comes_from_the_fallback_instead(bench: Any, stream: bool) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    bench.a.script.append("unsure")
    response = bench.chat(TEXT, stream=stream)
    assert response.status_code == 200
    assert (response.headers["x-tunekeeper-variant"], response.headers["x-tunekeeper-slot"]) == ("fallback", "b")
    said = text_of(response) if stream else response.json()["choices"][0]["message"]["content"]
    assert said == f"you said: {TEXT}"
    record = bench.record(response)
    assert (record["slot_assigned"], record["slot"], record["status"]) == ("a", "b", "ok")
    first, second = record["attempts"]
    assert (first["slot"], first["error"], first["confidence"]) == ("a", "low_confidence", pytest.approx(0.1, abs=0.001))
    assert (second["slot"], second["error"], second["confidence"]) == ("b", None, None)
    assert bench.a.bodies[-1]["logprobs"] is True
    assert "logprobs" not in bench.b.bodies[-1], "the last entry's answer is not judged"


@pytest.mark.parametrize("stream", [False, True])
def test_a_confident_answer_passes_without_what_nobody_asked_for(bench: Any, stream: bool) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    response = bench.chat(TEXT, stream=stream)
    assert response.headers["x-tunekeeper-slot"] == "a"
    assert "logprob" not in response.text
    record = bench.record(response)
    assert record["confidence"] == pytest.approx(0.9048, abs=1e-4)
    assert "logprobs" not in json.dumps([record["response"], record["request"]])
    assert bench.b.counts.requests == 0
    if stream:
        assert events(response)[-1] == "[DONE]"
        assert text_of(response) == f"you said: {TEXT}"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_asked_for_log_probabilities_keeps_them(bench: Any, stream: bool) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    assert '"logprob"' in bench.chat(TEXT, stream=stream, logprobs=True).text
    bench.a.script.append("unsure")
    response = bench.chat(TEXT, stream=stream, logprobs=True)
    assert response.headers["x-tunekeeper-slot"] == "b"
    assert '"logprob"' in response.text


def test_the_official_client_streams_over_a_floor(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    bench.a.script.extend(["unsure", "ok"])
    with openai.OpenAI(base_url=bench.url + "/v1", api_key="unused", max_retries=0, timeout=60) as ai:
        for _ in range(2):
            chunks = list(ai.completions.create(model=MODEL, prompt=TEXT, stream=True))
            assert "".join(c.choices[0].text for c in chunks) == f"you said: {TEXT}"
            assert all(c.choices[0].logprobs is None for c in chunks)
    assert [b["logprobs"] for b in bench.a.bodies] == [1, 1]


def test_without_a_floor_nothing_is_asked_for_and_nothing_changes(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B)
    bench.a.default = "unsure"
    assert bench.chat(TEXT).headers["x-tunekeeper-slot"] == "a"
    assert "logprobs" not in bench.a.bodies[-1]
    bench.publish(confidence_floor=0.5)
    assert bench.chat(TEXT).headers["x-tunekeeper-slot"] == "a", "there is nowhere else to ask"
    assert "logprobs" not in bench.a.bodies[-1]
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    assert bench.chat(TEXT, model=f"{MODEL}@champion").headers["x-tunekeeper-slot"] == "a", "asked for by name"


@pytest.mark.parametrize("how", ["500", "hang", "cut", "close"])
@pytest.mark.parametrize("stream", [False, True])
def test_when_the_fallback_fails_the_doubtful_answer_is_better_than_an_error(bench: Any, how: str, stream: bool) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5, timeouts=Timeouts(first_token=1.0))
    bench.a.script.append("unsure")
    bench.b.script.append("garbage_body" if how == "cut" and stream else how)
    response = bench.chat(TEXT, stream=stream)
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "a")
    assert response.headers["x-tunekeeper-variant"] == "champion"
    assert "logprob" not in response.text
    assert (text_of(response) if stream else response.json()["choices"][0]["message"]["content"]) == f"you said: {TEXT}"
    record = bench.record(response)
    assert (record["slot_assigned"], record["slot"], record["status"]) == ("a", "a", "ok")
    assert [attempt["slot"] for attempt in record["attempts"]] == ["a", "b"]
    assert record["attempts"][0]["error"] == "low_confidence"
    assert record["attempts"][1]["error"].startswith("upstream_")
    assert record["confidence"] == pytest.approx(0.1, abs=0.001)
    assert record["completion_tokens"] == len(TEXT.split()) + 2


def test_a_doubtful_stream_runs_on_while_the_fallback_is_asked(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    bench.a.script.append("unsure_drip:0.02")
    bench.b.script.append("500")
    response = bench.chat(TEXT, stream=True)
    assert text_of(response) == f"you said: {TEXT}"
    assert "logprob" not in response.text
    assert bench.record(response)["status"] == "ok"


def test_a_better_stream_ends_the_doubtful_one(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    bench.a.script.append("unsure_drip:0.05")
    response = bench.chat(TEXT * 20, stream=True)
    assert response.headers["x-tunekeeper-slot"] == "b"
    until(lambda: bench.a.counts.aborted == 1)


def test_of_two_doubtful_answers_the_less_doubtful_one_is_given(bench: Any) -> None:
    entries = (FallbackEntry(slot="b"), FallbackEntry(slot="a", system="Be short."))
    bench.publish(fallback=entries, confidence_floor=0.95)
    bench.a.script.extend(["unsure", "500"])
    response = bench.chat(TEXT)
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
    assert [attempt["error"] for attempt in bench.record(response)["attempts"]] == [
        "low_confidence",
        "low_confidence",
        "upstream_error",
    ]


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_refuses_log_probabilities_is_asked_without_and_keeps_its_users(bench: Any, stream: bool) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    bench.a.default = "no_logprobs"
    first = bench.chat(TEXT, stream=stream)
    assert (first.status_code, first.headers["x-tunekeeper-slot"]) == (200, "a")
    assert [(each["slot"], each["error"]) for each in bench.record(first)["attempts"]] == [
        ("a", "upstream_rejected"),
        ("a", None),
    ]
    second = bench.chat(TEXT, stream=stream)
    assert [(each["slot"], each["error"]) for each in bench.record(second)["attempts"]] == [("a", None)]
    assert (bench.a.counts.requests, bench.b.counts.requests) == (3, 0)
    assert not any("logprobs" in body for body in list(bench.a.bodies)[1:])


def test_one_that_refuses_them_and_fails_without_them_falls_back_as_ever(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    bench.a.script.extend(["400", "503"])
    response = bench.chat(TEXT)
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
    bench.a.script.append("unsure")
    assert bench.chat(TEXT).headers["x-tunekeeper-slot"] == "b", "it never answered without, so it is judged on"


def test_the_client_s_own_mistake_is_told_once_the_server_has_said_it_twice(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    bench.a.script.extend(["400", "400"])
    response = bench.chat(TEXT)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "upstream_rejected")
    assert bench.b.counts.requests == 0
    bench.a.script.append("unsure")
    assert bench.chat(TEXT).headers["x-tunekeeper-slot"] == "b"


def test_every_doubtful_answer_is_asked_for_again_however_many_there_are(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B, confidence_floor=0.5)
    bench.a.default = "unsure"
    found = [bench.chat(TEXT, stream=number % 2 == 1).headers["x-tunekeeper-slot"] for number in range(3 * LEAST)]
    assert set(found) == {"b"}
