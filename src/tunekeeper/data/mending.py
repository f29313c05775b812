"""Mending the draft: old terms written anew, bad rows taken out, dropped rows brought back. What leaves stays with its reason.

Decisions are pure functions of rows; `rewrite_terms`, `drop_bad` and `readmit` carry them out under the draft's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, quality, worklog
from tunekeeper.data.config import Config
from tunekeeper.data.findings import KINDS, Finding, as_row, finding, row_of
from tunekeeper.data.quality import READMITTED, CountTokens
from tunekeeper.data.roles import empty
from tunekeeper.data.terms import rewritten_example
from tunekeeper.data.versions import reassigned
from tunekeeper.text.fingerprints import fingerprint
from tunekeeper.text.vocabulary import Glossary
from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Mended:
    """What mending the draft did, or with `dry_run` would do."""

    changed: tuple[str, ...] = ()
    """Ids of the rows that were rewritten or brought back."""
    dropped: dict[str, int]
    """Reason → rows that left the draft, kept among the dropped ones."""
    examples: int
    """Rows in the draft afterwards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Next:
    """The next draft, decided and not yet written."""

    examples: tuple[Example, ...]
    """Its rows."""
    changed: tuple[str, ...] = ()
    """Ids of rows that are not as they were."""
    lines: tuple[dict[str, Any], ...] = ()
    """Report lines of the rows that leave."""


def rewrite_terms(ws: Workspace, task: Model, section: Config, *, dry_run: bool = False) -> Mended:
    """Write the new terms of `section.glossary` into the draft; each row remembers when, which and what it was.

    Instructions (system messages) stay: they belong to the model file. A row that becomes the same as another leaves. Raises
    DataError without a draft.
    """
    return _mend(ws, task.name, lambda rows: rewritten(rows, Glossary(section.glossary), ws.clock.utc()), dry_run)


def drop_bad(
    ws: Workspace,
    task: Model,
    section: Config,
    *,
    context: int | None = None,
    count: CountTokens | None = None,
    dry_run: bool = False,
) -> Mended:
    """Take those rows out of the draft that an import would drop, by the configuration of today.

    `context`: tokens that fit, measured with `count`. Raises DataError without a draft.
    """
    return _mend(ws, task.name, lambda rows: sifted(rows, section, context=context, count=count, format=task.format), dry_run)


def readmit(
    ws: Workspace, task: Model, section: Config, names: Sequence[str], *, reason: str | None = None, dry_run: bool = False
) -> Mended:
    """Bring dropped rows back into the draft. `names`: their ids, or `file:line`; `reason`: only, or without names all, rows that
    were dropped for it. A row remembers what it was brought back in spite of; no import and no check drops it for that again.

    Raises NotFound, UserError, and DataError for a row that nobody can learn from as it is.
    """
    if not names and reason is None:
        raise UserError("which rows?", fix=f"tunekeeper data ls --dropped --model {task.name}")
    if reason is not None and reason not in KINDS:
        raise UserError(f"no kind of finding is called {reason!r}", fix=f"choose from {', '.join(KINDS)}")
    with nullcontext() if dry_run else drafts.locked(ws, task.name):
        known, before = drafts.load_findings(ws, task.name), drafts.load_draft(ws, task.name)
        lines = chosen(known, names, reason, task.name)
        back = brought_back(lines, before, ws.clock.utc())
        merged = reassigned(ws, task.name, [*before, *back], before, section)
        if not dry_run:
            drafts.save_draft(ws, task.name, merged)
            gone = {drafts.identity(line) for line in lines}
            drafts.save_findings(ws, task.name, (line for line in known if drafts.identity(line) not in gone))
            worklog.save_command(ws, task.name, "readmit")
    return Mended(changed=tuple(e.id for e in back), dropped={}, examples=len(merged))


def _mend(ws: Workspace, model: str, decide: Callable[[Sequence[Example]], Next], dry_run: bool) -> Mended:
    with nullcontext() if dry_run else drafts.locked(ws, model):
        before = drafts.load_draft(ws, model)
        if not before:
            raise DataError(f"{model} has no draft", fix=f"tunekeeper data import FILE --model {model}")
        after = decide(before)
        if not dry_run and (after.changed or after.lines):
            kept = {drafts.identity(line): line for line in (*drafts.load_findings(ws, model), *after.lines)}
            # First the dropped rows: a kill between the two files leaves a row in both, never in none.
            drafts.save_findings(ws, model, kept.values())
            drafts.save_draft(ws, model, after.examples)
            worklog.save_command(ws, model, "check")
    reasons = [line["kind"] for line in after.lines]
    dropped = {kind: reasons.count(kind) for kind in dict.fromkeys(reasons)}
    return Mended(changed=after.changed, dropped=dropped, examples=len(after.examples))


