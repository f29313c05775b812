"""The process: ready, killed, drained, out of disk, beside others. What it logged is compared with the clients' own ledgers."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patience import until
from tunekeeper.core.errors import PortInUse
from tunekeeper.core.nouns.serving import Route, RouteTable, Share, Slot
from tunekeeper.gateway.main import bind
from tunekeeper.gateway.options import Options, write_options
from tunekeeper.store.log.lines import scan
from tunekeeper.store.published import publish

MODEL = "support-desk"
SOURCE = str(Path(__file__).resolve().parents[2] / "src")


class Processes:
    """A model server and gateway workers as children on one listening socket."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("run", "spool", "routes"):
            (root / name).mkdir(parents=True)
        (root / "control.db").touch()  # a worker looks that there is a workspace, and opens no database
        self.children: list[subprocess.Popen[str]] = []
        self.upstream = self.start("tunekeeper.testing.upstream", "--port", "0")
        self.listening = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        slot = Slot(id="a", model=MODEL, version="v1.0", endpoint=self.upstream["listening"] + "/v1", observed="ready")
        share = Share(slot="a", variant="champion", ranges=((0, 10_000),))
        publish(
            root, RouteTable(generation=1, routes={MODEL: Route(model=MODEL, champion="a", shares=(share,))}, slots={"a": slot})
        )

    def start(self, module: str, *arguments: str, fds: tuple[int, ...] = (), limit_kb: int | None = None) -> dict[str, Any]:
        command = [sys.executable, "-m", module, *arguments]
        if limit_kb is not None:
            command = ["bash", "-c", f'ulimit -f {limit_kb}; exec "$0" "$@"', *command]
        environment = {**os.environ, "PYTHONPATH": SOURCE}
        if limit_kb is not None:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"  # half of a .pyc would break every later import
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=fds, env=environment)
        self.children.append(child)
        assert child.stdout is not None
        line: dict[str, Any] = json.loads(child.stdout.readline())
        return line

    def worker(self, name: str = "w0", *arguments: str, limit_kb: int | None = None) -> subprocess.Popen[str]:
        fd = self.listening.fileno()
        said = self.start(
            "tunekeeper.gateway.main",
            "--root",
            str(self.root),
            "--name",
            name,
            "--fd",
            str(fd),
            *arguments,
            fds=(fd,),
            limit_kb=limit_kb,
        )
        assert said["event"] == "ready"
        return self.children[-1]

    def chat(self, client: httpx.Client, text: str = "x", **more: Any) -> httpx.Response:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}
        return client.post(f"{self.url}/v1/chat/completions", json=body, timeout=150)

    def lines(self, kind: str = "E") -> list[dict[str, Any]]:
        """The lines of a kind, in the spool as it lies on disk."""
        found: list[dict[str, Any]] = []
        for path in sorted((self.root / "spool").glob("*.jsonl")):
            found += [json.loads(line.json) for line in scan(path.read_bytes()).lines if line.kind == kind]
        return found

    def logged(self, kind: str = "E") -> list[str]:
        """Request ids of the lines of a kind."""
        return [line["request_id"] for line in self.lines(kind)]

    def close(self) -> None:
        self.listening.close()
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "data")
    yield made
    made.close()


class Client(threading.Thread):
    """Asks on and on, and keeps its own ledger: ids of the answers whose last byte it got."""

    def __init__(self, processes: Processes, seed: int) -> None:
        super().__init__(daemon=True)
        self.processes = processes
        self.rng = random.Random(seed)
        self.answered: list[str] = []
        self.statuses: set[int] = set()
        self.broken = 0
        self.stop = threading.Event()

    def run(self) -> None:
        with httpx.Client(verify=False, timeout=150) as client:
            while not self.stop.is_set():
                stream = self.rng.random() < 0.5
                try:
                    got = self.processes.chat(client, "a b c d", stream=stream)
                except (httpx.TransportError, OSError):
                    self.broken += 1
                    time.sleep(0.01)
                    continue
                self.statuses.add(got.status_code)
                if got.status_code == 200 and (not stream or "[DONE]" in got.text):
                    self.answered.append(got.headers["x-tunekeeper-request-id"])


def test_an_answered_request_is_logged_once_however_the_gateway_is_killed(processes: Processes) -> None:
    seed, rng = 11, random.Random(11)
    clients = [Client(processes, seed + i) for i in range(6)]
    worker = processes.worker()
    for client in clients:
        client.start()
    ready = []
    for _ in range(4):
        enough = 15 + sum(len(client.answered) for client in clients)
        until(lambda: sum(len(client.answered) for client in clients) >= enough)  # noqa: B023
        time.sleep(rng.uniform(0, 0.2))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        began = time.monotonic()
        worker = processes.worker()
        ready.append(time.monotonic() - began)
    until(lambda: sum(len(client.answered) for client in clients) >= enough + 15)
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join(60)
    worker.terminate()
    assert worker.wait(60) == 0
    answered = [id for client in clients for id in client.answered]
    logged = processes.logged()
    print(f"seed {seed}: {len(answered)} answered, {len(logged)} logged, ready again in {max(ready):.2f} s")
    assert len(answered) > 50
    assert set(answered) <= set(logged), "answered but not logged"
    assert len(logged) == len(set(logged)), "logged twice"
    assert set().union(*(client.statuses for client in clients)) == {200}


