"""Mending the draft: old terms written anew, bad rows taken out, dropped rows brought back. What leaves stays with its reason.

What becomes of a row is decided by pure functions; `rewrite_terms`, `drop_bad` and `readmit` carry it out under the draft's lock,
the first two of drafts of any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, quality, worklog
from tunekeeper.data.config import Config
from tunekeeper.data.examples import decode, encode
from tunekeeper.data.findings import KINDS, Finding, as_row, finding, row_of
from tunekeeper.data.quality import READMITTED, CountTokens
from tunekeeper.data.roles import empty
from tunekeeper.data.terms import rewritten_example
from tunekeeper.data.versions import reassigned
from tunekeeper.store.marks import digest_of
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


Decide = Callable[[int, Example], Example | Finding]
"""A place in the draft and the row there → the row as it stays, itself where nothing changes, or why it leaves; asked again it
says the same."""
_STAYS, _CHANGES, _LEAVES = range(3)


def rewrite_terms(ws: Workspace, task: Model, section: Config, *, dry_run: bool = False) -> Mended:
    """Write the new terms of `section.glossary` into the draft; each row remembers when, which and what it was.

    Instructions (system messages) stay: they belong to the model file. A row that becomes the same as another leaves. Raises
    DataError without a draft.
    """
    glossary, at = Glossary(section.glossary), ws.clock.utc()
    return _mend(ws, task.name, lambda rows: _rewriting(rows, glossary, at), dry_run)


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

    def decide(_: int, row: Example) -> Example | Finding:
        found = quality.examine(row, section, context=context, count=count, format=task.format)
        return next((each for each in found if quality.dropped_for(each, section, row)), row)

    return _mend(ws, task.name, lambda rows: decide, dry_run)


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


def _mend(ws: Workspace, model: str, deciding: Callable[[Iterable[Example]], Decide], dry_run: bool) -> Mended:
    """Mend a draft as is decided by somebody who has seen all of it. It is read again and again: no row is held."""
    with nullcontext() if dry_run else drafts.locked(ws, model), _opened(ws, model) as file:
        decide = deciding(map(decode, _lines(file)))
        fates, changed, reasons, gone = bytearray(), list[str](), Counter[str](), set[int]()
        for place, row in enumerate(map(decode, _lines(file))):
            now = decide(place, row)
            if isinstance(now, Finding):
                reasons[now.kind] += 1
                gone.add(hash(drafts.identity(_dropped(now, row))))
            elif now is not row:
                changed.append(row.id)
            fates.append(_LEAVES if isinstance(now, Finding) else _STAYS if now is row else _CHANGES)
        if not fates:
            raise _no_draft(model)
        if not dry_run and (changed or reasons):
            # First the dropped rows: a kill between the two files leaves a row in both, never in none.
            drafts.save_findings(ws, model, _reported(ws, model, gone, zip(_lines(file), fates, strict=True), decide))
            drafts.save_lines(ws, model, _left(zip(_lines(file), fates, strict=True), decide))
            worklog.save_command(ws, model, "check")
    return Mended(changed=tuple(changed), dropped=dict(reasons), examples=len(fates) - reasons.total())


@contextmanager
def _opened(ws: Workspace, model: str) -> Iterator[BinaryIO]:
    """The draft's file: the same rows each time it is read, whatever is put in its place."""
    try:
        with (drafts.folder(ws, model) / "draft.jsonl").open("rb") as file:
            yield file
    except FileNotFoundError:
        raise _no_draft(model) from None


def _no_draft(model: str) -> DataError:
    return DataError(f"{model} has no draft", fix=f"tunekeeper data import FILE --model {model}")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file from its beginning; nobody reads on where this begins."""
    file.seek(0)
    yield from file


def _reported(
    ws: Workspace, model: str, gone: Set[int], rows: Iterable[tuple[bytes, int]], decide: Decide
) -> Iterator[Mapping[str, Any]]:
    """What imports and checks reported, with the rows that leave now. `gone`: hashes of the identities of these."""
    yield from (line for line in drafts.read_findings(ws, model) if hash(drafts.identity(line)) not in gone)
    for place, (line, fate) in enumerate(rows):
        if fate == _LEAVES and isinstance(found := decide(place, row := decode(line)), Finding):
            yield _dropped(found, row)


def _left(rows: Iterable[tuple[bytes, int]], decide: Decide) -> Iterator[bytes]:
    """The lines of the next draft; those that stay are as they were."""
    for place, (line, fate) in enumerate(rows):
        if fate == _STAYS:
            yield line
        elif fate == _CHANGES and isinstance(now := decide(place, decode(line)), Example):
            yield encode(now, with_split=True)


def _rewriting(rows: Iterable[Example], glossary: Glossary, at: datetime) -> Decide:
    """Every old term is written anew, `at` a moment; a row that becomes the same as another leaves: of the rows that say the same
    the one that needed no change stays, else the first."""
    first, stale = dict[bytes, str](), bytearray()
    for row in rows:
        stale.append(rewritten_example(row, glossary, at) is not row)
        if not stale[-1]:
            first.setdefault(digest_of(row.fingerprint.encode()), row.id)

    def decide(place: int, row: Example) -> Example | Finding:
        if not stale[place]:
            return row
        new = rewritten_example(row, glossary, at)
        same = first.setdefault(digest_of(new.fingerprint.encode()), row.id)
        return new if same == row.id else finding("exact_duplicate", row, "the same conversation in new terms", of=same)

    return decide


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
