"""What of a stream goes on to the client, and what is held back."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.patience import PATIENCE
from tunekeeper.core.nouns.serving import FallbackEntry
from tunekeeper.gateway.sse import MAX_EVENT
from tunekeeper.gateway.streaming import Stream
from tunekeeper.gateway.wire import TRUE, Call


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def stream(*, usage: bool = False) -> Stream:
    return Stream(Call("chat.completions", {}, "m", stream=True, usage=usage))


SAID = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}], "usage": None}
SPENT = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
DONE = b"data: [DONE]\n\n"
NULL = b',"usage":null'


def test_the_last_event_is_held_back_and_nothing_after_it_goes_on() -> None:
    made = stream()
    step = made.feed(event(SAID) + DONE + event(SAID))
    assert step.forward == event(SAID).replace(b',"usage":null', b"")
    assert made.done
    assert made.last == DONE
    assert made.feed(event(SAID)).forward == b""


def test_usage_goes_only_to_those_who_asked() -> None:
    assert stream().feed(event(SAID) + event(SPENT)).forward == event(SAID).replace(b',"usage":null', b"")
    assert stream(usage=True).feed(event(SAID) + event(SPENT)).forward == event(SAID) + event(SPENT)
    made = stream()
    made.feed(event(SPENT))
    assert made.fold.usage is not None
    assert made.fold.usage.completion_tokens == 2


ENDS = {"id": "i", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
TIMED = {"timings": {"predicted_n": 2}, "citations": ["https://example.org/1"]}


def chunks(data: bytes) -> list[Any]:
    return [json.loads(each.removeprefix(b"data: ")) for each in data.split(b"\n\n")[:-1]]


def test_what_the_counts_bring_along_reaches_those_who_did_not_ask_for_them_on_the_chunk_before() -> None:
    last = {"id": "i", "choices": [], **TIMED, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    made = stream()
    assert made.feed(event(SAID)).forward, "only the chunk that ends the answer waits"
    assert made.feed(event(ENDS)).forward == b""
    assert made.feed(event(last)).forward == b""
    assert made.feed(DONE).forward == b""
    assert made.last.endswith(DONE)
    assert chunks(made.last.removesuffix(DONE)) == [TIMED | ENDS]
    assert made.fold.usage is not None
    asked = stream(usage=True)
    assert asked.feed(event(ENDS) + event(last)).forward == event(ENDS) + event(last)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_the_chunk_that_ends_an_answer_keeps_its_own_fields_and_its_name(end: bytes) -> None:
    named = b'event: x\ndata: {"id": "i", "timings": 7, "choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}' + end
    made = stream()
    made.feed(named + event({"choices": [], **TIMED, "usage": {"prompt_tokens": 1}}))
    head, _, data = made.held.partition(b"data: ")
    assert head == b"event: x\n"
    assert data.endswith(b"}" + end)
    ends = [{"delta": {}, "finish_reason": "stop"}]
    assert json.loads(data) == {"timings": 7, "citations": TIMED["citations"], "id": "i", "choices": ends}


def test_what_each_chunk_says_again_the_last_one_says_too() -> None:
    made = stream()
    made.feed(event({**SAID, "timings": 7}))
    made.feed(event(ENDS) + event({**SPENT, "timings": 7}))
    assert chunks(made.held) == [{"timings": 7, **ENDS}]


def test_an_end_of_one_of_several_choices_waits_for_the_next_chunk_only() -> None:
    other = {"id": "i", "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]}
    made = stream()
    assert made.feed(event(ENDS)).forward == b""
    assert made.feed(event(other)).forward == event(ENDS) + event(other)
    assert made.last == DONE


@pytest.mark.parametrize("beside", [{}, {"citations": []}, {"note": None}])
def test_a_chunk_that_came_for_its_counts_alone_stays_here(beside: dict[str, Any]) -> None:
    made = stream()
    assert made.feed(event(ENDS) + event({**SPENT, **beside})).forward == b""
    assert made.last == event(ENDS) + DONE


def test_a_failure_after_the_reason_to_finish_is_told_behind_it(bench: Any) -> None:
    failed = event({"error": {"message": "boom"}})
    made = stream()
    made.feed(event(ENDS))
    assert made.feed(failed).forward == event(ENDS) + failed
    heard = threading.Event()
    with speaking(event(SAID), heard, event(ENDS), b"data: {\n\n") as url:
        bench.replace_slot("a", endpoint=url)
        body = {"model": "support-desk", "messages": [{"role": "user", "content": "x"}], "stream": True}
        with bench.http.stream("POST", f"{bench.url}/v1/chat/completions", json=body) as response:
            pieces = response.iter_raw()
            assert next(pieces)
            heard.set()
            told = chunks(b"".join(pieces))
    assert told[0] == ENDS
    assert told[1]["error"]["code"] == "upstream_garbage"


def test_an_answer_of_one_chunk_reaches_the_client_whole(bench: Any) -> None:
    with speaking(event(ENDS), event({**SPENT, **TIMED}), DONE) as url:
        bench.replace_slot("a", endpoint=url)
        response = bench.chat(stream=True)
    assert chunks(response.content.removesuffix(DONE)) == [TIMED | ENDS]
    assert bench.record(response)["response"]["timings"] == TIMED["timings"]
    with speaking(event(ENDS)) as url:
        bench.replace_slot("a", endpoint=url)
        assert bench.chat(stream=True).content == event(ENDS) + DONE


def test_a_chunk_in_several_data_lines_stays_whole_without_its_usage() -> None:
    raw = b'data: {"choices": [{"index": 0,\ndata: "delta": {"content": "a"}}],\ndata: "usage": {"prompt_tokens": 1}}\n\n'
    told = stream().feed(raw).forward
    assert told.count(b"\n") == 2
    assert json.loads(told.removeprefix(b"data: ")) == {"choices": [{"index": 0, "delta": {"content": "a"}}]}


@pytest.mark.parametrize("text", [',"usage":null', "usage"])
def test_text_that_only_looks_like_usage_is_left_alone(text: str) -> None:
    tricky = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    assert stream().feed(event(tricky)).forward == event(tricky)


@pytest.mark.parametrize("usage", ['"usage": null', '"usage": {"prompt_tokens": 1, "completion_tokens": 2}'])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_usage_in_any_spelling_and_place_goes_only_to_those_who_asked(usage: str, end: bytes) -> None:
    raw = b'event: x\ndata: {"id": "i", %s, "choices": [{"delta": {"content": "a"}, "big": 12345678901234567890}]}%s'
    raw %= usage.encode(), end
    assert stream(usage=True).feed(raw).forward == raw
    clean = b'event: x\ndata: {"id":"i","choices":[{"delta": {"content": "a"}, "big": 12345678901234567890}]}%s' % end
    assert stream().feed(raw).forward == clean


def test_half_an_emoji_passes_with_and_without_usage_to_take_out() -> None:
    half = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"},"finish_reason":null}]}\n\n'
    made = stream()
    assert made.feed(half).forward == half
    told = made.feed(half.replace(b"]}", b'],"usage":{"prompt_tokens":1}}')).forward
    assert json.loads(told[6:]) == json.loads(half[6:])
    assert made.fold.choices[0].parts == ["\ufffd", "\ufffd"]


def test_comments_alone_are_no_answer() -> None:
    made = stream()
    assert not made.feed(b": ping\n\n").spoke
    assert made.feed(b": ping\n\n" + event(SAID)).spoke
    step = made.feed(b": ping\n\n")
    assert (step.forward, step.spoke) == (b": ping\n\n", False)


def test_usage_is_taken_out_of_an_event_of_several_lines() -> None:
    raw = b'data: {"usage": null,\ndata: "choices": [{"delta": {"content": "a"}}]}\n\n'
    assert stream().feed(raw).forward == b'data: {"choices":[{"delta": {"content": "a"}}]}\n\n'


def test_comments_before_the_first_chunk_do_not_commit_us() -> None:
    made = stream()
    assert made.feed(b": ping\n\n").forward == b""
    made.feed(event(SAID))
    assert made.feed(b": ping\n\n").forward == b": ping\n\n"


def test_an_error_event_ends_the_stream_in_the_servers_words() -> None:
    step = stream().feed(event(SAID) + event({"error": {"message": "boom"}}) + event(SAID))
    assert step.told
    assert step.failed is not None
    assert step.failed.code == "upstream_error"
    assert "boom" in step.failed.message
    assert step.forward.endswith(event({"error": {"message": "boom"}}))


def test_an_error_without_an_envelope_ends_the_stream_too() -> None:
    step = stream().feed(event(SAID) + event({"object": "error", "message": "boom", "code": 400}) + DONE)
    assert step.failed is not None
    assert (step.told, step.failed.code) == (True, "upstream_error")
    assert "boom" in step.failed.message
    assert stream().feed(event({"type": "ping"})).failed is None


@pytest.mark.parametrize("data", [b"data: {not json\n\n", b"data: []\n\n", b"x" * (MAX_EVENT + 1)])
def test_garbage_is_a_failure(data: bytes) -> None:
    step = stream().feed(data)
    assert step.failed is not None
    assert step.failed.code == "upstream_garbage"
    assert not step.told


@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize(
    "odd",
    [
        b'{"object": "\xff"}',
        b'{"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [{"token": "\xff", "logprob": -1}]}}]}',
        b'{"choices": [{"index": 0, "delta": {"content": "a"}}], "\xff": 1, "usage": {"prompt_tokens": 1}}',
        b'{"choices": [{"index": 0, "delta": {"content": "a"}}], "x": "\xff", "usage": {"prompt_tokens": 1}}',
    ],
)
def test_bytes_that_are_no_text_where_nobody_reads_them_pass(odd: bytes, probabilities: bool) -> None:
    asked = {"logprobs": TRUE} if probabilities else {}
    made = Stream(Call("chat.completions", asked, "m", stream=True, usage=False))
    step = made.feed(event(SAID) + b"data: " + odd + b"\n\n" + DONE)
    assert step.failed is None
    assert made.done
    assert b"\xff" in step.forward
    assert b'"content":"a' in made.fold.answer()


@contextmanager
def speaking(*events: bytes | threading.Event, head: bytes = b"content-type: text/event-stream\r\n") -> Iterator[str]:
    """A model server that answers every request with these events and closes; yields its address. It waits for what is to be set
    first."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while line := self.rfile.readline().strip():
                length = int(line.partition(b":")[2]) if line.lower().startswith(b"content-length") else length
            self.rfile.read(length)
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + head + b"connection: close\r\n\r\n")
            for each in events:
                if isinstance(each, bytes):
                    self.wfile.write(each)
                else:
                    each.wait(PATIENCE)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def test_an_answer_that_is_called_done_is_whole_though_nobody_said_why_it_ended(bench: Any) -> None:
    with speaking(event(SAID), event(SAID), DONE) as url:
        bench.replace_slot("a", endpoint=url)
        response = bench.chat(stream=True)
    assert response.content == event(SAID).replace(b',"usage":null', b"") * 2 + DONE
    record = bench.record(response)
    assert (record["status"], record.get("finish_reason"), record.get("error")) == ("ok", None, None)
    assert record["response"]["choices"][0]["message"]["content"] == "aa"
    assert record["response"]["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize("head", [b"", b"content-type: text/plain\r\n", b"content-type: application/json\r\n"])
def test_a_stream_is_one_whatever_its_head_calls_it(bench: Any, head: bytes) -> None:
    with speaking(b"event: message\n" + event(SAID), DONE, head=head) as url:
        bench.replace_slot("a", endpoint=url)
        response = bench.chat(stream=True)
    assert response.content == b"event: message\n" + event(SAID).replace(b',"usage":null', b"") + DONE
    assert response.headers["content-type"] == "text/event-stream"
    assert bench.record(response)["status"] == "ok"


def test_an_end_with_a_blank_behind_it_is_one() -> None:
    made = stream()
    made.feed(event(SAID) + b"data: [DONE] \n\n")
    assert (made.done, made.last) == (True, b"data: [DONE] \n\n")


def test_a_stream_that_is_called_done_before_it_said_anything_is_a_failure(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    with speaking(DONE) as url:
        bench.replace_slot("a", endpoint=url)
        record = bench.record(bench.chat(stream=True))
        assert (record["status"], record["slot"]) == ("ok", "b")
        assert [attempt.get("error") for attempt in record["attempts"]] == ["upstream_truncated", None]
        bench.replace_slot("b", endpoint=url)
        response = bench.chat(stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_truncated")
