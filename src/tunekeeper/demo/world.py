"""A made-up support desk: tickets with their true triage under a policy, from a seed, and the day its world changes.

Simulated users, the raw export and the suite all draw from here, so that every accuracy in the demo is measured against a
known truth. No clock, no files: `random.Random(seed)` in, tickets out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tunekeeper.demo import phrases
from tunekeeper.demo.phrases import CATEGORIES, CUES, ISSUES, NAMES, PRIORITIES, PRODUCTS, RENAMED

SYSTEM = "Triage the ticket. Answer with JSON."
Pairs = Literal["all", "known", "held"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How the company triages: what its agents answer to the same ticket may change from one day to the next."""

    name: str
    """What the agents call it."""
    fixed: dict[str, str] = field(default_factory=dict)
    """Category → the one priority of all its tickets; a category not named goes by severity and tone."""

    def priority(self, category: str, severity: int, tone: int) -> str:
        """The right priority of a ticket: `severity` 0 to 2, `tone` -1 (relaxed) to 1 (pressing)."""
        if category in self.fixed:
            return self.fixed[category]
        step = severity + tone + (1 if severity == 2 else 0)
        return PRIORITIES[max(0, min(len(PRIORITIES) - 1, step))]


POLICY_1 = Policy(name="house rules")
POLICY_2 = Policy(name="refunds first", fixed={"refund": "high", "shipping": "low"})
"""Every refund is high now, and shipping, which the courier's own desk follows up, is low: two of six categories."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """One customer's message and its true triage."""

    text: str
    """What the customer wrote."""
    category: str
    """One of `CATEGORIES`."""
    priority: str
    """One of `PRIORITIES`, under the policy of the world it comes from."""
    severity: int
    """0 to 2, of the issue itself."""
    tone: int
    """-1 relaxed, 0 neutral, 1 pressing."""
    product: str
    """Product it is about, by the name of its day."""
    about: str
    """The noun an agent would use."""
    name: str
    """First name of the writer."""
    sentence: str
    """The sentence that says what is wrong."""
    cue: str
    """What the customer adds about the urgency; may be empty."""

    @property
    def answer(self) -> str:
        """The right answer as the desk's JSON."""
        return triage(self.category, self.priority)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What is sold and how it is triaged on a given day."""

    products: tuple[str, ...] = PRODUCTS
    """Product names of the day."""
    policy: Policy = POLICY_1
    """Policy of the day."""

    def ticket(self, rng: random.Random, pairs: Pairs = "all") -> Ticket:
        """A ticket. `pairs`: "held" draws only (issue, product) pairs kept out of the training export, "known" only others."""
        while True:
            category = rng.choice(CATEGORIES)
            wordings, severity, about = rng.choice(ISSUES[category])
            product = rng.choice(self.products)
            if pairs == "all" or (pairs == "held") == is_held(about, product):
                break
        wording, name = rng.choice(wordings), rng.choice(NAMES)
        cue, tone = rng.choice(CUES)
        said = wording.format(p=product)
        sentence = said[0].upper() + said[1:] + "."
        return Ticket(
            text=_letter(rng, sentence, cue, name),
            category=category,
            priority=self.policy.priority(category, severity, tone),
            severity=severity,
            tone=tone,
            product=product,
            about=about,
            name=name,
            sentence=sentence,
            cue=cue,
        )

    def tickets(self, rng: random.Random, pairs: Pairs = "all", seen: set[str] | None = None) -> Iterator[Ticket]:
        """Endless tickets, no two with the same text, none whose text is in `seen`; texts given out are added to `seen`."""
        used = set() if seen is None else seen
        while True:
            ticket = self.ticket(rng, pairs)
            if ticket.text not in used:
                used.add(ticket.text)
                yield ticket

    def judge(self, ticket: Ticket) -> Ticket:
        """The same ticket with its true triage under this world's policy."""
        return replace(ticket, priority=self.policy.priority(ticket.category, ticket.severity, ticket.tone))


WORLD_1 = World()
WORLD_2 = World(products=tuple(RENAMED[1] if p == RENAMED[0] else p for p in PRODUCTS), policy=POLICY_2)
"""After the change: one product has a new name, two categories a new triage."""


def is_held(about: str, product: str) -> bool:
    """Whether this (issue, product) pair is kept out of the export: two products of each issue are. A rename keeps the answer."""
    product = RENAMED[0] if product == RENAMED[1] else product
    if product not in PRODUCTS:
        return False
    return (PRODUCTS.index(product) + sum(about.encode())) % 4 == 0


def triage(category: str, priority: str) -> str:
    """The desk's answer: `{"category": "billing", "priority": "high"}`."""
    return json.dumps({"category": category, "priority": priority})


def request(ticket: Ticket) -> list[dict[str, Any]]:
    """The chat messages an application sends for this ticket."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ticket.text}]


def conversation(ticket: Ticket) -> list[dict[str, Any]]:
    """The request and its true answer, as OpenAI chat messages."""
    return [*request(ticket), {"role": "assistant", "content": ticket.answer}]


def _letter(rng: random.Random, sentence: str, cue: str, name: str) -> str:
    parts = [rng.choice(phrases.OPENINGS), sentence, cue, rng.choice(phrases.CLOSINGS).format(n=name)]
    if rng.random() < 0.35:
        parts.insert(2, rng.choice(phrases.ASIDES).format(k=rng.randint(1000, 9999)))
    return " ".join(part for part in parts if part)
