"""What is refused again and again is refused slowly, and nobody else notices."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from tests.patience import until
from tunekeeper.gateway import pacing
from tunekeeper.gateway.pacing import FREE, MOST, MOST_KEYS, RATE, Pacer

MODEL = "support-desk"


def test_the_first_refusals_wait_for_nothing_and_the_others_for_their_turn() -> None:
    pacer = Pacer()
    waits = [pacer.wait("a", 1000.0) for _ in range(FREE + 20)]
    assert waits[: FREE + 1] == [0.0] * (FREE + 1)
    assert waits[FREE + 1 :] == pytest.approx([n / RATE for n in range(1, 20)])
    assert pacer.wait("b", 1000.0) == 0.0, "each key for itself"


def test_a_key_that_came_to_rest_begins_anew_and_nobody_waits_for_ever() -> None:
    pacer = Pacer()
    waits = [pacer.wait("a", 0.0) for _ in range(FREE + 2 * int(RATE * MOST))]
    assert max(waits) == MOST
    assert pacer.wait("a", MOST / 2) == pytest.approx(MOST / 2 + 1 / RATE), "who goes on waits on"
    assert [pacer.wait("a", 100.0) for _ in range(FREE)] == [0.0] * FREE


def test_what_is_remembered_is_bounded() -> None:
    pacer = Pacer()
    for number in range(3 * MOST_KEYS):
        pacer.wait(f"key_{number}", 0.0)
    assert len(pacer._next) <= MOST_KEYS


def _request(key: str) -> bytes:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x"}]}).encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n%s" % (
        key.encode(),
        len(body),
        body,
    )


def test_a_flood_waits_while_others_are_answered(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "FREE", 1)
    monkeypatch.setattr(pacing, "RATE", 0.1)
    told: list[float] = []
    wait = Pacer.wait

    def noted(self: Pacer, key_id: str, now: float) -> float:
        told.append(wait(self, key_id, now))
        return told[-1]

    monkeypatch.setattr(Pacer, "wait", noted)
    bench.publish(keys=(bench.key("noisy", requests_per_minute=1), bench.key("calm")))
    assert bench.chat(headers={"authorization": "Bearer noisy"}).status_code == 200
    began = time.monotonic()
    flood = [socket.create_connection(("127.0.0.1", bench.port), timeout=60) for _ in range(6)]
    for one in flood:
        one.sendall(_request("noisy"))
    until(lambda: len(told) == len(flood))
    assert sum(seconds > 0 for seconds in told) >= 3
    assert bench.chat(headers={"authorization": "Bearer calm"}).status_code == 200
    flood.pop().close()
    heard = [one.recv(65536) for one in flood]
    assert all(answer.startswith(b"HTTP/1.1 429 ") and b"rate_limited" in answer for answer in heard)
    assert time.monotonic() - began >= 0.9 * MOST, "three of five had to wait for their turn"
    flood[0].sendall(_request("calm"))
    assert flood[0].recv(65536).startswith(b"HTTP/1.1 200 "), "the connection lives on"
    for one in flood:
        one.close()
    assert len(bench.records(3)) == 3, "what is refused is not logged"
