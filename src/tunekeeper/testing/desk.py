"""A toy support desk: a small project, its users, and the requests and edits that they leave in the log.

Nothing here decides anything: requests are shared out by the gateway's own `choose` on the committed route, and answered by the
rule that the slot holds (or by what a test says), so that rollout, monitoring and data see what a real desk would leave.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from tunekeeper.core.clock import Clock, ManualClock
from tunekeeper.core.ids import canonical_json, new_id, request_id
from tunekeeper.core.nouns.serving import Route, Slot
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.engines.fake_server import answer_for
from tunekeeper.gateway.routing import Unit, choose
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.log import Spool
from tunekeeper.workspace import Workspace, create_workspace

MODEL = "desk"
SYSTEM = "Triage the ticket. Answer with JSON."
FORMAT = {"kind": "json", "fields": {"category": ["account", "billing", "refund", "shipping"]}}
TOPICS = {
    "account": ("password", "login", "profile"),
    "billing": ("invoice", "charge", "receipt"),
    "refund": ("refund", "cancellation", "chargeback"),
    "shipping": ("parcel", "courier", "delivery"),
}
"""Category → words that give it away."""
NAMES = ("ana", "ben", "cleo", "dara", "emil", "fay", "gus", "hana", "ivo", "jun", "kai", "lea", "mia", "noel", "ola", "pim")
PLACES = ("oslo", "porto", "quito", "riga", "sofia", "tunis", "ulm", "vienna", "york", "zagreb", "accra", "bern")
TROUBLES = ("is late", "is wrong", "is missing", "looks odd", "came twice", "never came", "was lost", "does not open")
Answers = Callable[[str, "Ticket"], str]
"""(slot, ticket) → the text that the slot answers."""


class Passing(Clock, Protocol):
    """A clock that can be told to go on."""

    def advance(self, seconds: float) -> None:
        """Let `seconds` of workspace time pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """One user's question."""

    text: str
    """What is asked."""
    answer: str
    """What is right."""
    category: str
    """The right category."""
    user: str
    """Who asks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What is true at the desk."""

    moved: dict[str, str] = field(default_factory=dict)
    """Word → its category, where it is new or belongs elsewhere by now."""

    def ticket(self, rng: random.Random) -> Ticket:
        """A ticket that nobody wrote before."""
        known = {word: topic for topic, words in TOPICS.items() for word in words}
        word = rng.choice(sorted({**known, **self.moved}))
        number = rng.getrandbits(40)
        text = f"Hello, {rng.choice(NAMES)} in {rng.choice(PLACES)} here, the {word} {rng.choice(TROUBLES)}, case {number:x}."
        category = self.moved.get(word) or known[word]
        return Ticket(text=text, answer=right(category), category=category, user=f"user-{number:x}")


@dataclass(slots=True)
class Desk:
    """A project, its workspace under a clock that a test moves, and its users."""

    ws: Workspace
    """The workspace."""
    clock: Passing
    """Its clock."""
    folder: Path
    """The project."""
    spool: Spool
    """Where the gateway would write."""
    rng: random.Random
    """The users' whims."""
    world: World = World()
    """What is true now."""
    sent: list[str] = field(default_factory=list)
    """Request ids, in order."""

    def slot(self, name: str, version: str, **fields: Any) -> Slot:
        """An outside endpoint as a slot; `fields` as of `Slot` (its digest, another endpoint)."""
        known = {"model": MODEL, "endpoint": "http://127.0.0.1:9/v1", "digest": f"sha256:{version}", **fields}
        return declare_slots(self.ws, [Slot(id=name, version=version, **known)])[0]

    def route(self) -> Route:
        """The committed route."""
        with self.ws.control.read() as tx:
            return load_route(tx, MODEL)

    def shares(self) -> dict[str, int]:
        """Slot → ten-thousandths."""
        return {share.slot: share.weight for share in self.route().shares}

    def traffic(self, count: int, seconds: float, answers: Answers | None = None, *, edits: float = 1.0) -> Counter[str]:
        """`count` users ask, evenly over `seconds` of workspace time (0: all at once). Returns requests by slot.

        `answers`: None asks the slots' own rules. `edits`: share of those answered wrongly who correct it a minute later.
        """
        answers, served = answers or self.rules(), self.served()
        asked: Counter[str] = Counter()
        for _ in range(count):
            ticket = self.world.ticket(self.rng)
            asked[self.ask(ticket, answers, edit=self.rng.random() < edits, served=served)] += 1
            if seconds:
                self.clock.advance(seconds / count)
        self.spool.flush()
        return asked

    def served(self) -> tuple[Route, dict[str, str | None]]:
        """The committed route, and slot → version."""
        with self.ws.control.read() as tx:
            return load_route(tx, MODEL), {slot.id: slot.version for slot in find_slots(tx, model=MODEL)}

    def ask(
        self,
        ticket: Ticket,
        answers: Answers,
        *,
        edit: bool = True,
        served: tuple[Route, dict[str, str | None]] | None = None,
        **fields: Any,
    ) -> str:
        """One request, buffered as the gateway does; returns the slot it was assigned to. `edit`: whether its user corrects a
        wrong answer. `served`: None looks the route up. `fields`: of the record, in place of the usual ones."""
        route, versions = served or self.served()
        choice = choose(route, Unit("user", ticket.user))
        assert choice is not None
        said = answers(choice.slot, ticket)
        id = request_id(self.clock.utc(), self.ws.request_key(), self.ws.entropy)
        self.sent.append(id)
        self.spool.ended(
            {**_record(id, self.clock.utc(), ticket, said, route), **_assigned(choice, versions[choice.slot], ticket), **fields}
        )
        if edit and said != ticket.answer:
            self.say(id, "edit", ticket.answer, after=60.0, by=ticket.user)
        return choice.slot

    def say(self, id: str, kind: str, value: Any, *, after: float = 60.0, by: str = "user") -> None:
        """Feedback on a request, `after` seconds from now."""
        at = self.clock.utc() + timedelta(seconds=after)
        said = {
            "id": new_id("fb", at, self.ws.entropy),
            "request_id": id,
            "timestamp": at,
            "kind": kind,
            "value": value,
            "by": by,
        }
        self.spool.feedback({**said, "model_id": MODEL})

    def rules(self) -> Answers:
        """What the slots' own rule files answer; a slot without one is right."""
        with self.ws.control.read() as tx:
            slots = find_slots(tx, model=MODEL)
        held = {slot.id: json.loads((self.ws.root / slot.files["model"]).read_text("utf-8")) for slot in slots if slot.files}

        def answer(slot: str, ticket: Ticket) -> str:
            rule = held.get(slot, {"default": ticket.answer})
            return answer_for(rule, [{"role": "user", "content": ticket.text}])

        return answer

    def faulty(self, wrong: dict[str, float], garbled: dict[str, float] | None = None) -> Answers:
        """Slots that answer wrongly, or in a wrong format, as often as said (slot → share), and are right otherwise."""
        broken = garbled or {}

        def answer(slot: str, ticket: Ticket) -> str:
            if self.rng.random() < broken.get(slot, 0.0):
                return "I would rather not say."
            others = [name for name in TOPICS if name != ticket.category]
            return right(self.rng.choice(others)) if self.rng.random() < wrong.get(slot, 0.0) else ticket.answer

        return answer


