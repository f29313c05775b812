"""`data prune`: rows that are out of date leave the draft: by age, by names out of use, by corrections. Kept with their reason.

The deciders are pure functions of rows; `prune` carries them out under the draft's lock. `data readmit` brings a row back, and
nothing drops it for the same reason again.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, filerows, settling, versions, worklog
from tunekeeper.data.admission import NEVER, displaces, said_at, weight_of
from tunekeeper.data.collect import gather
from tunekeeper.data.config import Config
from tunekeeper.data.contradictions import describe
from tunekeeper.data.effect import Effect, between, survey
from tunekeeper.data.examples import answer_key, question_key, topic_of
from tunekeeper.data.findings import Finding, as_row, finding, row_of
from tunekeeper.data.merge import Outdated, Recent, kept_correcting, overtaken_by
from tunekeeper.data.quality import wanted
from tunekeeper.data.sources import Correction
from tunekeeper.text.fingerprints import prompt_key, text_of
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
    unread: str
    """The first date of these that nobody can read; empty where they have none."""
    ahead: int
    """Rows of which the last word lies more than a day in the future: they stay as well."""
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
        rows = filerows.rows_of(drafts.folder(ws, task.name) / "draft.jsonl")
        if not rows:
            raise DataError(f"{task.name} has no draft", fix=f"tunekeeper data import FILE --model {task.name}")
        found = [*(aged(rows, ws.clock.utc() - older_than) if older_than is not None else ())]
        found += outworn(rows, Glossary(section.glossary)) if renamed else ()
        found += _superseded(ws, task, section, rows) if superseded else ()
        leaving = {f.id: f for f in reversed(found)}  # the first reason counts
        done = _pruned(rows, leaving, section, ws.clock.utc())
        if not done.effect.after.examples:
            raise DataError(f"every row of {task.name} would leave", fix="ask for less, and see it with --dry-run")
        if not dry_run and leaving:
            # First the dropped rows: a kill between the two files leaves a row in both, never in none.
            drafts.add_dropped(ws, task.name, lambda: _left(rows, leaving))
            drafts.save_draft(ws, task.name, (row for row in rows if row.id not in leaving))
            worklog.save_command(ws, task.name, "prune")
    return done


def _left(rows: Iterable[Example], leaving: Mapping[str | None, Finding]) -> Iterator[dict[str, Any]]:
    """The report lines of the rows that leave."""
    return (as_row(leaving[row.id], action="dropped", row=row_of(row, of_draft=True)) for row in rows if row.id in leaving)


def _pruned(rows: Sequence[Example], leaving: Mapping[str | None, Finding], section: Config, now: datetime) -> Pruned:
    """What becomes of the rows when those of these ids leave."""
    out, topics, undated, unread, ahead = list[Finding](), Counter[str](), 0, "", 0
    for row in rows:
        last = said_at(row)
        ahead += last > now + timedelta(days=1)
        if last == NEVER:
            undated += 1
            unread = unread or str(row.metadata.get("created") or "")
        if row.id in leaving:
            out.append(leaving[row.id])
            topics[topic_of(row) or "none"] += 1
    left = len(rows) - len(out)
    counts = {"added": 0, "removed": len(out), "edited": 0, "moved": 0, "metadata": 0, "unchanged": left}
    after = survey((row for row in rows if row.id not in leaving), left, section)
    return Pruned(
        dropped=dict(Counter(each.kind for each in out)),
        rows=tuple(out),
        undated=undated,
        unread=unread,
        ahead=ahead,
        effect=between(survey(rows, len(rows), section), after, counts, removed=topics),
    )


def aged(rows: Iterable[Example], before: datetime) -> Iterator[Finding]:
    """Rows of which the last word (their date, a correction) is older. Those without any date stay."""
    for row in rows:
        last = said_at(row)
        if NEVER < last < before and not wanted(row, "outdated"):
            yield finding("outdated", row, f"last said on {last:%Y-%m-%d}, before {before:%Y-%m-%d}")


def outworn(rows: Iterable[Example], glossary: Glossary) -> Iterator[Finding]:
    """Rows that hold a term out of use, in what is said or in the calls of tools. Instructions belong to the model file."""
    for row in rows:
        if wanted(row, "stale_vocabulary"):
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
    yield from _overtaken_within(rows)
    right = {question_key(said): said for said in sorted((c.example for c in corrections), key=weight_of)}
    prompts = {prompt_key(c.example.messages) for c in corrections}
    dying, corrected = Outdated(recent, section), list[Finding]()
    for row in rows:
        newer = right.get(question_key(row)) if prompt_key(row.messages) in prompts else None
        differs = newer is not None and newer.id != row.id and answer_key(newer) != answer_key(row)
        if newer is not None and differs and _overtakes(newer, row):
            yield overtaken_by(newer, row)
        if dying.holds(row) and not wanted(row, "superseded"):
            corrected.append(kept_correcting(row))
    yield from corrected


def _overtaken_within(rows: Sequence[Example]) -> Iterator[Finding]:
    """Rows whose question a later row answers otherwise; two rows are held at a time."""
    questions, answers = array("q"), array("q")
    for row in rows:
        questions.append(hash(question_key(row)))
        answers.append(hash(answer_key(row)))
    for group in settling.differing(np.frombuffer(questions, np.int64), np.frombuffer(answers, np.int64)):
        last = rows[max(group, key=lambda place: weight_of(rows[place]))]
        for place in group:
            row = rows[place]
            if answer_key(row) != answer_key(last) and _overtakes(last, row):
                yield from (finding("superseded", row, found.detail, of=last.id) for found in describe([row], [last]))


def _overtakes(newer: Example, row: Example) -> bool:
    """Whether a later word takes the place of a row that answers the same question otherwise."""
    return said_at(newer) > said_at(row) and displaces(newer, row) and not wanted(row, "superseded")


def _superseded(ws: Workspace, task: Model, section: Config, rows: Sequence[Example]) -> Iterator[Finding]:
    said = gather(ws, task, section, versions.frozen_at(ws, versions.latest(ws, task.name)), draft=rows)
    return overtaken(rows, said.corrections, said.recent, section)


def _whole(message: dict[str, Any]) -> str:
    calls = message.get("tool_calls")
    return text_of(message.get("content")) + (f"\n{json.dumps(calls, ensure_ascii=False)}" if calls else "")
