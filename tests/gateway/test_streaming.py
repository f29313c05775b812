"""What of a stream goes on to the client, and what is held back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunekeeper.gateway.sse import MAX_EVENT
from tunekeeper.gateway.streaming import Stream
from tunekeeper.gateway.wire import Call


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def stream(*, usage: bool = False) -> Stream:
    return Stream(Call("chat.completions", {}, "m", stream=True, usage=usage))


SAID = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}], "usage": None}
SPENT = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
DONE = b"data: [DONE]\n\n"


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
