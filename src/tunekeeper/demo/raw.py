"""What a real desk would hand over: a production export with everything wrong in it that exports have, and a held-out suite.

`export(seed)` says what it planted, so that a test can check what an import finds.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tunekeeper.demo.phrases import CATEGORIES, PRIORITIES
from tunekeeper.demo.world import SYSTEM, WORLD_1, Ticket, World, request, triage

CLEAN = 900
PLANTED = {
    "exact_duplicate": 52,
    "near_duplicate": 26,
    "contradiction": 20,
    "empty": 14,
    "refusal": 14,
    "truncated": 10,
    "mojibake": 4,
    "template_leak": 4,
}
"""Rows planted by kind, beside the clean ones; broken lines and rows come on top."""
PERSONAL = 0.08
"""Share of clean rows with an e-mail address or a phone number in them."""
FIRST_DAY = datetime(2025, 9, 1, 7, 0, tzinfo=UTC)
DAYS = 120
CHANNELS = ("mail", "web form", "chat")
COLUMNS = ("id", "created", "channel", "category", "ticket", "answer")
REFUSALS = ("I'm sorry, but I can't help with that.", "As an AI language model, I cannot triage this ticket.")
SEED = 2026


@dataclass(frozen=True, kw_only=True, slots=True)
class RawRow:
    """One row of the export."""

    id: str
    """`T-10001` …"""
    created: datetime
    """When the ticket came in, UTC."""
    channel: str
    """mail, web form or chat."""
    category: str
    """What the agent filed it under."""
    ticket: str
    """What the customer wrote."""
    answer: str
    """What the agent answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """A whole export, before it is written."""

    table: list[RawRow]
    """Rows of tickets.csv."""
    lines: list[RawRow]
    """Rows of tickets.jsonl."""
    broken_table: list[str] = field(default_factory=list)
    """Broken lines of the CSV file."""
    broken_lines: list[str] = field(default_factory=list)
    """Broken lines of the JSONL file."""
    texts: set[str] = field(default_factory=set)
    """Every ticket text of the clean rows, as the customers wrote it before personal data was added."""


def export(seed: int = SEED) -> Export:
    """The support desk's export, from a seed."""
    rng = random.Random(seed)
    tickets = clean_tickets(WORLD_1, rng, CLEAN)
    stamps = sorted(FIRST_DAY + timedelta(minutes=rng.randrange(DAYS * 24 * 60)) for _ in range(CLEAN))
    told = [_with_contact(rng, ticket) if rng.random() < PERSONAL else ticket for ticket in tickets]
    good = [_row(i, at, rng, ticket) for i, (ticket, at) in enumerate(zip(told, stamps, strict=True))]
    rows = good + list(_planted(rng, good))
    rng.shuffle(rows)
    rows.sort(key=lambda row: row.created)
    rows = [replace(row, id=f"T-{10001 + i}") for i, row in enumerate(rows)]
    half = len(rows) // 2
    return Export(
        table=rows[:half],
        lines=rows[half:],
        broken_table=["T-99001,2025-12-01T09:12:00+00:00,mail", "lost,column", ";;;;"],
        broken_lines=_broken_lines(rng, rows),
        texts={ticket.text for ticket in tickets},
    )


def clean_tickets(world: World, rng: random.Random, count: int) -> list[Ticket]:
    """`count` tickets of known pairs; no two say the same sentence with the same urgency, so that none is a near duplicate."""
    found: list[Ticket] = []
    said: set[tuple[str, str]] = set()
    source = world.tickets(rng, "known")
    while len(found) < count:
        ticket = next(source)
        if (ticket.sentence, ticket.cue) not in said:
            said.add((ticket.sentence, ticket.cue))
            found.append(ticket)
    return found


