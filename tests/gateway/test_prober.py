"""Slots are asked for one token when they are silent or in doubt; dead ones rest before a user meets them."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.conftest import MODEL, Bench, lines_of, until
from tunekeeper.core.nouns.serving import FallbackEntry, Timeouts
from tunekeeper.gateway.health import FAILURES, FIRST_REST, Health
from tunekeeper.gateway.options import Options
from tunekeeper.gateway.prober import DOUBT, due

IDLE = 60.0
FALL_TO_B = (FallbackEntry(slot="b"),)


def health(failures: int = 0) -> Health:
    made = Health()
    for _ in range(failures):
        made.failed("a", 0.0)
    return made


@pytest.mark.parametrize(
    ("failures", "quiet", "now", "free", "asked"),
    [
        pytest.param(0, IDLE - 1, 0.0, True, False, id="well and heard of"),
        pytest.param(0, IDLE, 0.0, True, True, id="well and silent"),
        pytest.param(0, IDLE * 9, 0.0, False, False, id="silent, but somebody else's"),
        pytest.param(1, IDLE * DOUBT - 0.1, 0.0, True, False, id="failed a moment ago"),
        pytest.param(1, IDLE * DOUBT, 0.0, True, True, id="failed and not heard of since"),
        pytest.param(1, IDLE * DOUBT, 0.0, False, True, id="failed, somebody else's"),
        pytest.param(FAILURES, IDLE, FIRST_REST - 0.1, True, False, id="it rests"),
        pytest.param(FAILURES, IDLE * DOUBT, FIRST_REST, True, True, id="its rest is over"),
    ],
)
def test_who_is_asked(failures: int, quiet: float, now: float, free: bool, asked: bool) -> None:
    assert due(health(failures), "a", quiet, IDLE, now, free=free) is asked


def test_one_failed_probe_ejects_and_one_answer_brings_back() -> None:
    made = health()
    made.eject("a", 100.0)
    assert made.resting("a", 100.0 + FIRST_REST - 0.1)
    made.eject("a", 200.0)
    assert made.resting("a", 200.0 + 2 * FIRST_REST - 0.1), "each further failure doubles the rest"
    before = made.fared("a")
    made.succeeded("a")
    assert (made.calm, made.resting("a", 200.0), made.fared("a") == before) == (True, False, False)


@pytest.fixture
def probing(make_bench: Callable[[Options], Bench]) -> Bench:
    made = make_bench(Options(probe_seconds=IDLE))
    made.publish(fallback=FALL_TO_B)
    return made


def silent(bench: Bench, seconds: float = IDLE) -> None:
    """What the prober does when nothing is heard for so long; it is told the time."""
    done = threading.Event()

    def look() -> None:
        gateway = bench.gateway
        obeyed, now = gateway.obeyed(), gateway.now()
        gateway.prober.look(obeyed, now)
        gateway.prober.look(obeyed, now + seconds + 0.001)  # more than a float's last digit: `now` may be just below a power of 2
        done.set()

    bench.gateway.loop.call_soon_threadsafe(look)
    assert done.wait(60)


def probes(bench: Bench) -> list[dict[str, Any]]:
    return [line for line in lines_of(bench.root, "E") if line["purpose"] == "probe"]


def test_a_dead_server_that_nobody_asked_rests_before_the_next_user_comes_and_is_back_by_itself(probing: Bench) -> None:
    bench, health = probing, probing.gateway.health
    bench.a.default = "hang"  # its /health says ok all the time
    bench.publish(timeouts=Timeouts(first_token=1.0))
    silent(bench)
    until(lambda: "a" in health.ejected(bench.gateway.now()))
    bench.publish(fallback=FALL_TO_B)
    for _ in range(4):
        health.eject("a", bench.gateway.now())  # as further probes would, so that a slow machine's rest is long enough
    response = bench.chat()
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
    assert [(each["slot"], each["error"]) for each in bench.record(response)["attempts"]] == [("a", "ejected"), ("b", None)]
    bench.a.default = "ok"
    silent(bench, 3 * IDLE)
    until(lambda: not health.shaky("a"))
    assert bench.chat().headers["x-tunekeeper-slot"] == "a"
    until(lambda: len([each for each in probes(bench) if each["slot_assigned"] == "a"]) >= 2)
    failed, back = [each for each in probes(bench) if each["slot_assigned"] == "a"][:2]
    assert (failed["model_id"], failed["status"], failed["error"]) == (MODEL, "error", "upstream_timeout")
    assert (back["status"], back["slot"]) == ("ok", "a")
    body = next(body for body in bench.a.bodies if body.get("max_tokens") == 1)
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_probes_are_nobody_s_traffic(probing: Bench) -> None:
    silent(probing)
    until(lambda: len(probes(probing)) == 2)
    assert "model_inference_requests_total{" not in probing.get("/metrics").text
    assert all(line["purpose"] == "probe" for line in lines_of(probing.root, "O"))


@pytest.mark.parametrize("how", ["404", "template"])
def test_a_server_that_refuses_what_a_probe_asks_is_neither_judged_nor_asked_again(probing: Bench, how: str) -> None:
    probing.a.default = how
    silent(probing)
    until(lambda: len(probes(probing)) == 2)
    silent(probing)
    until(lambda: len(probes(probing)) == 3)
    assert (probing.a.counts.requests, probing.b.counts.requests) == (1, 2)
    assert probing.gateway.health.calm


def test_a_server_that_takes_a_key_is_asked_when_it_is_in_doubt_and_not_for_being_idle(probing: Bench) -> None:
    probing.replace_slot("a", api_key_env="UP_KEY")
    silent(probing)
    until(lambda: len(probes(probing)) == 1)
    assert (probing.a.counts.requests, probing.b.counts.requests) == (0, 1)
    probing.a.script.append("503")
    assert probing.chat().headers["x-tunekeeper-slot"] == "b"
    silent(probing, IDLE * DOUBT)
    until(lambda: len(probes(probing)) == 2)
    assert (probing.a.counts.requests, probing.gateway.health.calm) == (2, True)


def test_a_busy_server_is_not_asked_while_it_answers(probing: Bench) -> None:
    probing.a.script.append("hang")
    body = b'{"model":"%s","messages":[{"role":"user","content":"hi"}]}' % MODEL.encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", probing.port)) as user:
        user.sendall(head + body)
        until(lambda: probing.a.counts.active == 1)
        silent(probing)
        until(lambda: len(probes(probing)) == 1)
        assert (probing.a.counts.requests, probing.b.counts.requests) == (1, 1)


def test_without_seconds_and_while_it_drains_nobody_is_probed(bench: Bench) -> None:
    for seconds, draining in ((0.0, False), (IDLE, True)):
        bench.gateway.options = dataclasses.replace(bench.gateway.options, probe_seconds=seconds)
        bench.gateway.draining = draining
        silent(bench, 1e9)
        assert (bench.a.counts.requests, bench.gateway.active) == (0, set())