def rewritten(examples: Sequence[Example], glossary: Glossary, at: datetime) -> Next:
    """The rows with every old term written anew, `at` a moment; one that becomes the same as another leaves."""
    rows = [rewritten_example(e, glossary, at) for e in examples]
    first: dict[str, Example] = {}
    for old, new in zip(examples, rows, strict=True):
        if new is old:  # a row that needs no change is the one that stays
            first.setdefault(new.fingerprint, new)
    kept, lines = [], []
    for old, new in zip(examples, rows, strict=True):
        same = first.setdefault(new.fingerprint, new)
        if same is new or new is old:
            kept.append(new)
        else:
            lines.append(_dropped(finding("exact_duplicate", old, "the same conversation in new terms", of=same.id), old))
    changed = {new.id for old, new in zip(examples, rows, strict=True) if new is not old}
    return Next(examples=tuple(kept), changed=tuple(e.id for e in kept if e.id in changed), lines=tuple(lines))


def sifted(
    examples: Sequence[Example],
    section: Config,
    *,
    context: int | None = None,
    count: CountTokens | None = None,
    format: Mapping[str, Any] | None = None,
) -> Next:
    """The rows that an import would keep, and a line for each of the others. `format`: of the model's answers."""
    kept, lines = [], []
    for example in examples:
        found = quality.examine(example, section, context=context, count=count, format=format)
        fatal = next((f for f in found if quality.dropped_for(f, section, example)), None)
        if fatal is None:
            kept.append(example)
        else:
            lines.append(_dropped(fatal, example))
    return Next(examples=tuple(kept), lines=tuple(lines))


def _dropped(found: Finding, example: Example) -> dict[str, Any]:
    return as_row(found, action="dropped", row=row_of(example))


def dropped_lines(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those lines of a report that speak of rows outside the draft."""
    return [dict(line) for line in lines if line.get("action") == "dropped"]


def chosen(lines: Iterable[Mapping[str, Any]], names: Sequence[str], reason: str | None, model: str) -> list[dict[str, Any]]:
    """The lines of dropped rows that `names` (ids or `file:line`) and `reason` mean, each once. Raises NotFound, DataError."""
    candidates = [line for line in dropped_lines(lines) if reason is None or line["kind"] == reason]
    look = f"tunekeeper data ls --dropped --model {model}"
    if not names:
        found = [line for line in candidates if not _stays_out(line)]
        if not found:
            raise NotFound(f"no row of {model} that was dropped as {reason} can be brought back", fix=look)
        return found
    found = []
    for name in dict.fromkeys(names):
        mine = [line for line in candidates if name in (line["id"], f"{line['file']}:{line['line']}")]
        if not mine:
            raise NotFound(f"no dropped row of {model} is called {name}", fix=look)
        rows = {(line["file"], line["line"]) for line in mine}
        if len(rows) > 1:
            places = ", ".join(sorted(f"{file}:{at}" for file, at in rows))
            raise DataError(f"{len(rows)} dropped rows are called {name}: {places}", fix="name the one by file:line")
        for line in mine:
            why = _stays_out(line)
            if why:
                raise DataError(f"{name}: {why}", fix="correct it in its file and import that again")
        found += [line for line in mine if line not in found]
    return found


def _stays_out(line: Mapping[str, Any]) -> str:
    """Why a dropped row cannot come back as it is; empty when it can."""
    row = line.get("row")
    blank = line["kind"] == "empty" and not (isinstance(row, Mapping) and not empty(row["messages"]))
    if line["kind"] in ("broken", "bad_roles") or blank:
        return f"nobody can learn from it as it is ({line['kind']}: {line['detail']})"
    if not isinstance(line.get("row"), Mapping):
        return f"it says the same as {line['of']}" if line["kind"] == "exact_duplicate" else "the row itself was not kept"
    return ""


def brought_back(lines: Iterable[Mapping[str, Any]], draft: Sequence[Example], at: datetime) -> list[Example]:
    """The dropped rows of `lines` as examples of a draft, without those that are in it already. Sides are not dealt out yet."""
    there, ids = {e.fingerprint for e in draft}, {e.id for e in draft}
    back: dict[str, Example] = {}
    for line in lines:
        row = line["row"]
        messages, tools = tuple(row["messages"]), tuple(row.get("tools", ()))
        digest = fingerprint(messages, tools)
        if digest in there:
            continue
        earlier = back.get(digest)
        id = earlier.id if earlier is not None else _free_id(str(line["id"]), ids)
        ids.add(id)
        metadata = dict(row["metadata"] if earlier is None else earlier.metadata)
        spite = metadata.get(READMITTED)
        metadata[READMITTED] = {**(spite if isinstance(spite, dict) else {}), line["kind"]: at.isoformat()}
        source = row.get("source") or f"file:{line['file']}:{line['line']}"
        back[digest] = Example(
            id=id,
            messages=messages,
            fingerprint=digest,
            source=source,
            metadata=metadata,
            tools=tools,
            weight=row.get("weight", 1.0),
        )
    return list(back.values())


def _free_id(id: str, taken: set[str]) -> str:
    number, free = 2, id
    while free in taken:
        free, number = f"{id}#{number}", number + 1
    return free