def write_export(folder: Path, found: Export) -> None:
    """Write tickets.csv and tickets.jsonl (OpenAI chat rows with metadata) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in _spread([_cells(row) for row in found.table], [next(csv.reader([line])) for line in found.broken_table]):
            writer.writerow(row)
    lines = _spread([json.dumps(_chat(row), ensure_ascii=False) for row in found.lines], found.broken_lines)
    (folder / "tickets.jsonl").write_text("".join(line + "\n" for line in lines), "utf-8")


def suite_cases(count: int, seed: int = SEED + 1, avoid: Iterable[str] = (), world: World = WORLD_1) -> list[dict[str, Any]]:
    """Held-out cases: texts not in `avoid`, seven in ten on (issue, product) pairs that the export never shows."""
    rng, seen = random.Random(seed), set(avoid)
    held, known = world.tickets(rng, "held", seen), world.tickets(rng, "known", seen)
    cases = []
    for i in range(count):
        new_pair = i % 10 < 7
        ticket = next(held if new_pair else known)
        tags = ["held_pair"] if new_pair else []
        cases.append(
            {
                "id": f"case-{i + 1:03d}",
                "messages": request(ticket),
                "expected": ticket.answer,
                "category": ticket.category,
                "tags": tags,
            }
        )
    return cases


def _row(number: int, at: datetime, rng: random.Random, ticket: Ticket) -> RawRow:
    return RawRow(
        id=str(number),
        created=at,
        channel=rng.choice(CHANNELS),
        category=ticket.category,
        ticket=ticket.text,
        answer=ticket.answer,
    )


def _with_contact(rng: random.Random, ticket: Ticket) -> Ticket:
    name = ticket.name.lower()
    contact = rng.choice(
        (
            f"Write to {name}.{rng.choice(('berg', 'lund', 'moen'))}@example.com.",
            f"Call me at +47 22 55 {rng.randint(10, 99)} {rng.randint(10, 99)}.",
            f"My mail is {name}{rng.randint(1, 99)}@example.org.",
        )
    )
    return replace(ticket, text=f"{ticket.text} {contact}")


def _planted(rng: random.Random, good: list[RawRow]) -> Iterator[RawRow]:
    """The rows that an import should find fault with. Each is made from a clean row and lies near it in time."""
    kinds = [kind for kind, count in PLANTED.items() for _ in range(count)]
    for kind, row in zip(kinds, rng.sample(good, len(kinds)), strict=True):
        yield _spoil(kind, replace(row, created=row.created - timedelta(minutes=rng.randint(5, 3000))), rng)


def _spoil(kind: str, row: RawRow, rng: random.Random) -> RawRow:
    if kind == "exact_duplicate":
        return row
    if kind == "near_duplicate":
        return replace(row, ticket=row.ticket.replace(".", " .", 1) if rng.random() < 0.5 else row.ticket + " !")
    if kind == "contradiction":
        # The older answer is the wrong one: the agents agreed on the newer since.
        category = rng.choice([c for c in CATEGORIES if c != row.category])
        return replace(row, category=category, answer=triage(category, rng.choice(PRIORITIES)))
    ticket = row.ticket + f" My reference is {rng.randint(10000, 99999)}."
    if kind == "empty":
        return replace(row, ticket=ticket, answer=rng.choice(("", "  ")))
    if kind == "refusal":
        return replace(row, ticket=ticket, answer=rng.choice(REFUSALS))
    if kind == "truncated":
        return replace(row, ticket=ticket, answer=row.answer[: rng.randint(8, 22)])
    if kind == "mojibake":
        return replace(row, ticket=ticket + " The cafÃ© downstairs can take it, donâ€™t ring.")
    return replace(row, ticket=ticket, answer=f"<|im_start|>assistant\n{row.answer}")


def _broken_lines(rng: random.Random, rows: list[RawRow]) -> list[str]:
    whole = json.dumps(_chat(rng.choice(rows)))
    return [
        whole[: len(whole) // 2],
        "not json at all",
        '{"messages": "none"}',
        '{"metadata": {"id": "T-99002"}}',
        '{"messages": [{"role": "assistant", "content": "{}"}, {"role": "user", "content": "Hi"}]}',
        '{"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": "{}"}]}',
    ]


def _cells(row: RawRow) -> list[str]:
    return [row.id, row.created.isoformat(), row.channel, row.category, row.ticket, row.answer]


def _chat(row: RawRow) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": row.ticket},
        {"role": "assistant", "content": row.answer},
    ]
    metadata = {"id": row.id, "created": row.created.isoformat(), "channel": row.channel, "category": row.category}
    return {"messages": messages, "metadata": metadata}


def _spread(rows: list[Any], extra: list[Any]) -> list[Any]:
    """`rows` with `extra` ones put in at even distances."""
    found = list(rows)
    step = len(found) // (len(extra) + 1)
    for i, item in enumerate(extra):
        found.insert((i + 1) * step + i, item)
    return found
