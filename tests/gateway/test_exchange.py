"""One request's life, seen from outside: what the client gets, what the model server sees, what the log says."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.patience import until
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import FallbackEntry, Timeouts
from tunekeeper.gateway.budget import LEAST, SHARE, WINDOW
from tunekeeper.gateway.health import FAILURES
from tunekeeper.store.log import Log

MODEL = "support-desk"
FALL_TO_B = (FallbackEntry(slot="b"),)
ENOUGH = 2.5
"""Seconds for a first token: what a test waits for a silent server, and more than a living one ever needs on a busy machine."""


def client(bench: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=bench.url + "/v1", api_key="unused", max_retries=0, timeout=60)


def ask(bench: Any, **more: Any) -> Any:
    with client(bench) as ai:
        return ai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "where is my parcel"}], **more)


def events(response: httpx.Response) -> list[str]:
    return [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]


def test_the_official_client_gets_a_plain_answer(bench: Any) -> None:
    answer = ask(bench, user="u1")
    assert answer.choices[0].message.content == "you said: where is my parcel"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 6


def test_the_official_client_gets_a_stream(bench: Any) -> None:
    with client(bench) as ai:
        stream = ai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "where is it"}], stream=True)
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "you said: where is it"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(c.choices for c in chunks), "the usage chunk was not asked for"
    record = bench.records(1)[0]
    assert (record["status"], record["prompt_tokens"], record["completion_tokens"]) == ("ok", 5, 5)
    assert record["response"]["choices"][0]["message"]["content"] == "you said: where is it"


def test_a_stream_that_asked_for_usage_gets_it(bench: Any) -> None:
    response = bench.chat(stream=True, stream_options={"include_usage": True})
    assert [json.loads(e)["usage"]["prompt_tokens"] for e in events(response) if '"choices": []' in e] == [5]
    assert bench.a.bodies[-1]["stream_options"] == {"include_usage": True}


def test_answers_are_asked_for_unpacked(bench: Any) -> None:
    bench.chat()
    assert bench.a.heads[-1]["accept-encoding"] == "identity"


def test_answer_headers_say_who_answered_and_under_which_id(bench: Any) -> None:
    response = bench.chat(headers={"x-request-id": "client-7"})
    got = response.headers
    assert got["x-request-id"] == "client-7"
    assert got["x-tunekeeper-version"] == "v1.0-2026-01-05-812examples"
    assert (got["x-tunekeeper-variant"], got["x-tunekeeper-slot"], got["x-tunekeeper-route-version"]) == ("champion", "a", "1")
    record = bench.record(response)
    assert (record["client_request_id"], record["route_version"], record["weight"]) == ("client-7", 1, 10_000)
    assert bench.chat().headers["x-request-id"].startswith("req_")


def test_unknown_fields_reach_the_model_server_and_big_numbers_keep_their_digits(bench: Any) -> None:
    body = (
        '{"model":"support-desk","messages":[{"role":"user","content":"x"}],"seed":123456789012345678901234567890,"grammar":"g"}'
    )
    response = bench.http.post(bench.url + "/v1/chat/completions", content=body, timeout=60)
    assert response.status_code == 200
    assert bench.a.bodies[-1]["seed"] == 123456789012345678901234567890
    assert bench.a.bodies[-1]["grammar"] == "g"
    assert bench.a.bodies[-1]["model"] == "v1.0-2026-01-05-812examples"


def test_completions_and_embeddings_pass_through(bench: Any) -> None:
    with client(bench) as ai:
        assert ai.completions.create(model=MODEL, prompt="tell").choices[0].text == "you said: tell"
        assert ai.embeddings.create(model=MODEL, input="tell", encoding_format="float").data[0].embedding == [0.0, 1.0]
        pieces = [c.choices[0].text for c in ai.completions.create(model=MODEL, prompt="tell", stream=True)]
    assert "".join(pieces) == "you said: tell"
    assert [r["endpoint"] for r in bench.records(3)] == ["completions", "embeddings", "completions"]


def test_a_slots_prompt_and_adapter_are_put_into_the_body(bench: Any) -> None:
    shots = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "r"})
    bench.publish(slot={"system": "Triage.", "messages": shots, "adapter": 3, "engine": "llamacpp", "api_key_env": "UP_KEY"})
    assert bench.chat("hi", lora=[{"id": 0, "scale": 1}]).status_code == 200
    sent = bench.a.bodies[-1]
    assert [m["content"] for m in sent["messages"]] == ["Triage.", "q", "r", "hi"]
    assert sent["lora"] == [{"id": 3, "scale": 1}]
    assert bench.a.heads[-1]["authorization"] == "Bearer secret-upstream"


def test_a_client_cannot_choose_an_adapter_of_a_llamacpp_slot(bench: Any) -> None:
    bench.publish(slot={"engine": "llamacpp"})
    bench.chat(lora=[{"id": 1, "scale": 1}])
    assert "lora" not in bench.a.bodies[-1]


ANY = ["500", "503", "close", "garbage", "garbage_body", "error_in_200", "429", "404"]


@pytest.mark.parametrize(
    ("how", "stream"), [*[(how, stream) for how in ANY for stream in (False, True)], ("cut", False), ("wrong_length", False)]
)
def test_a_failure_before_the_first_byte_falls_back(bench: Any, how: str, stream: bool) -> None:
    bench.publish(fallback=FALL_TO_B)
    bench.a.script.append(how)
    response = bench.chat(stream=stream)
    assert response.status_code == 200
    assert (response.headers["x-tunekeeper-variant"], response.headers["x-tunekeeper-slot"]) == ("fallback", "b")
    record = bench.record(response)
    assert (record["slot_assigned"], record["slot"], record["version"]) == ("a", "b", "v1.1-2026-02-09-1004examples")
    assert [a["slot"] for a in record["attempts"]] == ["a", "b"]
    assert record["attempts"][0]["error"].startswith("upstream_")
    assert record["attempts"][1]["error"] is None


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("500", 502, "upstream_error"),
        ("garbage", 502, "upstream_garbage"),
        ("garbage_body", 502, "upstream_garbage"),
        ("error_in_200", 502, "upstream_error"),
        ("close", 502, "upstream_error"),
        ("cut", 502, "upstream_truncated"),
        ("429", 429, "upstream_rate_limited"),
        ("400", 400, "upstream_rejected"),
    ],
)
def test_a_failure_without_a_fallback_is_said_with_a_stable_code(bench: Any, how: str, status: int, code: str) -> None:
    bench.a.script.append(how)
    response = bench.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.headers.get("retry-after") == ("7" if how == "429" else None)
    record = bench.record(response)
    assert (record["status"], record["error"], record["http_status"]) == ("error", code, status)


def test_a_callers_mistake_is_not_sent_to_another_server(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B)
    bench.a.script.append("400")
    response = bench.chat()
    assert (response.status_code, response.json()["error"]["message"]) == (400, "bad request")
    assert bench.b.counts.requests == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["hang", "hang_body"])
def test_the_first_token_deadline_moves_on_to_the_fallback(bench: Any, how: str, stream: bool) -> None:
    bench.publish(fallback=FALL_TO_B, timeouts=Timeouts(first_token=ENOUGH))
    bench.a.script.append(how)
    began = time.monotonic()
    response = bench.chat(stream=stream)
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
    assert time.monotonic() - began > 0.9 * ENOUGH
    assert bench.record(response)["attempts"][0]["error"] == "upstream_timeout"


def test_without_a_fallback_a_silent_server_is_a_504(bench: Any) -> None:
    bench.publish(timeouts=Timeouts(first_token=0.1))
    bench.a.script.append("hang")
    response = bench.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout")


def test_the_total_deadline_ends_a_request_however_many_candidates_are_left(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B, timeouts=Timeouts(first_token=5, total=0.2))
    bench.a.script.append("hang")
    assert bench.chat().status_code == 504
    assert bench.b.counts.requests == 0


def test_a_slot_without_an_address_is_skipped(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B)
    bench.replace_slot("a", endpoint=None)
    assert bench.chat().headers["x-tunekeeper-slot"] == "b"
    bench.replace_slot("b", endpoint="ftp://nowhere")
    response = bench.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "slot_unavailable")


def test_an_unreachable_server_is_a_502(bench: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bench.replace_slot("a", endpoint=f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        response = bench.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize("how", ["early_end", "cut"])
def test_a_stream_that_ends_early_gets_an_error_event_and_never_an_invented_reason(bench: Any, how: str) -> None:
    bench.publish(fallback=FALL_TO_B)
    bench.a.script.append(how)
    response = bench.chat("one two three four five", stream=True)
    seen = events(response)
    assert json.loads(seen[-1])["error"]["code"] == "upstream_truncated"
    assert "[DONE]" not in seen
    assert not any('"stop"' in event for event in seen)
    record = bench.record(response)
    assert (record["status"], record.get("finish_reason"), record["slot"]) == ("truncated", None, "a")
    assert record["response"]["choices"][0]["message"]["content"].startswith("you said:")
    assert record["response"]["choices"][0]["finish_reason"] is None
    assert bench.b.counts.requests == 0, "no retry after the first byte"


def test_the_official_client_raises_on_a_truncated_stream(bench: Any) -> None:
    bench.a.script.append("early_end")
    with client(bench) as ai, pytest.raises(openai.APIError):
        list(ai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "a b c"}], stream=True))


def test_an_error_event_is_passed_on_in_the_servers_own_words(bench: Any) -> None:
    bench.a.script.append("error_in_stream")
    bench.a.delay = 0.02
    response = bench.chat("one two three", stream=True)
    assert json.loads(events(response)[-1])["error"]["message"] == "out of memory"
    assert bench.record(response)["status"] == "error"


def test_a_stream_that_stalls_is_cut_by_the_deadline_between_tokens(bench: Any) -> None:
    bench.publish(timeouts=Timeouts(between_tokens=0.2))
    bench.a.script.append("drip:3")
    response = bench.chat("one two three", stream=True)
    assert json.loads(events(response)[-1])["error"]["code"] == "upstream_timeout"
    assert bench.record(response)["status"] == "truncated"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_the_model_server(bench: Any, stream: bool) -> None:
    bench.a.default = "drip:0.1" if stream else "slow:300"
    body = json.dumps({"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": "word " * 2000}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", bench.port)) as sock:
        sock.sendall(head + body)
        if stream:
            heard = b""
            while b"said" not in heard:
                heard += sock.recv(4096)
        else:
            until(lambda: bench.a.counts.active == 1)
    until(lambda: bench.a.counts.aborted == 1)
    record = bench.records(1)[0]
    assert (record["status"], record["error"]) == ("cancelled", "client_closed")
    if stream:
        assert record["response"]["choices"][0]["message"]["content"].startswith("you said")


def test_what_is_asked_is_noted_while_the_model_server_works(bench: Any) -> None:
    bench.a.script.append("hang")
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "I am jane@example.org"}]}).encode()
    with socket.create_connection(("127.0.0.1", bench.port)) as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        opened = bench.records(1, "O")[0]
        until(lambda: bench.a.counts.active == 1)
    ended = bench.records(1)[0]
    assert (ended["request_id"], ended["status"]) == (opened["request_id"], "cancelled")
    assert "request" not in opened
    assert ended["request"]["messages"][0]["content"] == "I am [EMAIL]"
    assert bench.a.bodies[-1]["messages"][0]["content"] == "I am jane@example.org"


def _streamed(text: str) -> bytes:
    body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": text}]}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def test_a_client_that_reads_nothing_is_given_up_and_its_model_server_not_blamed(bench: Any) -> None:
    bench.publish(timeouts=Timeouts(between_tokens=0.1), fallback=(FallbackEntry(slot="b"),))
    bench.a.answer = lambda body: ("w" * 1000 + " ") * 1000
    clients = [bench.narrow(_streamed("hi")) for _ in range(5)]
    ended = {(r["status"], r["error"], r["attempts"][0]["error"]) for r in bench.records(5)}
    for client in clients:
        client.close()
    assert ended == {("cancelled", "client_slow", "cancelled")}
    assert bench.gateway.health.calm, "five failures would have ejected it"
    bench.a.answer = lambda body: "fine"
    assert bench.chat().headers["x-tunekeeper-slot"] == "a"


def test_a_client_that_reads_slowly_gets_its_whole_stream_however_long_a_piece_takes(bench: Any) -> None:
    bench.publish(timeouts=Timeouts(between_tokens=0.2))
    text = ("w" * 1000 + " ") * 200
    bench.a.answer = lambda body: text
    heard = bytearray()
    with bench.narrow(_streamed("hi")) as sock:
        while not heard.endswith(b"0\r\n\r\n"):
            time.sleep(0.02)
            piece = sock.recv(16_384)
            assert piece, "the stream was cut"
            heard += piece
    assert (heard.count(b"w" * 1000), b"data: [DONE]" in heard) == (200, True)
    assert bench.records(1)[0]["status"] == "ok"


def test_a_kept_connection_that_died_is_replaced_without_the_client_noticing(bench: Any) -> None:
    assert bench.chat().status_code == 200
    assert bench.chat().status_code == 200
    assert bench.a.counts.connections == 1
    bench.a.script.append("close")  # the server closes the kept connection instead of answering
    response = bench.chat()
    assert response.status_code == 200
    assert len(bench.record(response)["attempts"]) == 1
    assert (bench.a.counts.requests, bench.a.counts.connections) == (4, 2)


def test_an_answer_of_a_fresh_connection_is_never_asked_for_twice(bench: Any) -> None:
    bench.a.script.append("close")
    assert bench.chat().status_code == 502
    assert bench.a.counts.requests == 1


def test_a_fallback_entry_brings_its_own_prompt(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="a", system="Answer simply."),))
    bench.a.script.extend(["500", "ok"])
    asked = [{"role": "system", "content": "Be formal."}, {"role": "user", "content": "hi"}]
    response = bench.chat(messages=asked)
    assert (response.status_code, response.headers["x-tunekeeper-variant"]) == (200, "fallback")
    assert [body["messages"][0]["content"] for body in bench.a.bodies] == ["Be formal.", "Answer simply."]
    assert [m["role"] for m in bench.a.bodies[-1]["messages"]] == ["system", "user"], "many templates refuse a second one"
    assert bench.record(response)["request"]["messages"] == asked


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_with_half_an_emoji_comes_as_it_is_and_leaves_the_log_sound(bench: Any, stream: bool) -> None:
    bench.a.answer = lambda body: "half \ud83d of it"
    response = bench.chat(stream=stream)
    assert response.status_code == 200
    assert b"\\ud83d" in response.content
    request_id = bench.record(response)["request_id"]
    log = Log(bench.root, ManualClock())
    found = log.load(request_id)
    assert (found.status, found.answer) == ("ok", "half \ufffd of it")
    assert (log.verify()["corrupt"], log.verify()["open"]) == (0, 0)


@pytest.mark.parametrize("how", ["500", "hang_body", "pings"])
def test_a_fallback_entry_brings_its_own_prompt_and_examples_to_a_stream(bench: Any, how: str) -> None:
    shots = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "r"})
    entry = FallbackEntry(slot="b", system="Answer simply.", messages=shots)
    bench.publish(slot={"system": "Triage."}, fallback=(entry,), timeouts=Timeouts(first_token=ENOUGH))
    bench.a.script.append(how)
    response = bench.chat("hi there", stream=True)
    assert (response.status_code, response.headers["x-tunekeeper-variant"]) == (200, "fallback")
    assert events(response)[-1] == "[DONE]"
    assert [m["content"] for m in bench.a.bodies[-1]["messages"]] == ["Triage.", "hi there"]
    assert [m["content"] for m in bench.b.bodies[-1]["messages"]] == ["Answer simply.", "q", "r", "hi there"]
    record = bench.record(response)
    assert (record["slot_assigned"], record["slot"]) == ("a", "b")
    assert [m["content"] for m in record["request"]["messages"]] == ["hi there"], "the log has what the client sent"


def test_when_nobody_answers_a_rate_limit_and_when_to_come_back_are_passed_on(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B)
    bench.a.script.append("429")
    bench.b.script.append("500")
    response = bench.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (429, "upstream_rate_limited")
    assert response.headers["retry-after"] == "7"
    assert [a["error"] for a in bench.record(response)["attempts"]] == ["upstream_rate_limited", "upstream_error"]


def extra_calls_allowed(asked: int, seconds: float) -> float:
    """The budget of one window, and on a slow machine the least of each further one."""
    return max(LEAST, SHARE * asked) + LEAST * (seconds // WINDOW)


@pytest.mark.parametrize("how", ["500", "429", "garbage", "wrong_length", "error_in_200", "early_end"])
def test_extra_calls_of_an_ill_server_stay_within_the_retry_budget_and_no_answer_is_lost(bench: Any, how: str) -> None:
    asked = 60
    bench.publish(fallback=FALL_TO_B)
    bench.a.default = how
    began = time.monotonic()
    answers = [bench.chat(str(i)) for i in range(asked)]
    assert [answer.status_code for answer in answers] == [200] * asked
    assert {answer.headers["x-tunekeeper-slot"] for answer in answers} == {"b"}
    assert bench.a.counts.requests + bench.b.counts.requests - asked <= extra_calls_allowed(asked, time.monotonic() - began)


def test_who_waits_for_a_server_that_has_just_failed_has_its_extra_call_put_aside(bench: Any) -> None:
    bench.publish(fallback=FALL_TO_B, timeouts=Timeouts(first_token=ENOUGH))
    bench.a.script.extend(["500", "hang"])
    assert bench.chat().headers["x-tunekeeper-slot"] == "b"
    with ThreadPoolExecutor(1) as users:
        waiting = users.submit(bench.chat)
        until(lambda: bench.a.counts.requests == 2)
        while bench.gateway.retries.spend(MODEL, bench.gateway.now()):
            continue  # others have used up what was left
        response = waiting.result(60)
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")


def test_when_every_server_is_ill_each_request_soon_costs_one_call(bench: Any) -> None:
    asked = 60
    bench.publish(fallback=FALL_TO_B)
    bench.a.default = bench.b.default = "500"
    began = time.monotonic()
    assert {bench.chat(str(i)).status_code for i in range(asked)} == {502}
    calls = bench.a.counts.requests + bench.b.counts.requests
    assert asked <= calls <= asked + extra_calls_allowed(asked, time.monotonic() - began)


def test_a_stopped_server_is_left_after_its_deadline_and_comes_back_by_itself(bench: Any) -> None:
    with subprocess.Popen([sys.executable, "-m", "tunekeeper.testing.upstream"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["listening"]
            bench.publish(fallback=FALL_TO_B, timeouts=Timeouts(first_token=ENOUGH))
            bench.replace_slot("a", endpoint=url + "/v1")
            assert {bench.chat(str(i)).headers["x-tunekeeper-slot"] for i in range(5 * FAILURES)} == {"a"}
            server.send_signal(signal.SIGSTOP)
            with ThreadPoolExecutor(FAILURES) as users:
                for response in users.map(lambda number: bench.chat(stream=number % 2 == 1), range(FAILURES)):
                    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
            # Nobody waits for it any more.
            until(lambda: bench.record(bench.chat())["attempts"][0]["error"] == "ejected")
            server.send_signal(signal.SIGCONT)
            until(lambda: bench.chat().headers["x-tunekeeper-slot"] == "a")
        finally:
            server.kill()
