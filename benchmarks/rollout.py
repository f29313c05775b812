"""Moving traffic: from `route set` and `rollback` to in force in every worker under 200 requests/s, beside the reload of a proxy.

All are counted the same way. Clients note when each request is sent and which backend answered; a request that was sent after the
command had returned and was answered by the old backend is late. Then what a look of the canary costs, and its decision alone
beside the test that is usually made of the same counts, which may be looked at once only.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scipy.stats import fisher_exact

from benchmarks import bench
from benchmarks.bench import Figure, Middle, Rounds
from benchmarks.peers import switching
from benchmarks.peers.contender import NotMeasured
from tunekeeper.core.nouns.rollout import Margins, Rollout
from tunekeeper.rollout.canary import tick
from tunekeeper.rollout.config import Config
from tunekeeper.rollout.decision import Evidence, Tick, decide, phases_of
from tunekeeper.rollout.moves import promote
from tunekeeper.store.ledgers.rollouts import save_rollout
from tunekeeper.testing.desk import FORMAT, MODEL, Desk, open_desk

RATE = 200
"""Requests a second."""
CLIENTS = 20
AFTER = 0.4
"""Seconds between two moves: what is late shows in them."""
TICKS = 24
"""Looks that the decision alone has behind it: six hours of a quarter."""


def answer(name: str) -> bytes:
    """What backend `name` answers."""
    message = {"index": 0, "message": {"role": "assistant", "content": f"from {name}"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}
    body = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": name, "choices": [message], "usage": usage})
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[str]:
    """A model server that says its name; yields host:port."""
    said = answer(name)
    handling: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        try:
            while True:
                _, length = await head(reader)
                await reader.readexactly(length)
                writer.write(said)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            writer.close()  # its client has gone, or we end: nobody waits for this task
        finally:
            handling.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in [*handling]:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)


async def head(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """First line and content-length of the next message."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    lengths = [int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")]
    return first, lengths[0] if lengths else 0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as its client knows it."""

    sent: float
    """When it was sent (time.perf_counter)."""
    by: str
    """The backend that answered; empty where nothing whole came back."""


@dataclass(slots=True)
class Clients:
    """Clients that ask at a steady rate, whatever the answers do, until told to stop."""

    url: str
    """Whom they ask."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: no more requests."""
    asked: list[Asked] = field(default_factory=list)
    """What they saw."""

    async def run(self) -> None:
        """Ask RATE times a second, from CLIENTS kept connections."""
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(self._one(number))

    async def _one(self, number: int) -> None:
        every = CLIENTS / RATE
        due = time.perf_counter() + every * number / CLIENTS
        place = urlsplit(self.url)
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        body = json.dumps({"model": "desk", "user": f"u{number}", "messages": [{"role": "user", "content": "Hello?"}]})
        fields = f"host: {place.netloc}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        request = f"POST /v1/chat/completions HTTP/1.1\r\n{fields}\r\n\r\n{body}".encode()
        while not self.over.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += every
            fresh = streams is None
            streams = streams or await asyncio.open_connection(place.hostname, place.port)
            sent = time.perf_counter()
            by, kept = await _exchange(*streams, request)
            if (
                by is None and not fresh
            ):  # closed between two requests, as a server may: one that was never answered is asked anew
                streams = await asyncio.open_connection(place.hostname, place.port)
                sent = time.perf_counter()
                by, kept = await _exchange(*streams, request)
            self.asked.append(Asked(sent, by or ""))
            if not kept:
                streams[1].close()
                streams = None
        if streams is not None:
            streams[1].close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[str | None, bool]:
    """Who answered (None: the connection closed without a byte; empty: no whole 200), and whether the connection may go on."""
    try:
        writer.write(request)
        first, length = await head(reader)
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        return ("" if error.partial else None), False
    except OSError:
        return None, False
    if b" 200 " not in first:
        return "", False
    return str(json.loads(body)["choices"][0]["message"]["content"].removeprefix("from ")), True


