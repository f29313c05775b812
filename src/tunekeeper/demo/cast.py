"""The people and parts of the demo: a folder, a workspace, the product's own processes, users, an expert, and a screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunekeeper.config import ProjectConfig, load_project
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.data import review
from tunekeeper.demo.journal import Journal
from tunekeeper.demo.screen import Screen
from tunekeeper.demo.server import Server
from tunekeeper.demo.traffic import Crowd, Ledger
from tunekeeper.demo.world import World
from tunekeeper.gateway.keys import create_key
from tunekeeper.store.clockfile import CompressedClock
from tunekeeper.store.ledgers.cycles import load_cycle
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.workspace import Workspace, open_workspace

MODEL = "support-desk"


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
    server: Server
    """The product's own processes."""
    seed: int = 7
    """Seed of everything random."""
    url: str = ""
    """Base address of the gateway, with /v1."""
    counts: dict[str, int] = field(default_factory=lambda: {"sent": 0, "answered": 0, "failed": 0})
    """Requests of all crowds together."""

    def pause(self, seconds: float) -> None:
        """Let real time pass while everything is looked after: processes that were killed are started again."""
        self.server.tend()
        self.ws.clock.sleep(seconds)

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
        ids = [item.request_id for item in waiting]
        asked = {each.request_id: each for each in self.ws.log.find(model=MODEL, request_ids=ids)} if ids else {}
        for item in waiting:
            inference = asked.get(item.request_id)
            truth = self.ledger.truth.get(inference.question) if inference is not None else None
            if inference is None or truth is None:
                review.judge(self.ws, item.id, "excluded", by="expert", seconds=4.0)
            elif (inference.answer or "").strip() == truth:
                review.judge(self.ws, item.id, "good", by="expert", seconds=6.0)
            else:
                review.judge(self.ws, item.id, "edited", answer=truth, by="expert", seconds=19.0)
        return len(waiting)


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
        server=Server(folder, root),
    )
