"""How a request ends: one record with who was asked, and nothing left running."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.gateway.conftest import until
from tunekeeper.core.nouns.serving import FallbackEntry, Timeouts

MODEL = "support-desk"
TEXT = "word " * 40


def test_a_record_names_who_was_assigned_who_answered_and_every_attempt(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    bench.a.script.append("500")
    record = bench.record(bench.chat())
    assert (record["slot_assigned"], record["slot"], record["variant"]) == ("a", "b", "fallback")
    assert [(a["slot"], a["error"]) for a in record["attempts"]] == [("a", "upstream_error"), ("b", None)]
    assert record["latency_ms"] >= record["ttft_ms"] > 0


def test_when_nobody_answers_no_slot_is_named(bench: Any) -> None:
    bench.a.script.append("500")
    record = bench.record(bench.chat())
    assert (record["status"], record["slot_assigned"], record.get("slot")) == ("error", "a", None)


def test_a_client_that_leaves_ends_the_kept_stream_and_the_fallback(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="b"),), confidence_floor=0.5)
    bench.a.script.append("unsure_drip:0.05")
    bench.b.script.append("hang")
    body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": TEXT}]}).encode()
    with socket.create_connection(("127.0.0.1", bench.port)) as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        until(lambda: bench.b.counts.active == 1)
    until(lambda: bench.a.counts.aborted == 1 and bench.b.counts.aborted == 1)
    record = bench.records(1)[0]
    assert (record["status"], record.get("slot")) == ("cancelled", None)
    assert [(a["slot"], a["error"]) for a in record["attempts"]] == [("a", "low_confidence"), ("b", "cancelled")]


def test_a_kept_stream_that_is_not_whole_when_time_is_up_is_no_answer(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="b"),), confidence_floor=0.5, timeouts=Timeouts(first_token=30, total=1.0))
    bench.a.script.append("unsure_drip:0.06")
    bench.b.script.append("hang")
    response = bench.chat(TEXT, stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "upstream_timeout")
    until(lambda: bench.a.counts.aborted == 1)
    assert bench.record(response)["attempts"][-1]["error"] == "upstream_timeout"
