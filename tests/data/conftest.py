from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.data.small import deal_out
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.ids import request_id
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Conversation
from tunekeeper.data.examples import make_example
from tunekeeper.store.log.spool import Spool
from tunekeeper.workspace import Workspace, create_workspace

SYSTEM = "Triage the ticket. Answer with JSON."
THINGS = ("parcel", "invoice", "login", "screen", "refund", "calendar", "courier", "password", "licence", "export")
VERBS = ("vanished", "arrived broken", "is late again", "shows an error", "was charged twice", "cannot be opened", "looks wrong")
PLACES = ("in Oslo", "at our office", "on my phone", "since Monday", "for the whole team", "after the update", "without a word")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ws(tmp_path: Path, clock: ManualClock) -> Workspace:
    return create_workspace(tmp_path / "workspace", clock=clock)


@pytest.fixture
def task() -> Model:
    return Model(name="desk", system=SYSTEM)


MakeExample = Callable[..., Example]


@pytest.fixture
def row() -> MakeExample:
    """`row(prompt, answer, id=…, source=…, **metadata)`: one example."""

    def make(prompt: str, answer: str, *, id: str | None = None, source: str = "file:x.jsonl:1", **metadata: Any) -> Example:
        messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
        return make_example(Conversation(messages=messages, metadata=metadata), source=source, system=SYSTEM, id=id)

    return make


@pytest.fixture
def tickets() -> Callable[..., list[tuple[str, str]]]:
    """`tickets(n, seed)`: `n` different tickets with their answers; none nearly says the same as another."""

    def make(n: int, seed: int = 0) -> list[tuple[str, str]]:
        rng = random.Random(seed)
        all_of_them = [
            f"The {a} {b} {c}. Customer {i}."
            for i, (a, b, c) in enumerate((a, b, c) for a in THINGS for b in VERBS for c in PLACES)
        ]
        chosen = rng.sample(all_of_them, n)
        return [
            (text, json.dumps({"category": rng.choice(("billing", "bug", "refund")), "priority": "normal"})) for text in chosen
        ]

    return make


@pytest.fixture
def filled(ws: Workspace, row: MakeExample, tickets: Callable[..., list[tuple[str, str]]]) -> list[Example]:
    """A draft of 40 rows, four of them held out."""
    rows = [row(text, answer, id=f"t{i}") for i, (text, answer) in enumerate(tickets(40))]
    return deal_out(ws, rows, Config())


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Iterable[Any]], Path]:
    """`write(name, rows)`: a JSONL file; strings and bytes are written as they are."""

    def make(name: str, rows: Iterable[Any]) -> Path:
        path = tmp_path / name
        lines = [r if isinstance(r, bytes) else (r if isinstance(r, str) else json.dumps(r)).encode() for r in rows]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return make


class Traffic:
    """Writes requests and feedback as a gateway does."""

    def __init__(self, ws: Workspace, clock: ManualClock) -> None:
        self.ws, self.clock, self.key = ws, clock, ws.request_key()
        self.spool = Spool(ws.root, "gateway-0", clock)
        self.count = 0

    def ask(self, prompt: str, answer: str, edit: str | None = None, **fields: Any) -> str:
        """One answered request, and the edit a user made of it; returns its id."""
        self.clock.advance(60)
        id = request_id(self.clock.utc(), self.key)
        request = {"model": "desk", "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]}
        response = {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}
        record = {
            "request_id": id,
            "timestamp": self.clock.utc().isoformat(),
            "model_id": "desk",
            "version": "v1.0",
            "purpose": "user",
        }
        record |= {"status": "ok", "request": json.dumps(request).encode(), "response": json.dumps(response).encode()}
        self.spool.ended(record | fields)
        if edit is not None:
            self.say(id, "edit", edit)
        self.spool.flush()
        return id

    def say(self, id: str, kind: str, value: Any, by: str = "ana") -> None:
        """Feedback about a request."""
        self.count += 1
        at = (self.clock.utc() + timedelta(seconds=1)).isoformat()
        said = {
            "id": f"fb_{self.count}",
            "request_id": id,
            "timestamp": at,
            "kind": kind,
            "value": value,
            "by": by,
            "model_id": "desk",
        }
        self.spool.feedback(said)
        self.spool.flush()


@pytest.fixture
def traffic(ws: Workspace, clock: ManualClock) -> Iterable[Traffic]:
    found = Traffic(ws, clock)
    yield found
    found.spool.close()
