"""The gateway with keys, limits, sticky routing, redaction, metrics and whole-body logging on, beside other gateways.

Client and model server share one core, a contender with all its processes has another. The bare model server is the floor: what
is added to it is the contender's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil

from benchmarks import bench
from benchmarks.bench import Figure, Middle, Rounds, figure
from benchmarks.peers import ours, starters
from benchmarks.peers.contender import (
    REPOSITORY,
    Contender,
    Cores,
    NotMeasured,
    bound,
    child,
    cpu_seconds,
    first_line,
    own_cpu_seconds,
    settled_cpu_seconds,
)

CONNECTIONS = 32
SETTLE_SECONDS = 6.0
"""How long the contenders run before the first round: what starts once, the keeper of the log among it, is no request's cost."""
STREAMS_AT_ONCE = 1000
SLOWLY = ("--pace", "500")
"""Streams that are all open at once."""
PACED = ("--pace", "25", "--spread", "0.2")
"""Streams as a model writes them, to clients that do not begin in step: each takes a little more than this."""
QUICK_ROUNDS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """How long a contender is asked in one round, in seconds."""

    many: float
    """At 32 connections."""
    lonely: float
    """At one connection."""
    streams: float
    """Streams at 32 connections."""
    warm: float = 0.5
    """Before them, at 32 connections, uncounted."""


