"""The people and parts of the demo: a folder, a workspace, the product's own processes, users, an expert, and a screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tunekeeper.config import ProjectConfig, load_project
from tunekeeper.core.errors import OutsideError
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.data import review
from tunekeeper.demo.journal import Journal
from tunekeeper.demo.screen import Screen
from tunekeeper.demo.traffic import Crowd, Ledger
from tunekeeper.demo.world import World
from tunekeeper.gateway.keys import create_key
from tunekeeper.store.clockfile import CompressedClock
from tunekeeper.store.ledgers.cycles import load_cycle
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.workspace import Workspace, open_workspace

MODEL = "support-desk"
READY_SECONDS = 60.0


@dataclass(slots=True)
class Demo:
    """Everything a stage needs."""

    folder: Path
    """The project folder."""
    ws: Workspace
    """Its workspace, under a compressed clock."""
    clock: CompressedClock
    """That clock."""
    journal: Journal
    """What was done so far."""
    screen: Screen
    """Where progress is shown."""
    ledger: Ledger
    """The users' own record."""
    consent: Callable[[str], bool]
    """Asks whether to let a version have traffic; says yes where nobody can be asked."""
    seed: int = 7
    """Seed of everything random."""
    url: str = ""
    """Base address of the gateway, with /v1."""
    counts: dict[str, int] = field(default_factory=lambda: {"sent": 0, "answered": 0, "failed": 0})
    """Requests of all crowds together."""

    def config(self) -> ProjectConfig:
        """The project's configuration as its files are now."""
        return load_project(self.folder)

    def key(self) -> str:
        """The application's API key, made once."""
        known = self.journal.noted("key")
        if known is None:
            known = create_key(self.ws, name="demo application", scopes=("infer", "feedback", "metrics")).key
            self.journal.note("key", known)
        return str(known)

    def crowd(self, world: World, rate: float, seed: int) -> Crowd:
        """Users of `world` at `rate` requests a real second."""
        return Crowd(
            url=self.url, key=self.key(), model=MODEL, world=world, ledger=self.ledger, seed=self.seed * 1000 + seed, rate=rate
        )

    def add(self, crowd: Crowd) -> dict[str, Any]:
        """Count a crowd's requests into the demo's; returns its figures."""
        for name in self.counts:
            self.counts[name] += getattr(crowd.tally, name)
        return crowd.tally.as_json()

    def cycle(self, id: str) -> Cycle:
        """A cycle as it is now."""
        with self.ws.state.read() as tx:
            return load_cycle(tx, id)

    @contextmanager
    def pace(self, factor: float) -> Iterator[None]:
        """Workspace time at `factor` while the block runs, frozen after it."""
        self.clock.set_factor(factor)
        try:
            yield
        finally:
            self.clock.freeze()

    def expert(self) -> int:
        """The desk's expert goes through the review queue once; returns how many answers they judged."""
        with self.ws.state.read() as tx:
            waiting = find_reviews(tx, model=MODEL, state="open")
        for item in waiting:
            inference = self.ws.log.load(item.request_id)
            truth = self.ledger.truth.get(inference.question)
            if truth is None:
                review.judge(self.ws, item.id, "excluded", by="expert", seconds=4.0)
            elif (inference.answer or "").strip() == truth:
                review.judge(self.ws, item.id, "good", by="expert", seconds=6.0)
            else:
                review.judge(self.ws, item.id, "edited", answer=truth, by="expert", seconds=19.0)
        return len(waiting)


class Server:
    """`tunekeeper up` on the demo's folder, as a process of its own; started again when it is gone."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self.process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> str:
        """The gateway's address with /v1, once it answers. Raises OutsideError with the server's last line."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            url = self._announced()
            if url is not None and _alive(url):
                return f"{url}/v1"
            if self.process is not None and self.process.poll() is not None:
                raise OutsideError(f"tunekeeper up ended: {self._last_line()}", fix=f"tunekeeper up --dir {self.folder}")
            time.sleep(0.1)
        raise OutsideError(f"tunekeeper up was not ready within {READY_SECONDS:.0f} s: {self._last_line()}")

    def stop(self) -> None:
        """End it in order: the gateway drains first."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _start(self) -> None:
        (self.root / "run").mkdir(parents=True, exist_ok=True)
        (self.root / "run" / "up.out").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tunekeeper", "up", "--dir", str(self.folder), "--port", "0", "--json"]
        with open(self.root / "run" / "up.out", "wb") as out, open(self.root / "run" / "up.err", "ab") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)

    def _announced(self) -> str | None:
        try:
            lines = (self.root / "run" / "up.out").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return next((event["url"] for event in events if event.get("event") == "ready"), None)

    def _last_line(self) -> str:
        path = self.root / "run" / "up.err"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return lines[-1] if lines else "it said nothing"


def cpu_seconds(root: Path) -> float:
    """CPU seconds of this process and of every live process that works on this data directory."""
    total = sum(os.times()[:2])
    for process in psutil.process_iter(["pid", "cmdline", "cpu_times"]):
        line = " ".join(process.info["cmdline"] or ())
        if process.info["pid"] != os.getpid() and process.info["cpu_times"] is not None and str(root.parent) in line:
            times = process.info["cpu_times"]
            total += times.user + times.system + times.children_user + times.children_system
    return float(total)


def open_cast(folder: Path, *, screen: Screen, consent: Callable[[str], bool]) -> Demo:
    """The demo of a folder whose project exists."""
    root = folder / ".tunekeeper"
    clock = CompressedClock(root)
    ws = open_workspace(root, project=folder, clock=clock)
    return Demo(
        folder=folder,
        ws=ws,
        clock=clock,
        journal=Journal(root / "demo" / "journal.json"),
        screen=screen,
        ledger=Ledger(root / "demo" / "tickets.jsonl"),
        consent=consent,
    )


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
