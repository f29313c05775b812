"""T14: whoever changes a route, and the gateway too, is killed at any moment; half a configuration file is read as no file."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.journeys.rig import MODEL, SECONDS, WHOLE, Rig, at, figure, rig, say, within
from tests.outside.conftest import REPOSITORY, Gateway, Upstream, environment, until
from tunekeeper.core.nouns.serving import Route
from tunekeeper.store import published
from tunekeeper.store.ledgers.routes import find_routes
from tunekeeper.workspace import Workspace, open_workspace

SEED = 14
pytestmark = pytest.mark.timeout(SECONDS)
Told = list[dict[str, Any]]
HELLO = [{"role": "user", "content": "hello"}]


@contextmanager
def movers(root: Path) -> Iterator[tuple[int, Callable[[int, Path], int]]]:
    """The generation of a first route, all to `a`, and what begins processes that move traffic (seed and ledger → their id)."""
    command = [sys.executable, "-m", "tests.journeys.mover", str(root)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def begin(seed: int, ledger: Path) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{seed} {ledger}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        try:
            yield int(process.stdout.readline()), begin
        finally:
            process.stdin.close()
            process.wait(60)


def lines(path: Path) -> Told:
    """A ledger, as far as it was written."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def live_and_die(begin: Callable[[int, Path], int], seed: int, ledger: Path, rng: random.Random) -> Told:
    """One mover, killed at a random moment of its first, second or third move; what it knew."""
    pid, least = begin(seed, ledger), rng.choice((1, 1, 3, 5))
    until(lambda: len(lines(ledger)) >= least)
    time.sleep(rng.uniform(0.0, 0.06))
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))
    return lines(ledger)


def weights(route: Route) -> dict[str, int]:
    """How a route shares its traffic."""
    return {share.slot: share.weight for share in route.shares}


@dataclass(slots=True)
class Known:
    """What the movers' ledgers and the looks between them leave beyond doubt."""

    weights: dict[int, dict[str, int]]
    """Generation → how traffic is shared."""
    obeyed: int
    """The newest generation that was told to somebody or seen in force."""
    cut: int = 0
    """Moves that a death cut."""
    waits: list[float] = field(default_factory=list)
    """Seconds from a death until what it left unpublished was in force."""

    def learn(self, told: Told) -> None:
        """Take over a ledger; what was asked last and never told may have the next generation."""
        for asked, answer in itertools.zip_longest(told[::2], told[1::2]):
            self.weights[max(self.weights) + 1] = {slot: weight for slot, weight in asked["asked"].items() if weight}
            if answer is not None:
                assert answer["told"] == max(self.weights)
                self.obeyed = answer["told"]
        self.cut += len(told) % 2


def check(run: Rig, ws: Workspace, known: Known, told: Told) -> None:
    """Look at what is committed, published and obeyed after a death."""
    known.learn(told)
    with ws.control.read() as tx:
        newest = find_routes(tx, MODEL, limit=1)[0]
    if newest.generation == max(known.weights) - 1 and len(told) % 2:
        del known.weights[newest.generation + 1]  # it died before its commit: nothing happened
    assert newest.generation == max(known.weights), "what was acknowledged is committed, and at most what was asked after it"
    assert weights(newest) == known.weights[newest.generation]
    began = time.monotonic()
    if seen(run, known) < newest.generation and len(known.waits) < 3:
        until(lambda: seen(run, known) == newest.generation)
        known.waits.append(time.monotonic() - began)


def seen(run: Rig, known: Known) -> int:
    """The generation in force: that of the published file, which is whole, and of an answer given now."""
    number = published.published_generation(run.data)
    assert number is not None
    assert known.obeyed <= number <= max(known.weights)
    known.obeyed = number
    route = published.load(run.data / "routes" / str(number), number).routes[MODEL]
    assert weights(route) == known.weights[route.generation]
    status, heads = answer(run.url, user=f"u{number}")
    assert status == 200
    assert int(heads["x-tunekeeper-route-version"]) >= number
    assert heads["x-tunekeeper-slot"] in known.weights[int(heads["x-tunekeeper-route-version"])]
    return number


def answer(url: str, **body: Any) -> tuple[int, Mapping[str, str]]:
    """Status and heads of one answer, on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    with closing(connection):
        connection.request("POST", "/v1/chat/completions", json.dumps({"model": MODEL, "messages": HELLO, **body}))
        heard = connection.getresponse()
        heard.read()
        return heard.status, heard.headers


def test_a_route_is_the_last_committed_one_whoever_is_killed_while_it_changes(tmp_path: Path) -> None:
    kills, rng = figure(40, 300), random.Random(SEED)
    with rig(tmp_path, workers=2) as run, movers(run.data) as (first, begin):
        ws, known = open_workspace(run.data), Known(weights={first: {"a": 10_000}}, obeyed=first)
        for number in range(kills):
            victim = run.worker() if number % 8 == 3 else None
            if victim is not None:
                victim.kill()
            check(run, ws, known, live_and_die(begin, number, tmp_path / str(number), rng))
        run.gateway.running.stop(seconds=60)
        run.gateway = Gateway("--config", tmp_path / "gateway.yaml", "--data", run.data, "--workers", "2", "--json")
        assert seen(run, known) == max(known.weights), "after a restart: the last committed one"
        late = max(known.waits or [0.0])
        say("T14", SEED, kills=kills, moves=len(known.weights) - 1, cut=known.cut, unpublished_s=late)
        assert known.cut > kills / 10, "some die in the middle of a move"
        assert within(late, 20.0)


TWO_SLOTS = """\
active_slot: {active}
blue:
  model: m
  endpoint: {a}/v1
green:
  model: n
  endpoint: {b}/v1
"""


def test_half_a_routing_file_changes_nothing_and_the_whole_one_everything(tmp_path: Path) -> None:
    servers, waits, rng = [Upstream(), Upstream()], [], random.Random(SEED)
    path = tmp_path / "model_routing.yaml"
    texts = {active: TWO_SLOTS.format(active=active, a=servers[0].url, b=servers[1].url).encode() for active in ("blue", "green")}
    path.write_bytes(texts["blue"])
    gateway = Gateway("--routing", path, "--as", MODEL, "--data", tmp_path / "data", "--json")
    try:
        for active, was in (("green", "m"), ("blue", "n"))[: 2 if WHOLE else 1] * figure(1, 10):
            block = texts[active].index(f"\n{active}:".encode())
            place = rng.randrange(texts[active].index(b"endpoint", block))  # half an address would be an address too
            for broken in (texts[active][:place], b"models: {}\n")[: 2 if WHOLE else 1]:
                path.write_bytes(broken)
                gateway.running.event("not_reloaded", 60)
                assert answer(gateway.url)[1]["x-tunekeeper-version"] == was
            began = time.monotonic()
            path.write_bytes(texts[active])
            gateway.running.event("reloaded", 60)
            waits.append(time.monotonic() - began)
            assert answer(gateway.url)[1]["x-tunekeeper-version"] == {"m": "n", "n": "m"}[was]
        said = [each for each in gateway.running.seen if each["event"] == "not_reloaded"]
        say("T14", SEED, broken_files=len(said), whole_file_p95_s=at(waits, 0.95))
        assert all(str(path) in each["why"] for each in said)
        assert within(at(waits, 0.95), 20.0)
    finally:
        gateway.running.stop(seconds=60)
        for each in servers:
            each.running.stop()
