"""`data prune`: rows that are out of date leave the draft: by age, by names out of use, by corrections. Kept with their reason.

The deciders are pure functions of rows; `prune` carries them out under the draft's lock. `data readmit` brings a row back, and
nothing drops it for the same reason again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, versions, worklog
from tunekeeper.data.admission import said_at
from tunekeeper.data.collect import gather
from tunekeeper.data.config import Config
from tunekeeper.data.contradictions import contradicting_groups, describe
from tunekeeper.data.effect import Effect, between
from tunekeeper.data.examples import answer_key, created_of, question_key
from tunekeeper.data.findings import Finding, as_row, finding, row_of
from tunekeeper.data.merge import Recent, outdated_rows
from tunekeeper.data.quality import READMITTED
from tunekeeper.data.sources import Correction
from tunekeeper.text.fingerprints import answer_of, text_of
from tunekeeper.text.vocabulary import Glossary
from tunekeeper.workspace import Workspace

_INSTRUCTIONS = ("system", "developer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What pruning the draft did, or with `dry_run` would do."""

    dropped: dict[str, int]
    """Reason → rows that left the draft, kept among the dropped ones."""
    rows: tuple[Finding, ...]
    """Each of them with its reason."""
    undated: int
    """Rows whose age nobody knows: they stay, however old."""
    effect: Effect
    """What it does to the draft."""


def prune(
    ws: Workspace,
    task: Model,
    section: Config,
    *,
    older_than: timedelta | None = None,
    renamed: bool = False,
    superseded: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Take rows that are out of date out of the draft of `task`.

    `older_than`: rows whose last word is older. `renamed`: rows that hold an old term of the glossary, which writing it anew
    would keep. `superseded`: rows whose question somebody answered otherwise since, or whose answer people keep correcting.

    Raises UserError when none is asked for, DataError without a draft or when every row would leave, Busy, DiskFull.
    """
    if older_than is None and not renamed and not superseded:
        raise UserError("what is out of date?", fix="--older-than 365d, --renamed or --superseded")
    if renamed and not section.glossary:
        raise UserError(f"no glossary for {task.name}", fix="write data.glossary in the model file")
    with nullcontext() if dry_run else drafts.locked(ws, task.name):
        before = drafts.load_draft(ws, task.name)
        if not before:
            raise DataError(f"{task.name} has no draft", fix=f"tunekeeper data import FILE --model {task.name}")
        found = [*(aged(before, ws.clock.utc() - older_than) if older_than is not None else ())]
        found += outworn(before, Glossary(section.glossary)) if renamed else ()
        found += _superseded(ws, task, section, before) if superseded else ()
        leaving = {f.id: f for f in reversed(found)}  # the first reason counts
        after = [row for row in before if row.id not in leaving]
        if not after:
            raise DataError(f"every row of {task.name} would leave", fix="ask for less, and see it with --dry-run")
        if not dry_run and leaving:
            lines = [as_row(leaving[row.id], action="dropped", row=row_of(row)) for row in before if row.id in leaving]
            kept = {drafts.identity(line): line for line in (*drafts.load_findings(ws, task.name), *lines)}
            # First the dropped rows: a kill between the two files leaves a row in both, never in none.
            drafts.save_findings(ws, task.name, kept.values())
            drafts.save_draft(ws, task.name, after)
            worklog.save_command(ws, task.name, "prune")
    rows = tuple(leaving[row.id] for row in before if row.id in leaving)
    kinds = [f.kind for f in rows]
    return Pruned(
        dropped={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        rows=rows,
        undated=sum(created_of(row.metadata) is None and not row.metadata.get("said_at") for row in before),
        effect=between(before, after, section),
    )


def aged(rows: Sequence[Example], before: datetime) -> Iterator[Finding]:
    """Rows of which the last word (their date, a correction) is older. Those without any date stay."""
    for row in rows:
        last = said_at(row)
        if last.year > 1 and last < before and not _wanted(row, "outdated"):
            yield finding("outdated", row, f"last said on {last:%Y-%m-%d}, before {before:%Y-%m-%d}")


def outworn(rows: Sequence[Example], glossary: Glossary) -> Iterator[Finding]:
    """Rows that hold a term out of use, in what is said or in the calls of tools. Instructions belong to the model file."""
    for row in rows:
        if _wanted(row, "stale_vocabulary"):
            continue
        terms = [pair for m in row.messages if m.get("role") not in _INSTRUCTIONS for pair in glossary.suggestions(_whole(m))]
        if terms:
            old, new = terms[0]
            instead = f"now {new!r}" if new else "nothing stands in its place"
            yield finding("stale_vocabulary", row, f"{old!r} is out of use: {instead}", topic=old)


def overtaken(
    rows: Sequence[Example], corrections: Sequence[Correction], recent: Sequence[Recent], section: Config
) -> Iterator[Finding]:
    """Rows whose question a later word answers otherwise, in the set or in `corrections`, and rows whose answer people keep
    correcting on similar `recent` requests."""
    for group in contradicting_groups(rows):
        last = max(group, key=said_at)
        losers = [row for row in group if answer_key(row) != answer_key(last) and said_at(row) < said_at(last)]
        for found, row in zip(describe(losers, [last]), losers, strict=True):
            if not _wanted(row, "superseded"):
                yield finding("superseded", row, found.detail, of=last.id)
    right = {question_key(c.example): c.example for c in corrections}
    for row in rows:
        newer = right.get(question_key(row))
        if newer is None or newer.id == row.id or answer_key(newer) == answer_key(row) or _wanted(row, "superseded"):
            continue
        if said_at(newer) > said_at(row):
            said = " ".join(answer_of(newer.messages).split())[:80]
            yield finding("superseded", row, f"somebody answered the same question with {said!r} since", of=newer.id)
    kept_correcting = set(outdated_rows(rows, recent, section))
    for row in rows:
        if row.id in kept_correcting and not _wanted(row, "superseded"):
            yield finding("superseded", row, "people keep correcting this answer on similar recent requests")


def _superseded(ws: Workspace, task: Model, section: Config, rows: Sequence[Example]) -> Iterator[Finding]:
    newest = versions.latest(ws, task.name)
    said = gather(ws, task, section, None if newest is None else newest.created, draft=rows)
    return overtaken(rows, said.corrections, said.recent, section)


def _wanted(row: Example, kind: str) -> bool:
    """Whether somebody brought the row back in spite of this."""
    spite = row.metadata.get(READMITTED)
    return isinstance(spite, dict) and kind in spite


def _whole(message: dict[str, Any]) -> str:
    calls = message.get("tool_calls")
    return text_of(message.get("content")) + (f"\n{json.dumps(calls, ensure_ascii=False)}" if calls else "")
