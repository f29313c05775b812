"""Our gateway as a contender, with all that it promises switched on, and the proof that it is."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.peers.contender import (
    REPOSITORY,
    Contender,
    Cores,
    Dialect,
    NotMeasured,
    ask,
    child,
    first_line,
    wait_for_answer,
)

SERVE = """\
durability: process
log_bodies: true
models:
  desk:
    assign_by: user
    timeouts: {{connect: 2, first_token: 30, between_tokens: 30, total: 600}}
    slots:
      a: {{endpoint: "{upstream}/v1", model: m, price_in: 0.5, price_out: 1.5}}
      b: {{endpoint: "{upstream}/v1", model: n, price_in: 0.1, price_out: 0.3}}
    route: {{a: 9000, b: 1000}}
"""
MANY = 1_000_000_000
LIMITS = ("--rate", str(MANY), "--tokens-per-minute", str(MANY), "--concurrent", "100000", "--budget", str(MANY))
"""Limits that are counted with every request and never reached."""
CARD = "4111 1111 1111 1111"
"""A card number that no bank gives out: redaction takes it out of what is logged."""


def _tunekeeper(*words: str) -> str:
    command = [sys.executable, "-m", "tunekeeper", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise NotMeasured(f"tunekeeper {words[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def new_key(data: Path) -> str:
    """A key of the gateway with the data directory `data`, with every limit there is."""
    scopes = ("--scope", "infer", "--scope", "metrics")
    return str(json.loads(_tunekeeper("key", "create", "--data", str(data), *scopes, *LIMITS, "--json"))["key"])


@contextmanager
def ours(folder: Path, upstream: str, cores: Cores, workers: int = 1) -> Iterator[Contender]:
    """`tunekeeper serve`: two slots, sticky routing, a limited key, deadlines, redaction, whole bodies in the log. Its data lies
    in `folder`/data."""
    folder.mkdir(parents=True, exist_ok=True)
    file, data = folder / "gateway.yaml", folder / "data"
    file.write_text(SERVE.format(upstream=upstream))
    dialect = Dialect(headers={"authorization": f"Bearer {new_key(data)}"})
    with running(file, data, dialect, cores.contender if workers == 1 else cores.pair, workers) as contender:
        yield contender


@contextmanager
def running(file: Path, data: Path, dialect: Dialect, where: frozenset[int] | None, workers: int = 1) -> Iterator[Contender]:
    """`tunekeeper serve` with `file` over `data`, from its start to its first answer and beyond."""
    command = [sys.executable, "-m", "tunekeeper", "serve", "--config", str(file), "--port", "0", "--data", str(data)]
    start = time.perf_counter()
    with child([*command, "--workers", str(workers)], where) as process:
        ready = first_line(process)
        url, pids = str(ready["url"]), ready["workers"]
        assert isinstance(pids, list)
        seconds = wait_for_answer(process, url, dialect, start)
        yield Contender(url=url, dialect=dialect, pid=process.pid, workers=tuple(pids), ready_seconds=seconds)


def prove(contender: Contender, data: Path) -> None:
    """One request that must meet everything that is said to be on. Raises NotMeasured naming what is off."""
    bare = ask(contender.url, replace(contender.dialect, headers={}))
    _require(bare.status == 401, "the key check")
    answer = ask(contender.url, contender.dialect, f"Is {CARD} mine? " * 3)
    _require(answer.status == 200 and answer.headers["x-ratelimit-limit-requests"] == str(MANY), "the limits of the key")
    inference = _logged(data, answer.headers["x-tunekeeper-request-id"])
    _require(inference["unit_kind"] == "user" and inference["bucket"] is not None, "sticky routing")
    request, said = inference["request"], inference["response"]
    _require(request is not None and "Is " in json.dumps(request) and said is not None, "logging of whole bodies")
    _require(CARD not in json.dumps(request), "redaction")
    _require(inference["cost_usd"] is not None, "the count of costs")
    _require("model_inference_requests_total{" in _metrics(contender), "metrics")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise NotMeasured(f"{what} is not on: its cost would be missing")


def _logged(data: Path, request_id: str) -> dict[str, object]:
    for line in _tunekeeper("log", "ls", "--data", str(data)).splitlines():
        inference: dict[str, object] = json.loads(line)
        if inference["request_id"] == request_id:
            return inference
    raise NotMeasured("the log is not on: a request has no record")


def _metrics(contender: Contender) -> str:
    place = urlsplit(contender.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    try:
        connection.request("GET", "/metrics", headers=dict(contender.dialect.headers))
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def logged(data: Path) -> int:
    """How many requests the log of `data` has a sound record of. Raises NotMeasured when it is damaged."""
    found = json.loads(_tunekeeper("log", "verify", "--data", str(data), "--json"))
    return int(found["records"])


def endings(data: Path) -> dict[str, int]:
    """How many records the log of `data` has of each purpose, ending and status: why it has too many or too few."""
    read = map(json.loads, _tunekeeper("log", "ls", "--data", str(data)).splitlines())
    return dict(Counter(f"{one['purpose']} {one['status']} {one['http_status']} {one['error']}" for one in read))
