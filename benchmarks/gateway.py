"""The gateway with keys, sticky routing, redaction and whole-body logging on, beside nginx and beside the model server itself.

Client, model server and contender are processes of their own on loopback; one worker each. The bare model server is the floor:
what is added to it is the contender's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from benchmarks import bench
from benchmarks.bench import Figure, Rounds

REPOSITORY = Path(__file__).resolve().parents[1]
KEY = "a-key-of-the-benchmark-and-of-nothing-else"
CONNECTIONS = 32
SETTLE_SECONDS = 6.0
"""How long the contenders run before the first round: what starts once, the keeper of the log among it, is no request's cost."""
UNSTARTED = (("litellm", 100.0), ("portkey", 30.0), ("tensorzero", 3.0))
"""Peers that this program cannot start, with how many times their rate ours should be."""

SERVE = """\
models:
  desk:
    assign_by: user
    slots: {{a: {{endpoint: "{upstream}/v1", model: m}}, b: {{endpoint: "{upstream}/v1", model: n}}}}
    route: {{a: 9000, b: 1000}}
"""
NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  keepalive_requests 1000000000;
  upstream model {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """Something that answers chat requests."""

    url: str
    """Where, without `/v1`."""
    pid: int | None = None
    """Root of its process tree; None for the floor, whose cost is nobody's."""
    workers: tuple[int, ...] = ()
    """Processes on the request path."""
    ready_seconds: float = 0.0
    """From start to the first moment it can answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """How much is asked of a contender in one round."""

    requests: int
    """Requests on each of the 32 connections."""
    lonely: int
    """Requests at one connection."""
    streams: int
    """Streams on each of the 32 connections."""


@contextmanager
def _process(command: list[str], **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A child whose first output line can be read; ended at the end."""
    given = {**os.environ, **environ}
    with subprocess.Popen(command, cwd=REPOSITORY, env=given, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()


def _said(process: subprocess.Popen[str]) -> dict[str, object]:
    """The first line a child says. Raises SystemExit when it says nothing."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process of the benchmark did not start: {process.args!r}")
    found: dict[str, object] = json.loads(line)
    return found


@contextmanager
def upstream() -> Iterator[Contender]:
    """The model server, which is also the floor."""
    with _process([sys.executable, "-m", "benchmarks.traffic", "upstream"]) as process:
        yield Contender(url=str(_said(process)["listening"]))


@contextmanager
def ours(folder: Path, upstream_url: str) -> Iterator[Contender]:
    """`tunekeeper serve` with one worker, two slots and a key."""
    file = folder / "gateway.yaml"
    file.write_text(SERVE.format(upstream=upstream_url))
    command = [sys.executable, "-m", "tunekeeper", "serve", "--config", str(file), "--port", "0", "--data", str(folder / "data")]
    start = time.perf_counter()
    with _process(command, TUNEKEEPER_GATEWAY_KEY=KEY) as process:
        ready = _said(process)
        seconds = time.perf_counter() - start
        workers = ready["workers"]
        assert isinstance(workers, list)
        yield Contender(url=str(ready["url"]), pid=process.pid, workers=tuple(workers), ready_seconds=seconds)


@contextmanager
def nginx(folder: Path, upstream_url: str) -> Iterator[Contender | None]:
    """nginx with `proxy_pass` and kept connections; None where it is not installed."""
    program = shutil.which("nginx") or shutil.which(
        "nginx", path="/usr/sbin:/usr/local/sbin"
    )  # Debian keeps it off a user's PATH
    if program is None:
        yield None
        return
    port = _free_port()
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, upstream=upstream_url.removeprefix("http://"), port=port))
    with _process([program, "-p", str(folder), "-c", str(file)]) as process:
        _wait_for(port)
        yield Contender(url=f"http://127.0.0.1:{port}", pid=process.pid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and all its descendants have used."""
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def load(url: str, connections: int, count: int, *words: str) -> dict[str, float]:
    """Ask `count` times on each connection from another process. Raises SystemExit when any answer was not 200: a gateway that
    fails fast is not a fast gateway."""
    command = [sys.executable, "-m", "benchmarks.traffic", "load", "--url", url, "--key", KEY, *words]
    command += ["--connections", str(connections), "--requests", str(count)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    if found["errors"]:
        raise SystemExit(f"{found['errors']:.0f} of {found['requests']:.0f} requests to {url} failed: no figure")
    return found


def measure(contender: Contender, amount: Amount) -> dict[str, float]:
    """One round of one contender: rate, CPU per request in microseconds, medians in milliseconds."""
    load(contender.url, CONNECTIONS, 5)
    before = cpu_seconds(contender.pid) if contender.pid else 0.0
    many = load(contender.url, CONNECTIONS, amount.requests)
    used = cpu_seconds(contender.pid) - before if contender.pid else 0.0
    alone = load(contender.url, 1, amount.lonely)
    streams = load(contender.url, CONNECTIONS, amount.streams, "--stream")
    return {
        "rate": many["rate"],
        "cpu_us": 1e6 * used / many["requests"],
        "alone_ms": alone["median_ms"],
        "first_chunk_ms": streams["first_chunk_ms"],
    }


def figures(rounds: Rounds, ready: float, idle_mb: float) -> list[Figure]:
    """The table: ours beside nginx, and what ours adds to the floor."""
    added = rounds.difference("ours", "direct", "alone_ms")
    added_nginx = rounds.difference("nginx", "direct", "alone_ms")
    ours_first = rounds.difference("ours", "direct", "first_chunk_ms")
    return [
        Figure(id="rate", value=rounds.median("ours", "rate"), unit="requests/s", direction="higher"),
        Figure(id="rate_nginx", value=rounds.median("nginx", "rate"), unit="requests/s", direction="higher", peer="nginx"),
        Figure(id="rate_to_floor", value=rounds.ratio("ours", "direct", "rate"), unit="x", direction="higher", peer="direct"),
        Figure(id="rate_to_nginx", value=rounds.ratio("ours", "nginx", "rate"), unit="x", direction="higher", peer="nginx"),
        *(
            Figure(id=f"rate_to_{peer}", value=None, unit="x", goal=goal, direction="higher", peer=peer)
            for peer, goal in UNSTARTED
        ),
        Figure(id="cpu_per_request", value=rounds.median("ours", "cpu_us"), unit="us"),
        Figure(id="cpu_to_nginx", value=rounds.ratio("ours", "nginx", "cpu_us"), unit="x", goal=3.0, peer="nginx"),
        Figure(id="added_latency", value=added, unit="ms", peer="direct"),
        Figure(id="added_latency_to_nginx", value=_divided(added, added_nginx), unit="x", goal=2.0, peer="nginx"),
        Figure(id="first_chunk", value=rounds.median("ours", "first_chunk_ms"), unit="ms"),
        Figure(id="first_chunk_added", value=ours_first, unit="ms", peer="direct"),
        Figure(
            id="first_chunk_over_nginx",
            value=rounds.difference("ours", "nginx", "first_chunk_ms"),
            unit="ms",
            goal=1.0,
            peer="nginx",
        ),
        Figure(id="ready", value=ready, unit="s", goal=1.0),
        Figure(id="memory_idle", value=idle_mb, unit="MB", goal=80.0),
    ]


def _divided(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by


def main() -> int:
    """Run it; returns the exit code."""
    parser = bench.parser(__doc__, rounds=3)
    parser.add_argument("--requests", type=int, default=2000, help="requests on each of the 32 connections, a round")
    given = parser.parse_args()
    amount = Amount(requests=given.requests, lonely=2000, streams=50)
    if given.quick:
        amount = Amount(requests=100, lonely=200, streams=5)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that the children end with us
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunekeeper-bench-")))
        floor = stack.enter_context(upstream())
        own = stack.enter_context(ours(folder, floor.url))
        idle_mb = max(psutil.Process(pid).memory_info().rss for pid in own.workers) / 1e6
        taking = {"direct": floor, "ours": own}
        peer = stack.enter_context(nginx(folder, floor.url))
        if peer is not None:
            taking["nginx"] = peer
        runs: dict[str, bench.Contender] = {name: partial(measure, one, amount) for name, one in taking.items()}
        for one in taking.values():
            load(one.url, CONNECTIONS, 5)
        time.sleep(SETTLE_SECONDS)
        rounds = bench.interleave(runs, given.rounds)
    bench.report("gateway", given.rounds, figures(rounds, own.ready_seconds, idle_mb), given.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