FULL = Amount(many=4.0, lonely=2.0, streams=2.0)
QUICK = Amount(many=1.0, lonely=0.5, streams=0.5, warm=0.2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """The clients' and the model server's side."""

    pid: int
    """The model server."""
    cores: frozenset[int] | None
    """Where both run."""


@contextmanager
def upstream(cores: Cores) -> Iterator[Contender]:
    """The model server, which is also the floor."""
    with child([sys.executable, "-m", "benchmarks.traffic", "upstream"], cores.traffic) as process:
        yield Contender(url=str(first_line(process)["listening"]), workers=(process.pid,))


def load(contender: Contender, traffic: Traffic, connections: int, seconds: float, *words: str) -> dict[str, float]:
    """Ask for `seconds` on each connection from another process. Raises NotMeasured when any answer was not 200: a gateway that
    fails fast is not a fast gateway."""
    command = [sys.executable, "-m", "benchmarks.traffic", "load", "--url", contender.url, *contender.dialect.words(), *words]
    command += ["--connections", str(connections), "--seconds", str(seconds)]
    with bound(traffic.cores):
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise NotMeasured(f"the clients failed: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout)
    if found["errors"] or not found["requests"]:
        raise NotMeasured(
            f"{found['errors']:.0f} of its requests failed, {found['requests']:.0f} ended {' '.join(words)}".strip()
        )
    return found


class Turn:
    """The turns of one contender."""

    def __init__(self, contender: Contender, traffic: Traffic, amount: Amount) -> None:
        self.contender = contender
        self.traffic = traffic
        self.amount = amount
        self.answered = 0
        """Requests that it answered."""
        self.lost: str | None = None
        """Why it was not measured whole."""

    def __call__(self) -> dict[str, float]:
        """One round: rate, CPU per request in microseconds, medians in milliseconds. What cannot be measured is left out."""
        if self.lost is not None:
            return {}
        sample: dict[str, float] = {}
        try:
            self._ask(CONNECTIONS, self.amount.warm)
            self._many(sample)
            sample["alone_ms"] = self._ask(1, self.amount.lonely)["median_ms"]
            for name, *pace in (("first_chunk_ms",), ("paced_chunk_ms", *PACED)):
                sample[name] = self._ask(CONNECTIONS, self.amount.streams, "--stream", *pace)["first_chunk_ms"]
        except NotMeasured as error:
            self.lost = str(error)
        return sample

    def _ask(self, connections: int, seconds: float, *words: str) -> dict[str, float]:
        found = load(self.contender, self.traffic, connections, seconds, *words)
        self.answered += int(found["requests"])
        return found

    def _many(self, sample: dict[str, float]) -> None:
        model_server = psutil.Process(self.traffic.pid)
        served = own_cpu_seconds(model_server)
        before = cpu_seconds(self.contender.pid) if self.contender.pid else 0.0
        workers = self._workers()
        found = self._ask(CONNECTIONS, self.amount.many)
        busy = own_cpu_seconds(model_server) - served + found["cpu_seconds"]
        sample["rate"] = found["rate"]
        sample["traffic_us"] = 1e6 * busy / found["requests"]
        sample["traffic_share"] = busy / found["seconds"]
        if self.contender.pid is not None:
            sample["worker_us"] = 1e6 * (self._workers() - workers) / found["requests"]
            sample["cpu_us"] = 1e6 * (settled_cpu_seconds(self.contender.pid) - before) / found["requests"]

    def _workers(self) -> float:
        return sum(own_cpu_seconds(psutil.Process(pid)) for pid in self.contender.workers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """What only ours is asked: starts and memory."""

    ready: Middle | None = None
    """Seconds from start to first answer."""
    ready_cpu: Middle | None = None
    """CPU seconds of the tree until then."""
    idle_mb: Middle | None = None
    """Memory of a worker that has answered one request."""
    streaming_mb: float | None = None
    """Most memory of the worker while 1,000 streams are open."""
    again: float | None = None
    """The same in a second wave of streams, by the first one's."""
    unlike: float | None = None
    """How far the number of records in the log is from the number of answers, either way."""


def starts(folder: Path, contender: Contender, times: int) -> Own:
    """Start ours `times` times over the same data directory, on whatever cores it finds."""
    seconds, used, resident = [], [], []
    for _ in range(times):
        with ours.running(folder / "gateway.yaml", folder / "data", contender.dialect, None) as one:
            assert one.pid is not None
            seconds.append(one.ready_seconds)
            used.append(cpu_seconds(one.pid))
            resident.append(max(memory_mb(pid) for pid in one.workers))
    return Own(ready=bench.middle(seconds), ready_cpu=bench.middle(used), idle_mb=bench.middle(resident))


def memory_mb(pid: int) -> float:
    """Resident memory of one process in MB."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def crowd(contender: Contender, traffic: Traffic) -> tuple[float, int]:
    """Most memory of a worker in MB while 1,000 slow streams are open, and how many requests were answered. Raises NotMeasured
    when fewer were open at once."""
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], *(memory_mb(pid) for pid in contender.workers))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        found = load(contender, traffic, STREAMS_AT_ONCE, 0.1, "--stream", *SLOWLY)
    finally:
        over.set()
        watching.join()
    if found["most_open"] < STREAMS_AT_ONCE:
        raise NotMeasured(f"only {found['most_open']:.0f} of {STREAMS_AT_ONCE} streams were open at once")
    return most[0], int(found["requests"])


def per_peer(rounds: Rounds, peer: str, rate: float | None) -> list[Figure]:
    """Ours beside one peer, and what that peer did."""

    def ratio(quantity: str) -> Middle | None:
        return rounds.over(lambda one: one["ours"][quantity] / one[peer][quantity])

    def added(one: Mapping[str, bench.Sample]) -> float:
        mine = one["ours"]["alone_ms"] - one["direct"]["alone_ms"]
        return mine / (one[peer]["alone_ms"] - one["direct"]["alone_ms"])

    def later(quantity: str) -> Middle | None:
        return rounds.over(lambda one: one["ours"][quantity] - one[peer][quantity])

    goals = {"cpu": 3.0, "added": 2.0, "later": 1.0} if peer == "nginx" else {}
    return [
        figure(f"rate_{peer}", rounds.over(lambda one: one[peer]["rate"]), "requests/s", direction="higher", peer=peer),
        figure(f"cpu_{peer}", rounds.over(lambda one: one[peer]["cpu_us"]), "us", peer=peer),
        figure(f"rate_to_{peer}", ratio("rate"), "x", goal=rate, direction="higher", peer=peer),
        figure(f"cpu_to_{peer}", ratio("cpu_us"), "x", goal=goals.get("cpu"), peer=peer),
        figure(f"added_latency_to_{peer}", rounds.over(added), "x", goal=goals.get("added"), peer=peer),
        figure(f"first_chunk_over_{peer}", later("first_chunk_ms"), "ms", goal=goals.get("later"), peer=peer),
        figure(f"paced_chunk_over_{peer}", later("paced_chunk_ms"), "ms", goal=goals.get("later"), peer=peer),
    ]


def figures(rounds: Rounds, own: Own) -> list[Figure]:
    """The table: ours, then ours beside each peer. A peer that is not there keeps its lines, not measured."""

    def of(name: str, quantity: str) -> Middle | None:
        return rounds.over(lambda one: one[name][quantity])

    def over_floor(quantity: str) -> Middle | None:
        return rounds.over(lambda one: one["ours"][quantity] - one["direct"][quantity])

    def second(one: str, two: str) -> Middle | None:
        return rounds.over(lambda found: found[two]["cpu_us"] / found[one]["cpu_us"])

    floor = rounds.over(lambda one: one["ours"]["rate"] / one["direct"]["rate"])
    share = rounds.over(lambda one: one["ours"]["traffic_us"] / one["ours"]["cpu_us"])
    return [
        figure("rate", of("ours", "rate"), "requests/s", direction="higher"),
        figure("rate_to_floor", floor, "x", direction="higher", peer="direct"),
        figure("cpu_per_request", of("ours", "cpu_us"), "us"),
        figure("cpu_of_worker", of("ours", "worker_us"), "us"),
        figure("cpu_two_workers", second("ours", "ours2"), "x", goal=1.1, peer="one worker"),
        figure("cpu_two_workers_nginx", second("nginx", starters.PAIR), "x", peer="one worker of nginx"),
        figure("rate_two_workers", of("ours2", "rate"), "requests/s", direction="higher"),
        figure("added_latency", over_floor("alone_ms"), "ms", peer="direct"),
        figure("first_chunk", of("ours", "first_chunk_ms"), "ms"),
        figure("paced_chunk", of("ours", "paced_chunk_ms"), "ms"),
        figure("first_chunk_added", over_floor("first_chunk_ms"), "ms", peer="direct"),
        *(one for name, peer in starters.ALL.items() for one in per_peer(rounds, name, peer.rate)),
        figure("ready", own.ready, "s", goal=1.0),
        figure("ready_cpu", own.ready_cpu, "s"),
        figure("memory_idle", own.idle_mb, "MB", goal=80.0),
        Figure(id="memory_1000_streams", value=own.streaming_mb, unit="MB"),
        Figure(id="memory_1000_streams_again", value=own.again, unit="x", goal=1.1),
        Figure(id="log_unlike_answers", value=own.unlike, unit="requests", goal=0.0),
        figure("traffic_to_ours", share, "x", goal=1.0),
        figure("traffic_core_ours", of("ours", "traffic_share"), "cores"),
        figure("traffic_core_nginx", of("nginx", "traffic_share"), "cores"),
    ]


class Field:
    """All contenders of one run, started one after another and ended with `stack`."""

    def __init__(self, stack: ExitStack, folder: Path, cores: Cores) -> None:
        self.stack = stack
        self.folder = folder
        self.cores = cores
        self.missing: dict[str, str] = {}
        """Contender → why it was not measured."""
        self.floor = stack.enter_context(upstream(cores))
        self.traffic = Traffic(pid=self.floor.workers[0], cores=cores.traffic)
        self.own = stack.enter_context(ours.ours(folder / "ours", self.floor.url, cores))
        ours.prove(self.own, folder / "ours" / "data")
        pair = stack.enter_context(ours.ours(folder / "ours2", self.floor.url, cores, 2))
        self.taking = {"direct": replace(self.floor, dialect=self.own.dialect), "ours": self.own, "ours2": pair}

    def join(self, wanted: list[str]) -> None:
        """Start the peers that are there."""
        for name, peer in starters.ALL.items():
            if name in wanted:
                self._start(name, peer.start)
            else:
                self.missing[name] = "not among --peers"
        if "nginx" in self.taking:
            self._start(starters.PAIR, partial(starters.nginx, workers=2))

    def _start(self, name: str, start: Callable[[Path, str, Cores], AbstractContextManager[Contender]]) -> None:
        (self.folder / name).mkdir()
        try:
            self.taking[name] = self.stack.enter_context(start(self.folder / name, self.floor.url, self.cores))
        except NotMeasured as error:
            self.missing[name] = str(error)

    def run(self, amount: Amount, rounds: int) -> tuple[Rounds, Own]:
        """Everything, in the order that disturbs least: rounds, then starts, then the crowd of streams."""
        turns = {name: Turn(one, self.traffic, amount) for name, one in self.taking.items()}
        time.sleep(SETTLE_SECONDS)
        found = bench.interleave({name: partial(_said, name, turn) for name, turn in turns.items()}, rounds)
        lost = {name: turn.lost for name, turn in turns.items() if turn.lost is not None}
        if "ours" in lost:
            raise NotMeasured(f"ours: {lost['ours']}")
        self.missing |= lost
        fresh = self.folder / "fresh"
        with ours.ours(fresh, self.floor.url, self.cores) as made:
            pass
        own = self._crowded(starts(fresh, made, rounds), turns["ours"].answered)
        return without(found, lost), own

    def _crowded(self, own: Own, answered: int) -> Own:
        """`own` with what two waves of 1,000 streams showed. `answered`: requests before them."""
        try:
            first, one = crowd(self.own, self.traffic)
            second, two = crowd(self.own, self.traffic)
            # The first answer of a start and the one of `prove` come on top; what was refused has no record.
            told = answered + one + two + 2
            unlike = abs(told - ours.logged(self.folder / "ours" / "data"))
        except NotMeasured as error:
            self.missing[f"{STREAMS_AT_ONCE} streams"] = str(error)
            return own
        if unlike:
            print(f"log: {told} answers, records: {ours.endings(self.folder / 'ours' / 'data')}", file=sys.stderr)
        return replace(own, streaming_mb=first, again=second / first, unlike=float(unlike))


def without(rounds: Rounds, names: Collection[str]) -> Rounds:
    """The rounds without the contenders `names`: one that failed once has no median."""
    return Rounds([{name: one for name, one in sample.items() if name not in names} for sample in rounds.samples])


def _said(name: str, turn: Turn) -> dict[str, float]:
    """A turn, with a word on stderr of who it was."""
    sample = turn()
    known = ", ".join(f"{key} {value:,.4g}" for key, value in sample.items() if key in ("rate", "cpu_us", "alone_ms"))
    print(f"{name}: {known or turn.lost}", file=sys.stderr, flush=True)
    return sample


def _parser() -> argparse.ArgumentParser:
    parser = bench.parser(__doc__, rounds=5)
    parser.add_argument("--peers", default=",".join(starters.ALL), help="which of them, with commas; default all")
    parser.add_argument(
        "--seconds", type=bench.seconds, default=FULL.many, help=f"at 32 connections, a round; default {FULL.many:g}"
    )
    return parser


def main() -> int:
    """Run it; returns the exit code."""
    parser = _parser()
    given = parser.parse_args()
    wanted = [name for name in given.peers.split(",") if name]
    unknown = [name for name in wanted if name not in starters.ALL]
    if unknown:
        parser.error(f"no peer is called {unknown[0]!r}; known: {', '.join(starters.ALL)}")
    amount = QUICK if given.quick else replace(FULL, many=given.seconds)
    count = min(given.rounds, QUICK_ROUNDS) if given.quick else given.rounds
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunekeeper-bench-")))
            field = Field(stack, folder, Cores.of_machine())
            field.join(wanted)
            rounds, own = field.run(amount, count)
    except NotMeasured as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    bench.report("gateway", count, figures(rounds, own), given.results, field.missing)
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