def test_a_drained_worker_loses_nothing_while_another_takes_over(processes: Processes) -> None:
    client = Client(processes, 1)
    workers = [processes.worker("w0"), processes.worker("w1")]
    client.start()
    for turn in range(3):
        enough = len(client.answered) + 5
        until(lambda: len(client.answered) >= enough)  # noqa: B023
        workers[turn % 2].terminate()
        assert workers[turn % 2].wait(60) == 0
        workers[turn % 2] = processes.worker(f"w{turn % 2}")
    client.stop.set()
    client.join(60)
    assert client.broken == 0, "no connection was refused or reset"
    assert client.statuses == {200}
    for worker in workers:
        worker.terminate()
        assert worker.wait(60) == 0
    assert sorted(client.answered) == sorted(processes.logged())


def test_two_workers_are_scraped_as_one(processes: Processes) -> None:
    processes.worker("w0")
    processes.worker("w1")
    with httpx.Client(verify=False, timeout=150) as client:
        for _ in range(20):
            with httpx.Client(verify=False, timeout=150) as fresh:
                assert processes.chat(fresh).status_code == 200
        series = 'model_inference_requests_total{model_id="support-desk",variant="champion",status="ok"} '
        until(lambda: f"{series}20\n" in client.get(processes.url + "/metrics").text)
        for number in range(21, 31):
            with httpx.Client(verify=False, timeout=150) as fresh:
                fresh.get(processes.url + "/livez")
                assert processes.chat(fresh).status_code == 200
            with httpx.Client(verify=False, timeout=150) as fresh:
                told = fresh.get(processes.url + "/metrics").text
            assert f"{series}{number}\n" in told, "whoever is scraped knows at once what the other has counted"


def test_a_full_disk_is_a_503_and_nothing_is_answered_unlogged(processes: Processes) -> None:
    processes.worker("w0", limit_kb=64)
    refused, answered = [], []
    with httpx.Client(verify=False, timeout=150) as client:
        for number in range(300):
            stream = number % 2 == 0
            got = processes.chat(client, "y" * 2000, stream=stream)
            if got.status_code != 200:
                refused.append(got)
            elif not stream or "[DONE]" in got.text:
                answered.append(got.headers["x-tunekeeper-request-id"])
            else:
                assert "log_unavailable" in got.text
            if len(refused) == 3:
                break
        assert client.get(processes.url + "/livez").status_code == 200
    assert refused, "the limit was never met"
    assert {(r.status_code, r.json()["error"]["code"], r.headers["retry-after"]) for r in refused} == {
        (503, "log_unavailable", "1")
    }
    assert set(answered) <= set(processes.logged())
    # What was refused is owed to the log and may be in it by now: as what it was.
    told = {line["request_id"]: line["status"] for line in processes.lines()}
    assert {told.get(r.headers["x-tunekeeper-request-id"], "error") for r in refused} == {"error"}


def test_options_and_keys_reach_the_worker(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    write_options(path, Options(require_key=True))
    processes.worker("w0", "--options", str(path))
    with httpx.Client(verify=False, timeout=150) as client:
        assert processes.chat(client).status_code == 401


def run_main(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tunekeeper.gateway.main", *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "PYTHONPATH": SOURCE},
        check=False,
    )
    return done.returncode, done.stderr


def test_what_is_missing_or_busy_is_one_line(processes: Processes, tmp_path: Path) -> None:
    code, said = run_main("--root", str(tmp_path / "nowhere"))
    assert (code, said.count("\n")) == (2, 1)
    port = processes.url.rpartition(":")[2]
    code, said = run_main("--root", str(processes.root), "--name", "w9", "--port", port)
    assert (code, said.count("\n")) == (4, 1)
    assert port in said
    processes.worker("w0")
    code, said = run_main("--root", str(processes.root), "--name", "w0")
    assert (code, said.count("\n")) == (4, 1)
    assert "w0" in said
    (tmp_path / "bad.json").write_text("{")
    code, said = run_main("--root", str(processes.root), "--name", "w9", "--options", str(tmp_path / "bad.json"))
    assert (code, said.count("\n")) == (2, 1)


def test_an_ipv6_address_is_bound_as_well() -> None:
    try:
        made = bind("::1", 0)
    except PortInUse:
        pytest.skip("no IPv6 here")
    assert made.family == socket.AF_INET6
    made.close()