async def switch(start: switching.Start, folder: Path, moves: int) -> dict[str, float]:
    """`moves` moves there and back under load. Returns what one round shows: `late` requests, how long after the command's return
    the last of them was sent, `errors`, `rate`, and the command's milliseconds."""
    async with backend("a") as a, backend("b") as b:
        stack = ExitStack()
        try:
            proxy = await asyncio.to_thread(lambda: stack.enter_context(start(folder, {"a": a, "b": b})))
            clients = Clients(proxy.url)
            asking = asyncio.create_task(clients.run())
            began = time.perf_counter()
            await asyncio.sleep(AFTER)
            done = [await _move(proxy, "ba"[number % 2]) for number in range(moves)]
            clients.over.set()
            await asking
            return _seen(clients.asked, done, time.perf_counter() - began)
        finally:
            await asyncio.to_thread(stack.close)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """One move."""

    to: str
    """Where everything goes now."""
    returned: float
    """When its command returned (time.perf_counter)."""
    seconds: float
    """How long the command took, its process included."""
    ms: float | None
    """What the command itself says it took until every worker obeyed; None where it does not know."""


async def _move(proxy: switching.Proxy, to: str) -> Moved:
    start = time.perf_counter()
    said = await asyncio.to_thread(proxy.move, to)
    returned = time.perf_counter()
    await asyncio.sleep(AFTER)
    return Moved(to=to, returned=returned, seconds=returned - start, ms=said.get("ms"))


def _seen(asked: Sequence[Asked], done: Sequence[Moved], seconds: float) -> dict[str, float]:
    late: list[float] = []
    for number, move in enumerate(done):
        until = done[number + 1].returned - done[number + 1].seconds if number + 1 < len(done) else float("inf")
        late += [
            each.sent - move.returned for each in asked if move.returned < each.sent < until and each.by not in (move.to, "")
        ]
    sample = {
        "late": float(len(late)),
        "late_ms": 1000 * max(late, default=0.0),
        "errors": float(sum(each.by == "" for each in asked)),
        "rate": len(asked) / seconds,
        "command_ms": 1000 * statistics.median(move.seconds for move in done),
    }
    told = sorted(move.ms for move in done if move.ms is not None)
    if told:
        sample |= {"in_force_ms": statistics.median(told), "in_force_p99_ms": told[min(len(told) - 1, int(0.99 * len(told)))]}
    return sample


def moving(root: Path, moves: int, rounds: int) -> tuple[Rounds, dict[str, str]]:
    """Ours and the peers that are there, and why others are not."""
    starts: dict[str, switching.Start] = {"ours": switching.ours, **switching.PEERS}
    missing: dict[str, str] = {}

    def once(name: str) -> dict[str, float]:
        if name in missing:
            return {}
        with tempfile.TemporaryDirectory(dir=root) as folder:
            try:
                return asyncio.run(switch(starts[name], Path(folder), moves))
            except NotMeasured as error:
                if name == "ours":
                    raise
                missing[name] = str(error)
                return {}

    return bench.interleave({name: partial(once, name) for name in starts}, rounds), missing


def canary(folder: Path, requests: int) -> Desk:
    """A desk with a canary at a quarter of the traffic that has seen `requests` requests since it began."""
    desk = open_desk(folder)
    for name, version in (("blue", "v1.0"), ("green", "v1.1")):
        desk.slot(name, version)
    promote(desk.ws, MODEL, "blue", by="bench", reason="first")
    desk.clock.advance(60)
    rollout = Rollout(
        id="rol_1",
        model=MODEL,
        version=f"{MODEL}@v1.1",
        slot="green",
        artifact_digest="sha256:v1.1",
        phases=phases_of([(25, 1000)]),
        margins=Margins(errors=0.05, corrections=0.05),
        due=desk.clock.steady(),
    )
    with desk.ws.control.write(by="bench") as tx:
        save_rollout(tx, rollout)
    tick(desk.ws, "rol_1", Config(), FORMAT)
    desk.traffic(requests, 6 * 3600.0, desk.faulty({"blue": 0.03, "green": 0.03}))
    return desk


def looking(desk: Desk, looks: int) -> dict[str, float]:
    """Median CPU milliseconds of a look at a running canary: log, counts, decision, one write."""
    taken = []
    for _ in range(looks):
        desk.clock.advance(900)
        start = time.process_time()
        after = tick(desk.ws, "rol_1", Config(), FORMAT)
        taken.append(1000 * (time.process_time() - start))
        if after.checks[-1].action != "hold":
            raise SystemExit(f"the canary did not hold: {after.checks[-1].reason}: no figure")
    return {"ms": statistics.median(taken)}