def open_desk(
    folder: Path, *, seed: int = 1, section: str = "", cases: int = 0, rows: int = 0, clock: Passing | None = None
) -> Desk:
    """A new desk in `folder`. `section`: YAML added to its model file. `cases`: in its suite. `rows`: to learn from, in
    data/rows.jsonl. `clock`: None makes one that stands still. The same seed makes the same desk."""
    rng = random.Random(seed)
    clock = clock or ManualClock()
    write_project(folder, rng, section=section, cases=cases, rows=rows)
    ws = create_workspace(folder / ".tunekeeper", project=folder, clock=clock, entropy=random.Random(seed).randbytes)
    return Desk(ws=ws, clock=clock, folder=folder, spool=Spool(ws.root, "gateway-0", clock), rng=rng)


def write_project(folder: Path, rng: random.Random, *, section: str = "", cases: int = 0, rows: int = 0) -> None:
    """tunekeeper.yaml, models/desk.yaml, a suite, rows to learn from and a base that is a checkpoint in form only."""
    for name in ("models", "suites", "data", "base"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "tunekeeper.yaml").write_text("project: toy\n", "utf-8")
    head = f"model: {MODEL}\nbase: base\nsystem: {SYSTEM}\nformat: {json.dumps(FORMAT)}\nlevel: 3\n"
    (folder / "models" / f"{MODEL}.yaml").write_text(head + section, "utf-8")
    world = World()
    tickets = [world.ticket(rng) for _ in range(cases)]
    lines = [
        {"id": f"c{n}", "input": t.text, "expected": json.loads(t.answer), "category": t.category} for n, t in enumerate(tickets)
    ]
    (folder / "suites" / "core.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    wanted = ("{metric: accuracy, at_least: 0.9}", "{metric: format, at_least: 0.95}", "{metric: accuracy, margin: 0.05}")
    criteria = f"criteria: [{', '.join(wanted)}]\n"
    suite = f"suite: core\nmodel: {MODEL}\nscorers: [json_fields, format]\n{criteria}cases: core.jsonl\n"
    (folder / "suites" / "core.yaml").write_text(suite, "utf-8")
    write_rows(folder / "data" / "rows.jsonl", [world.ticket(rng) for _ in range(rows)])
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "base" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    for name in ("config.json", "tokenizer.json"):
        (folder / "base" / name).write_text("{}", "utf-8")
    (folder / "base" / "answers.json").write_text(json.dumps({"default": right("billing")}), "utf-8")


def write_rows(path: Path, tickets: list[Ticket]) -> None:
    """Chat JSONL of tickets with their right answers."""
    rows = [{"messages": [*asked(each), {"role": "assistant", "content": each.answer}]} for each in tickets]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def asked(ticket: Ticket) -> list[dict[str, str]]:
    """The messages of a request."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ticket.text}]


def right(category: str) -> str:
    """The well-formed answer that names a category."""
    return json.dumps({"category": category})


def _record(id: str, at: datetime, ticket: Ticket, said: str, route: Route) -> dict[str, Any]:
    reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]}
    return {
        "request_id": id,
        "timestamp": at,
        "model_id": MODEL,
        "route_version": route.generation,
        "rollout": route.rollout,
        "purpose": "user",
        "status": "ok",
        "http_status": 200,
        "latency_ms": 12.0,
        "segments": {"category": ticket.category},
        "request": canonical_json({"model": MODEL, "messages": asked(ticket)}),
        "response": canonical_json(reply),
    }


def _assigned(choice: Any, version: str | None, ticket: Ticket) -> dict[str, Any]:
    unit = Unit("user", ticket.user)
    return {
        "version": version,
        "variant": choice.variant,
        "slot_assigned": choice.slot,
        "slot": choice.slot,
        "attempts": [{"slot": choice.slot, "error": None, "ms": 12.0}],
        "bucket": choice.bucket,
        "weight": choice.weight,
        "unit_kind": unit.kind,
        "unit": unit.digest,
    }
