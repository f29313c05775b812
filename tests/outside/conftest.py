"""The product from outside: its command line, its ports and its files, with data, clients and faults of our own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.once import made_once
from tests.patience import PATIENCE
from tunekeeper.cli.app import main

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = PATIENCE
"""How long one command may take on a busy machine."""
LIMITED = """\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]) * 1024,) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"stdout is not one document: {self.out!r} / {self.err!r}"
        return json.loads(lines[0])

    @property
    def error(self) -> str:
        """The one line on stderr that says what is wrong."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"stderr is not one line: {self.err!r}"
        assert lines[0].startswith("error: "), self.err
        return lines[0]


def environment(**more: str) -> dict[str, str]:
    """What commands see: no setting of ours, the source tree importable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUNEKEEPER_")}
    return kept | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | more


def run(*words: str | Path, cwd: Path | None = None, prefix: Sequence[str] = (), **more: str) -> Outcome:
    """Run one command line to its end. `prefix`: a program that starts it, `more`: environment."""
    command = [*prefix, sys.executable, "-m", "tunekeeper", *map(str, words)]
    done = subprocess.run(
        command, cwd=cwd or REPOSITORY, env=environment(**more), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def call(*words: str | Path) -> Outcome:
    """As `run`, in this process: for the many commands whose start-up would cost more than they do."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())


def full(kilobytes: int, *words: str | Path) -> Outcome:
    """Run a command that may write no file above a size: what a full disk or a quota looks like, without one."""
    # Python would leave half of a .pyc behind, which breaks every later import.
    return run(*words, "--json", prefix=(sys.executable, "-c", LIMITED, str(kilobytes)), PYTHONDONTWRITEBYTECODE="1")


def until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What `condition` gives once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


class Running:
    """A command that stays: its JSON lines as they come."""

    def __init__(self, *words: str | Path, module: str = "tunekeeper", cwd: Path | None = None, **more: str) -> None:
        command = [sys.executable, "-m", module, *map(str, words)]
        self.process = subprocess.Popen(
            command, cwd=cwd or REPOSITORY, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self.said: list[str] = []
        self._threads = [threading.Thread(target=self._read, daemon=True), threading.Thread(target=self._hear, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)

    def _hear(self) -> None:
        self.said.extend(self.process.stderr or ())

    def event(self, name: str, seconds: float = SECONDS) -> dict[str, Any]:
        """The next event called `name`; everything on stdout must be a JSON line."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.seen.append(json.loads(self.lines.get(timeout=max(0.01, end - time.monotonic()))))
            except queue.Empty:
                raise AssertionError(f"no {name}: {self.seen} / {self.said} / {self.process.poll()}") from None
            if self.seen[-1].get("event") == name:
                return self.seen[-1]

    def stop(self, by: signal.Signals = signal.SIGTERM, seconds: float = SECONDS) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(by)
        code = self.process.wait(seconds)
        for thread in self._threads:
            thread.join(SECONDS)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


class Upstream:
    """A model server that does what it is told, in a process of its own."""

    def __init__(self, *words: str) -> None:
        self.running = Running("--port", "0", *words, module="tunekeeper.testing.upstream")
        self.url: str = json.loads(self.running.lines.get(timeout=SECONDS))["listening"]

    def order(self, **what: Any) -> None:
        """Script what comes next."""
        httpx.post(f"{self.url}/control", json=what, timeout=SECONDS).raise_for_status()

    def seen(self) -> dict[str, Any]:
        """What it counted, and the last bodies."""
        found: dict[str, Any] = httpx.get(f"{self.url}/control", timeout=SECONDS).json()
        return found


class Gateway:
    """A running `serve`."""

    def __init__(self, *words: str | Path, **more: str) -> None:
        self.running = Running("serve", "--port", "0", *words, **more)
        self.ready = self.running.event("ready")
        self.url: str = self.ready["url"]

    def post(self, path: str, body: Any, key: str | None = None, **headers: str) -> httpx.Response:
        if key:
            headers["authorization"] = f"Bearer {key}"
        return httpx.post(self.url + path, json=body, headers=headers, timeout=SECONDS)

    def ask(self, model: str, text: str = "hello", key: str | None = None, **body: Any) -> httpx.Response:
        whole = {"model": model, "messages": [{"role": "user", "content": text}], **body}
        return self.post("/v1/chat/completions", whole, key)

    def says(self, model: str, **body: Any) -> str:
        """The text of an answer."""
        return str(self.ask(model, **body).json()["choices"][0]["message"]["content"])

    def get(self, path: str, key: str | None = None) -> httpx.Response:
        return httpx.get(self.url + path, headers={"authorization": f"Bearer {key}"} if key else {}, timeout=SECONDS)


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Callable[..., Upstream]]:
    """Makes model servers that end with the tests of a file."""
    made: list[Upstream] = []

    def make(*words: str) -> Upstream:
        made.append(Upstream(*words))
        return made[-1]

    yield make
    for each in made:
        each.running.stop()


@pytest.fixture(scope="module")
def gateways() -> Iterator[Callable[..., Gateway]]:
    """Makes gateways that end, with exit code 0, with the tests of a file."""
    made: list[Gateway] = []

    def make(*words: str | Path, **more: str) -> Gateway:
        made.append(Gateway(*words, **more))
        return made[-1]

    yield make
    assert [each.running.stop() for each in made] == [0] * len(made)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the checkpoints `llama`, `qwen` and `wide`, which nobody changes."""

    def make(folder: Path) -> None:
        script = Path(__file__).with_name("checkpoints.py")
        done = subprocess.run([sys.executable, script, folder], env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    return made_once(tmp_path_factory, "checkpoints-outside", make)


def write_yaml(path: Path, value: Any) -> Path:
    """A YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False), "utf-8")
    return path


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    """A JSONL file; a text stands as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def chat(user: str, assistant: str, **metadata: Any) -> dict[str, Any]:
    """A row of chat JSONL."""
    row: dict[str, Any] = {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}
    return row | ({"metadata": metadata} if metadata else {})
