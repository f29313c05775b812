"""What a worker's requests share: health, readiness, deadlines, draining."""

from __future__ import annotations

import json
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.gateway.conftest import KEY, Bench
from tests.patience import until
from tunekeeper.core.ids import is_request_id, time_of
from tunekeeper.core.nouns.serving import FallbackEntry
from tunekeeper.gateway.budget import LEAST
from tunekeeper.gateway.health import FAILURES
from tunekeeper.gateway.limits import Limits
from tunekeeper.gateway.options import Options
from tunekeeper.gateway.server import SPARE_CONNECTIONS

MODEL = "support-desk"


def open_stream(bench: Any, words: int = 20) -> socket.socket:
    """A running stream whose first token has come."""
    body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "word " * words}]}).encode()
    sock = socket.create_connection(("127.0.0.1", bench.port), timeout=60)
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    heard = b""
    while b"said" not in heard:
        heard += sock.recv(65536)
    return sock


def test_request_ids_are_ours_and_none_comes_twice(bench: Any) -> None:
    before = datetime.now(UTC)
    made = [bench.gateway.new_request_id() for _ in range(2000)]
    assert len(set(made)) == len(made)
    assert all(is_request_id(one, KEY) for one in made)
    assert not any(is_request_id(one, b"x" * 32) for one in made[:20])
    times = [time_of(one) for one in made]
    assert times == sorted(times)
    assert before - timedelta(milliseconds=1) <= times[0] <= times[-1] <= datetime.now(UTC)


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
    # While few requests were made, the retry budget runs out before the fifth failure: then it is passed over even sooner.
    assert LEAST <= bench.a.counts.requests <= FAILURES
    assert bench.records(FAILURES + 3)[-1]["attempts"][0]["error"] == "ejected"


def test_the_last_upstream_is_never_ejected(bench: Any) -> None:
    bench.a.default = "500"
    for _ in range(FAILURES + 3):
        assert bench.chat().status_code == 502
    assert bench.a.counts.requests == FAILURES + 3
    bench.a.default = "ok"
    assert bench.chat().status_code == 200


def test_a_rate_limited_slot_is_left_alone_as_long_as_it_asked(bench: Any) -> None:
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    bench.a.default = "429"
    for _ in range(FAILURES + 3):
        assert bench.chat().status_code == 200
    assert bench.a.counts.requests < FAILURES
    assert bench.records(FAILURES + 3)[1]["attempts"][0]["error"] == "asked_to_wait"


def test_a_stopping_worker_finishes_what_runs(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(drain_seconds=60)))
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
    sock = open_stream(bench, 100)
    stopping = threading.Thread(target=bench.stop)
    stopping.start()
    heard = rest_of(sock)
    stopping.join()
    assert b'"code":"draining"' in heard
    assert b"[DONE]" not in heard
    record = bench.records(1)[0]
    assert (record["status"], record["error"]) == ("truncated", "draining")
    assert record.get("finish_reason") is None


def test_a_stopping_worker_ends_idle_connections(bench: Any) -> None:
    with socket.create_connection(("127.0.0.1", bench.port), timeout=60) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        sock.settimeout(60)  # less than the idle time, as it is usually set
        stopping = threading.Thread(target=bench.stop)
        stopping.start()
        assert sock.recv(1000) == b""
    stopping.join(60)


def test_running_requests_and_connections_leave_nothing_behind(bench: Any) -> None:
    for number in range(30):
        bench.chat(str(number), stream=number % 2 == 0)
    for _ in range(10):
        open_stream(bench).close()
    until(lambda: not bench.gateway.active and len(bench.gateway.connections) <= 1)
    assert len(bench.records(40)) == 40


def test_what_was_counted_is_written_to_the_snapshot_again_and_again(bench: Any) -> None:
    path = bench.root / "run" / "metrics-w0.json"
    seen = [b""]
    for _ in range(3):
        bench.chat()
        until(lambda: path.exists() and b"support-desk" in path.read_bytes() and path.read_bytes() not in seen)
        seen.append(path.read_bytes())
    assert len(set(seen)) == 4


def _from(bench: Any, address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", bench.port), timeout=60, source_address=(address, 0))


def _told(sock: socket.socket) -> bytes:
    """What a refused connection was told, whole."""
    heard = b""
    while b"}}" not in heard:
        piece = sock.recv(65536)
        assert piece, heard
        heard += piece
    return heard


def _models(sock: socket.socket) -> bytes:
    sock.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    return sock.recv(65536)


def test_one_address_cannot_take_the_connections_of_others(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(connections_per_address=8, drain_seconds=2)))
    held = [_from(bench, "127.0.0.2") for _ in range(8)]
    assert all(_models(sock).startswith(b"HTTP/1.1 200") for sock in held)
    refused = [_from(bench, "127.0.0.2") for _ in range(60)]
    heard = [_told(sock) for sock in refused[:SPARE_CONNECTIONS]]
    assert all(b"HTTP/1.1 429" in each and b"too_many_connections" in each and b"retry-after: 1" in each for each in heard)
    with _from(bench, "127.0.0.3") as other:
        assert _models(other).startswith(b"HTTP/1.1 200"), "another address goes on"
    assert all(_models(sock).startswith(b"HTTP/1.1 200") for sock in held), "and so does what this one had"
    until(lambda: "tunekeeper_connections_refused_total 60" in bench.get("/metrics").text)
    for sock in (*held, *refused):
        sock.close()
    until(lambda: "127.0.0.2" not in bench.gateway.addresses)
    with _from(bench, "127.0.0.2") as again:
        assert _models(again).startswith(b"HTTP/1.1 200"), "room is given back"


def test_a_worker_that_starts_again_lets_no_counter_fall(make_bench: Any) -> None:
    bench = make_bench(Options(limits=Limits(connections_per_address=1, drain_seconds=2)))
    folder = bench.root / "run"
    with _from(bench, "127.0.0.2"):
        until(lambda: bool(bench.gateway.addresses))
        with _from(bench, "127.0.0.2") as second:
            assert b"too_many_connections" in _told(second)
    bench.stop()
    before = json.loads((folder / "metrics-w0.json").read_bytes())["plain"]
    assert before["connections_refused"] == 1
    again = Bench(bench.root, Options(limits=Limits(drain_seconds=2))).start()
    try:
        assert "tunekeeper_connections_refused_total 1" in again.get("/metrics").text
    finally:
        again.stop()
    assert json.loads((folder / "metrics-w0.json").read_bytes())["plain"] == before
