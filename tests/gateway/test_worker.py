"""What a worker's requests share: health, readiness, deadlines, draining."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

from tunekeeper.core.nouns.serving import FallbackEntry
from tunekeeper.gateway.health import FAILURES
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.options import Options

MODEL = "support-desk"


def open_stream(bench: Any) -> socket.socket:
    """A running stream whose first token has come."""
    body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "word " * 20}]}).encode()
    sock = socket.create_connection(("127.0.0.1", bench.port), timeout=10)
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    heard = b""
    while b"said" not in heard:
        heard += sock.recv(65536)
    return sock


def rest_of(sock: socket.socket) -> bytes:
    heard = b""
    while piece := sock.recv(65536):
        heard += piece
    sock.close()
    return heard


def test_a_slot_that_keeps_failing_is_not_asked_while_another_can_answer(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    bench.a.default = "500"
    for _ in range(FAILURES + 3):
        assert bench.chat().status_code == 200
    assert bench.a.counts.requests == FAILURES
    assert bench.records(FAILURES + 3)[-1]["attempts"][0]["error"] == "ejected"


def test_the_last_upstream_is_never_ejected(bench: Any) -> None:
    bench.a.default = "500"
    for _ in range(FAILURES + 3):
        assert bench.chat().status_code == 502
    assert bench.a.counts.requests == FAILURES + 3
    bench.a.default = "ok"
    assert bench.chat().status_code == 200


def test_a_rate_limit_is_no_reason_to_eject(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    bench.a.default = "429"
    for _ in range(FAILURES + 3):
        assert bench.chat().status_code == 200
    assert bench.a.counts.requests == FAILURES + 3


def test_a_stopping_worker_finishes_what_runs(bench: Any) -> None:
    bench.a.default = "drip:0.02"
    sock = open_stream(bench)
    stopping = threading.Thread(target=bench.stop)
    stopping.start()
    heard = rest_of(sock)
    stopping.join()
    assert b"data: [DONE]" in heard
    assert heard.endswith(b"0\r\n\r\n")
    assert bench.records(1)[0]["status"] == "ok"


def test_a_stopping_worker_cuts_what_does_not_end_with_an_error_event(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(drain_seconds=0.2)))
    bench.a.default = "drip:1"
    sock = open_stream(bench)
    began = time.monotonic()
    stopping = threading.Thread(target=bench.stop)
    stopping.start()
    heard = rest_of(sock)
    stopping.join()
    assert time.monotonic() - began < 5
    assert b'"code":"draining"' in heard
    assert b"[DONE]" not in heard
    record = bench.records(1)[0]
    assert (record["status"], record["error"]) == ("truncated", "draining")
    assert record.get("finish_reason") is None


def test_a_stopping_worker_ends_idle_connections(bench: Any) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=5) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        threading.Thread(target=bench.stop).start()
        assert sock.recv(1000) == b""
    assert time.monotonic() - began < 2


def test_running_requests_and_connections_leave_nothing_behind(bench: Any) -> None:
    for number in range(30):
        bench.chat(str(number), stream=number % 2 == 0)
    for _ in range(10):
        open_stream(bench).close()
    end = time.monotonic() + 5
    while bench.gateway.active or len(bench.gateway.connections) > 1:
        assert time.monotonic() < end, (bench.gateway.active, len(bench.gateway.connections))
        time.sleep(0.01)
    assert len(bench.records(40)) == 40


def test_metrics_snapshots_are_written_about_once_a_second(bench: Any) -> None:
    bench.chat()
    path = bench.root / "run" / "metrics-w0.json"
    end = time.monotonic() + 4
    while not path.exists() or b"support-desk" not in path.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.05)