def evidence(seed: int = 7) -> Evidence:
    """What TICKS looks at two equally good versions counted."""
    chance = random.Random(seed)

    def one() -> Tick:
        small, large = chance.randint(20, 40), chance.randint(80, 120)
        failed = [sum(chance.random() < 0.03 for _ in range(n)) for n in (small, large)]
        return Tick(candidate=small, candidate_failed=failed[0], champion=large, champion_failed=failed[1], share=0.25)

    ticks = {name: [one() for _ in range(TICKS)] for name in ("errors", "corrections")}
    return Evidence(ticks=ticks, phase_requests=30 * TICKS)


def deciding(repeats: int, rounds: int) -> Rounds:
    """CPU of the decision on the same counts: ours, true under any number of looks, and Fisher's test of both metrics."""
    seen = evidence()
    rollout = Rollout(id="r", model="m", version="m@v", slot="s", phases=phases_of([(25, 1)]), state="running", phase_started=0.0)

    def ours() -> object:
        return decide(rollout, seen, 4000.0, min_requests=20, prior={"errors": 0.03, "corrections": 0.03})

    def theirs() -> object:
        return [fisher_exact(_table(ticks)) for ticks in seen.ticks.values()]

    def timed(work: Any) -> bench.Sample:
        start = time.process_time()
        for _ in range(repeats):
            work()
        return {"ms": 1000 * (time.process_time() - start) / repeats}

    return bench.interleave({"ours": partial(timed, ours), "scipy": partial(timed, theirs)}, rounds)


def _table(ticks: Sequence[Tick]) -> list[list[int]]:
    failed, known = sum(t.candidate_failed for t in ticks), sum(t.candidate for t in ticks)
    other, all_other = sum(t.champion_failed for t in ticks), sum(t.champion for t in ticks)
    return [[failed, known - failed], [other, all_other - other]]


def figures(moved: Rounds, looked: Rounds, decided: Rounds) -> Iterator[Figure]:
    """The table."""

    def of(name: str, quantity: str) -> Middle | None:
        return moved.over(lambda one: one[name][quantity])

    yield bench.figure("in_force", of("ours", "in_force_ms"), "ms")
    yield bench.figure("in_force_p99", of("ours", "in_force_p99_ms"), "ms", goal=250.0)
    for name in ("ours", *switching.PEERS):
        peer = {} if name == "ours" else {"peer": name}
        none = {"goal": 0.0} if name == "ours" else {}
        yield bench.figure(f"late_{name}", of(name, "late"), "requests", **none, **peer)
        yield bench.figure(f"late_for_{name}", of(name, "late_ms"), "ms", **peer)
        yield bench.figure(f"errors_{name}", of(name, "errors"), "requests", **none, **peer)
        yield bench.figure(f"command_{name}", of(name, "command_ms"), "ms", **peer)
        yield bench.figure(f"rate_{name}", of(name, "rate"), "requests/s", direction="higher", **peer)
    yield bench.figure("look_at_canary_cpu", looked.over(lambda one: one["ours"]["ms"]), "ms", goal=1000.0)
    yield bench.figure("decision_cpu", decided.over(lambda one: one["ours"]["ms"]), "ms")
    ratio = decided.over(lambda one: one["ours"]["ms"] / one["scipy"]["ms"])
    yield bench.figure("decision_to_scipy", ratio, "x", peer="scipy")


def main() -> int:
    """Run it; returns the exit code."""
    parser = bench.parser(__doc__, rounds=3)
    parser.add_argument("--moves", type=bench.positive, default=40, help="moves of each contender in a round; default 40")
    given = parser.parse_args()
    moves, requests, repeats, rounds = (2, 500, 20, 1) if given.quick else (given.moves, 10_000, 200, given.rounds)
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as name:
        moved, missing = moving(Path(name), moves, rounds)
        desk = canary(Path(name) / "desk", requests)
        looked = bench.interleave({"ours": partial(looking, desk, 3)}, rounds)
        found = [*figures(moved, looked, deciding(repeats, rounds))]
    bench.report("rollout", rounds, found, given.results, missing)
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
