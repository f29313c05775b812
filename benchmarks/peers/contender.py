"""A contender of the gateway's benchmark: a process on cores of its own that answers chat requests."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
READY_SECONDS = 180.0
"""How long a contender may take to its first answer."""
CHAT = "/v1/chat/completions"


class NotMeasured(Exception):
    """A contender is not there, does not start, or does not answer: there is no figure, and the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """What a contender wants in a request."""

    path: str = CHAT
    """Where chat requests go."""
    model: str = "desk"
    """The model's name there."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every request, the key among them."""
    user: bool = True
    """Whether it knows the body's field `user`."""

    def words(self) -> list[str]:
        """Arguments of `benchmarks.traffic load`."""
        headers = [word for name, value in self.headers.items() for word in ("--header", f"{name}={value}")]
        return ["--path", self.path, "--model", self.model, *headers, *([] if self.user else ["--no-user"])]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """Something that answers chat requests."""

    url: str
    """Where, without the path."""
    dialect: Dialect = Dialect()
    """What it wants in a request."""
    pid: int | None = None
    """Root of its process tree; None for the floor, whose cost is nobody's."""
    workers: tuple[int, ...] = ()
    """Processes on the request path; empty where nobody knows them."""
    ready_seconds: float = 0.0
    """From start to its first answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cores:
    """Which cores the two sides run on; None: wherever the system puts them."""

    traffic: frozenset[int] | None
    """Clients and model server."""
    contender: frozenset[int] | None
    """The whole tree of a contender with one worker."""
    pair: frozenset[int] | None
    """The whole tree of a contender with two workers."""

    @classmethod
    def of_machine(cls) -> Cores:
        """The first core for the traffic, the last for a contender, and the last two for one with two workers where there are
        three: with two cores its workers share one. Unbound on one core, or where a process cannot be bound."""
        known = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if len(known) < 2:
            return cls(traffic=None, contender=None, pair=None)
        last = frozenset(known[-1:])
        return cls(traffic=frozenset(known[:1]), contender=last, pair=frozenset(known[-2:]) if len(known) > 2 else last)


@contextmanager
def bound(cores: frozenset[int] | None) -> Iterator[None]:
    """Whatever is started inside runs on `cores`, with all its threads and children."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def child(
    command: list[str], cores: frozenset[int] | None, *, log: Path | None = None, **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """A child on `cores`, ended at the end. What it says goes to `log`, or without one its stdout can be read."""
    given = {**os.environ, **environ}
    with open(log or os.devnull, "w", encoding="utf-8") as said:
        out = subprocess.PIPE if log is None else said
        error = None if log is None else said
        with bound(cores):
            process = subprocess.Popen(
                command, cwd=REPOSITORY, env=given, stdin=subprocess.DEVNULL, stdout=out, stderr=error, text=True
            )
        with process:
            try:
                yield process
            finally:
                end(process)


def end(process: subprocess.Popen[str]) -> None:
    """SIGTERM, and SIGKILL when it does not listen."""
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()


def first_line(process: subprocess.Popen[str]) -> dict[str, object]:
    """The JSON of the first line a child says. Raises NotMeasured when it says nothing."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise NotMeasured(f"{process.args!r} did not start")
    found: dict[str, object] = json.loads(line)
    return found


def ask(url: str, dialect: Dialect, text: str = "Which form do I need?", timeout: float = 30.0) -> http.client.HTTPResponse:
    """One chat request, its answer read whole (`.headers`, `.status`). Raises OSError."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
    try:
        who = {"user": "somebody"} if dialect.user else {}
        body = json.dumps({"model": dialect.model, **who, "messages": [{"role": "user", "content": text}]})
        connection.request("POST", dialect.path, body, {"content-type": "application/json", **dialect.headers})
        answer = connection.getresponse()
        answer.read()
        return answer
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error
    finally:
        connection.close()


def wait_for_answer(process: subprocess.Popen[str], url: str, dialect: Dialect, start: float, log: Path | None = None) -> float:
    """Ask until an answer is 200; returns the seconds since `start` (time.perf_counter). Raises NotMeasured."""
    last = ""
    while time.perf_counter() - start < READY_SECONDS and process.poll() is None:
        try:
            answer = ask(url, dialect)
            if answer.status == 200:
                return time.perf_counter() - start
            last = f", last answer {answer.status}"
        except OSError:
            pass
        time.sleep(0.02)
    ended = f"ended with {process.returncode}" if process.poll() is not None else f"no answer in {READY_SECONDS:.0f} s"
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log else []
    raise NotMeasured(f"it does not start: {ended}{last}{': ' if said else ''}{''.join(said)[:200]}")


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and all its descendants have used."""
    return sum(own_cpu_seconds(process) for process in tree(pid))


def own_cpu_seconds(process: psutil.Process) -> float:
    """CPU time that one process has used; 0 when it has gone."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def settled_cpu_seconds(pid: int, patience: float = 6.0) -> float:
    """`cpu_seconds` once the tree rests: what a contender puts off (compacting its log, say) is part of what its requests cost.
    At most `patience` seconds later."""
    before, end_at = cpu_seconds(pid), time.monotonic() + patience
    while True:
        time.sleep(0.3)
        now = cpu_seconds(pid)
        if now - before <= 0.02 or time.monotonic() > end_at:
            return now
        before = now
