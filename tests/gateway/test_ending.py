"""How a request ends: one record with who was asked, and nothing left running."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tunekeeper.core.nouns.serving import FallbackEntry, Timeouts
from tunekeeper.gateway.ending import milliseconds
from tunekeeper.gateway.options import Options

MODEL = "support-desk"
TEXT = "word " * 40


def test_a_record_names_who_was_assigned_who_answered_and_every_attempt(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    bench.a.script.append("500")
    record = bench.record(bench.chat())
    assert (record["slot_assigned"], record["slot"], record["variant"]) == ("a", "b", "fallback")
    assert [(a["slot"], a["error"]) for a in record["attempts"]] == [("a", "upstream_error"), ("b", None)]
    assert record["latency_ms"] >= record["ttft_ms"] > 0


def test_times_are_written_to_the_microsecond() -> None:
    assert [milliseconds(seconds) for seconds in (0.0, 0.0123456789, 1.0, 3600.0000004)] == [0.0, 12.346, 1000.0, 3600000.0]


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


def test_tokens_have_a_price(bench: Any) -> None:
    bench.publish(slot={"price_in": 2.0, "price_out": 10.0})
    record = bench.record(bench.chat("hi there"))
    assert record["cost_usd"] == pytest.approx((5 * 2 + 4 * 10) / 1e6)


def test_a_server_paid_by_the_hour_costs_the_seconds_of_every_try(bench: Any) -> None:
    bench.publish(slot={"price_hour": 36.0, "options": {"parallel": 2}}, fallback=(FallbackEntry(slot="b"),))
    bench.a.script.append("500")
    record = bench.record(bench.chat("hi there"))
    assert [each["slot"] for each in record["attempts"]] == ["a", "b"]
    seconds = sum(each["ms"] for each in record["attempts"]) / 1000
    assert record["cost_usd"] == pytest.approx(seconds * 36 / 3600 / 2, rel=0.01)


def test_confidence_is_noted_where_the_server_gives_log_probabilities(bench: Any) -> None:
    assert bench.record(bench.chat(logprobs=True))["confidence"] == pytest.approx(0.9048, abs=1e-4)
    assert "confidence" not in bench.record(bench.chat())


def test_partial_text_of_a_running_stream_is_noted(bench: Any) -> None:
    bench.a.default = "drip:0.15"
    response = bench.chat("one two three four five six " * 3, stream=True)  # some three seconds
    partial = [p for p in bench.records(2, "P") if p["request_id"] == response.headers["x-tunekeeper-request-id"]]
    assert [p["request"]["stream"] for p in partial if "request" in p] == [True], "the request once"
    assert "".join(p["text"] for p in partial).startswith("you said: one")


def test_secrets_are_taken_out_before_they_are_written(make_bench: Any) -> None:
    bench = make_bench(Options(redact=("key", "card", "email")))
    response = bench.chat("my card is 4111 1111 1111 1111, mail ann@example.com", metadata={"note": "bob@example.com"})
    assert "4111 1111" in response.text, "the model server saw the text as it was"
    record = json.dumps(bench.record(response))
    assert "4111" not in record
    assert "@example.com" not in record
    assert "[CARD]" in record


def test_names_leave_the_log_where_a_detector_is_configured_and_every_answer_comes(make_bench: Any, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Ana Lima\n", "utf-8")
    names = {"detector": "list", "file": str(tmp_path / "names.txt")}
    bench = make_bench(Options(redact=("email", "name"), names=names))
    for stream in (False, True):
        response = bench.chat("I am Ana Lima", stream=stream, metadata={"who": "Ana Lima"})
        assert "Ana" in response.text, "the client reads what was said"
        record = json.dumps(bench.record(response))
        assert "Lima" not in record
        assert "[NAME]" in record


def test_bodies_can_be_left_out_of_the_log(make_bench: Any) -> None:
    bench = make_bench(Options(log_bodies=False))
    record = bench.record(bench.chat())
    assert "request" not in record
    assert "response" not in record
    assert record["prompt_tokens"] == 5


def test_power_durability_answers_as_well(make_bench: Any) -> None:
    bench = make_bench(Options(durability="power"))
    assert [bench.chat(f"n {i}").status_code for i in range(5)] == [200] * 5
    assert len(bench.records(5)) == 5


def test_every_answer_has_exactly_one_record_and_one_opening(bench: Any) -> None:
    bench.a.script.extend(["ok", "500", "ok"])
    ids = [bench.chat(str(i), stream=i % 2 == 0).headers["x-tunekeeper-request-id"] for i in range(12)]
    assert sorted(r["request_id"] for r in bench.records(12)) == sorted(ids)
    assert sorted(r["request_id"] for r in bench.records(12, "O")) == sorted(ids)
