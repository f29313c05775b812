"""Simulated users: real HTTP requests through the gateway, edits and thumbs as feedback, and their own outside ledger.

Every request is written down before it is sent and its outcome after its last byte, so that the demo's counts of answered and
failed requests are never the product's own.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tunekeeper.demo.world import Ticket, World, request

EDITS = 0.95
"""Share of wrong answers that a user corrects."""
THUMBS = 0.15
"""Share of answers that get a thumb."""


@dataclass(slots=True)
class Tally:
    """What the users saw."""

    sent: int = 0
    """Requests sent."""
    answered: int = 0
    """Requests answered whole."""
    failed: int = 0
    """Requests that got an error or no whole answer."""
    edits: int = 0
    """Corrections sent back."""
    right: int = 0
    """Answers that were right."""
    versions: Counter[str] = field(default_factory=Counter)
    """Answers by version."""
    right_by: Counter[str] = field(default_factory=Counter)
    """Right answers by version."""
    latencies: list[float] = field(default_factory=list)
    """Real milliseconds of each answer."""
    errors: Counter[str] = field(default_factory=Counter)
    """What went wrong."""

    def as_json(self) -> dict[str, Any]:
        """Counts and latency quantiles."""
        ordered = sorted(self.latencies)
        quantile = (
            {f"p{q}": round(ordered[min(len(ordered) - 1, len(ordered) * q // 100)], 1) for q in (50, 95, 99)} if ordered else {}
        )
        return {
            "sent": self.sent,
            "answered": self.answered,
            "failed": self.failed,
            "edits": self.edits,
            "right": self.right,
            "versions": dict(self.versions),
            "right_by_version": dict(self.right_by),
            "latency_ms": quantile,
            "errors": dict(self.errors),
        }


class Ledger:
    """The users' own record, on disk: each ticket's text and true answer, before it is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.truth: dict[str, str] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                entry = _whole(line)
                if entry is not None:
                    self.truth[entry["text"]] = entry["answer"]

    def append(self, ticket: Ticket) -> None:
        """Write a ticket down."""
        self.truth[ticket.text] = ticket.answer
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"text": ticket.text, "answer": ticket.answer}) + "\n")


class Crowd:
    """Users of one world, at a steady rate, in a thread of their own until stopped or done."""

    def __init__(
        self, *, url: str, key: str, model: str, world: World, ledger: Ledger, seed: int, rate: float, most: int = 8
    ) -> None:
        """`url`: base address with /v1. `rate`: requests a real second aimed at. `most`: requests under way at once."""
        self.url, self.key, self.model, self.world, self.ledger = url, key, model, world, ledger
        self.rng = random.Random(seed)
        self.rate, self.most = rate, most
        self.tally = Tally()
        self._stop = threading.Event()
        self._goal: int | None = None
        self._thread: threading.Thread | None = None
        self._tickets = self._fresh()

    def start(self, requests: int | None = None) -> None:
        """Begin; ends by itself after `requests`, or at `stop`."""
        self._goal = requests
        self._stop.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="users", daemon=True)
        self._thread.start()

    def running(self) -> bool:
        """Whether users are still at it."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> Tally:
        """No new requests; waits for those under way and returns the tally."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return self.tally

    def _fresh(self) -> Iterator[Ticket]:
        return self.world.tickets(self.rng, "all", set(self.ledger.truth))

    async def _live(self) -> None:
        headers = {"authorization": f"Bearer {self.key}"}
        limits = httpx.Limits(max_connections=self.most, max_keepalive_connections=self.most)
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, limits=limits) as client:
            busy: set[asyncio.Task[None]] = set()
            begun = time.monotonic()
            while not self._stop.is_set() and (self._goal is None or self.tally.sent < self._goal):
                if len(busy) >= self.most:
                    _, busy = await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
                ahead = begun + self.tally.sent / self.rate - time.monotonic()
                if ahead > 0:
                    await asyncio.sleep(ahead)
                ticket = next(self._tickets)
                self.ledger.append(ticket)
                self.tally.sent += 1
                busy.add(asyncio.create_task(self._ask(client, ticket, self.tally.sent)))
            if busy:
                await asyncio.wait(busy)

    async def _ask(self, client: httpx.AsyncClient, ticket: Ticket, number: int) -> None:
        body = {"model": self.model, "messages": request(ticket), "max_tokens": 40, "temperature": 0, "user": ticket.name}
        headers = {"x-session-id": f"ticket-{self.rng.getrandbits(48):x}", "x-tunekeeper-segment-topic": ticket.category}
        begun = time.monotonic()
        try:
            answer = await client.post("/chat/completions", json=body, headers=headers)
            text = answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
            self._missed(type(error).__name__)
            return
        if text is None:
            self._missed(str(answer.status_code))
            return
        self.tally.latencies.append((time.monotonic() - begun) * 1000)
        self.tally.answered += 1
        version = answer.headers.get("x-tunekeeper-version", "")
        self.tally.versions[version] += 1
        right = text.strip() == ticket.answer
        self.tally.right += right
        self.tally.right_by[version] += right
        await self._react(client, answer.headers["x-tunekeeper-request-id"], ticket, right)

    async def _react(self, client: httpx.AsyncClient, id: str, ticket: Ticket, right: bool) -> None:
        if not right and self.rng.random() < EDITS:
            await self._say(client, {"request_id": id, "kind": "edit", "value": ticket.answer, "by": ticket.name})
            self.tally.edits += 1
        elif self.rng.random() < THUMBS:
            await self._say(client, {"request_id": id, "kind": "thumb", "value": "up" if right else "down", "by": ticket.name})

    async def _say(self, client: httpx.AsyncClient, feedback: dict[str, Any]) -> None:
        try:
            answer = await client.post("/feedback", json=feedback)
        except httpx.HTTPError as error:
            self.tally.errors[f"feedback {type(error).__name__}"] += 1
            return
        if answer.status_code >= 300:
            self.tally.errors[f"feedback {answer.status_code}"] += 1

    def _missed(self, why: str) -> None:
        self.tally.failed += 1
        self.tally.errors[why] += 1


def _whole(line: str) -> dict[str, str] | None:
    try:
        entry: dict[str, str] = json.loads(line)
    except ValueError:
        return None  # the last line of a demo that was killed while it wrote
    return entry
