"""Mending the draft: old terms written anew, bad rows taken out, dropped rows brought back. What leaves stays with its reason.

What becomes of a row is decided by pure functions; `rewrite_terms`, `drop_bad` and `readmit` carry it out under the draft's lock,
of drafts of any size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

from tunekeeper.core.errors import DataError, NotFound, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, nextdraft, quality, worklog
from tunekeeper.data.config import Config
from tunekeeper.data.examples import decode, encode, named
from tunekeeper.data.findings import KINDS, Finding, as_row, finding, row_of
from tunekeeper.data.nextdraft import Came, Put, working
from tunekeeper.data.quality import READMITTED, CountTokens
from tunekeeper.data.roles import empty
from tunekeeper.data.terms import rewritten_example
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
Report = Callable[[], Iterable[Mapping[str, Any]]]
"""Gives the lines of what imports and checks reported, from the first on."""
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

    Of what was said about one answer of the log one row stands: one that is named takes the place of that of the draft, which
    leaves as superseded; without names the row of the draft stays. Of several that were dropped the one said last comes back.

    Raises NotFound, UserError, and DataError for a row that nobody can learn from as it is.
    """
    if not names and reason is None:
        raise UserError("which rows?", fix=f"tunekeeper data ls --dropped --model {task.name}")
    if reason is not None and reason not in KINDS:
        raise UserError(f"no kind of finding is called {reason!r}", fix=f"choose from {', '.join(KINDS)}")
    with nullcontext() if dry_run else drafts.locked(ws, task.name), working(ws, task.name) as before:
        meant = chosen(drafts.read_findings(ws, task.name), names, reason, task.name)
        report, ids = partial(drafts.read_findings, ws, task.name), list[str]()
        if answers := _answers(report, meant):
            stand = {hash(row.fingerprint) for row in map(decode, before()) if _answer_of(row.id, row.source) in answers}
            meant = _said_last(report, meant, stand)
        held = _held(map(decode, before()), _answers(report, meant))
        if not names:
            meant, held = _without_judged_again(meant, held, task.name), _held(map(decode, before()), {})
        back = _brought_back(report, meant, held, ws.clock.utc(), ids)
        put = chain(((line, Came.STAYED) for place, line in enumerate(before()) if place not in held.judged), back)
        if dry_run:
            examples = sum(1 for _ in put)
        else:
            # First the rows that leave: a kill between the two files leaves a row in both, never in none.
            if leaving := _giving_way(report, held.judged.values()):
                drafts.save_findings(ws, task.name, chain(report(), leaving))
            examples = nextdraft.save(ws, task.name, put, section)
            drafts.save_findings(ws, task.name, (line for place, line in enumerate(report()) if place not in meant))
            worklog.save_command(ws, task.name, "readmit")
    return Mended(changed=tuple(ids), dropped={"superseded": len(held.judged)} if held.judged else {}, examples=examples)


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
    return as_row(found, action="dropped", row=row_of(example, of_draft=True))


def dropped_lines(lines: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Those lines of a report that speak of rows outside the draft."""
    return (line for line in lines if line.get("action") == "dropped")


def chosen(lines: Iterable[Mapping[str, Any]], names: Sequence[str], reason: str | None, model: str) -> dict[int, Finding]:
    """Place → finding of those lines of a report that `names` (ids or `file:line`) and `reason` mean: rows that were dropped.
    Raises NotFound, DataError."""
    look = f"tunekeeper data ls --dropped --model {model}"
    found, why, wanted = dict[int, Finding](), dict[int, str](), set(names)
    for place, line in enumerate(lines):
        meant = line.get("action") == "dropped" and reason in (None, line["kind"])
        if meant and (not names or not wanted.isdisjoint((line["id"], f"{line['file']}:{line['line']}"))):
            found[place], why[place] = drafts.to_finding(line), _stays_out(line)
    if not names:
        found = {place: each for place, each in found.items() if not why[place]}
        if not found:
            raise NotFound(f"no row of {model} that was dropped as {reason} can be brought back", fix=look)
        return found
    for name in dict.fromkeys(names):
        mine = {place: each for place, each in found.items() if name in (each.id, f"{each.file}:{each.line}")}
        if not mine:
            raise NotFound(f"no dropped row of {model} is called {name}", fix=look)
        rows = {(each.file, each.line) for each in mine.values()}
        if len(rows) > 1:
            places = ", ".join(sorted(f"{file}:{at}" for file, at in rows))
            raise DataError(f"{len(rows)} dropped rows are called {name}: {places}", fix="name the one by file:line")
        if said := next((why[place] for place in mine if why[place]), ""):
            raise DataError(f"{name}: {said}", fix="correct it in its file and import that again")
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """What a draft has, as far as rows that come back into it have to know."""

    there: set[int]
    """Hashes of the fingerprints of its rows."""
    taken: set[int]
    """Hashes of their ids."""
    judged: Mapping[int, Example]
    """Place → row that says something else about an answer of the log that such a row is about, too."""


def _answer_of(id: str, source: object) -> tuple[str, str] | None:
    """The answer of the log that a row is about; None for a row from elsewhere."""
    return (id, source) if isinstance(source, str) and source.startswith("inference:") else None


def _answers(report: Report, meant: Mapping[int, Finding]) -> dict[tuple[str, str], int]:
    """Answer of the log → hash of the fingerprint of what comes back about it."""
    rows = ((line, _answer_of(str(line["id"]), line["row"].get("source"))) for at, line in enumerate(report()) if at in meant)
    return {answer: hash(_print_of(line["row"])) for line, answer in rows if answer is not None}


def _said_last(report: Report, meant: Mapping[int, Finding], stand: Set[int]) -> dict[int, Finding]:
    """Of dropped rows about the same answer of the log those that say what was said last and is not in the draft. `stand`: hashes
    of the fingerprints that are."""
    last = dict[tuple[str, str], tuple[bool, str, int]]()
    marks = dict[int, tuple[tuple[str, str], int]]()
    for place, line in enumerate(report()):
        if place not in meant or (answer := _answer_of(str(line["id"]), line["row"].get("source"))) is None:
            continue
        mark = hash(_print_of(line["row"]))
        marks[place] = (answer, mark)
        said = (mark not in stand, str(line["row"]["metadata"].get("said_at", "")), mark)
        last[answer] = max(last.get(answer, said), said)
    return {at: why for at, why in meant.items() if at not in marks or last[marks[at][0]][2] == marks[at][1]}


def _held(draft: Iterable[Example], answers: Mapping[tuple[str, str], int]) -> _Held:
    """What the draft has. `answers`: answer of the log → hash of the fingerprint of what comes back about it."""
    there, taken, judged = set[int](), set[int](), dict[int, Example]()
    for place, row in enumerate(draft):
        mark, answer = hash(row.fingerprint), _answer_of(row.id, row.source)
        if answer is not None and answers.get(answer, mark) != mark:
            judged[place] = row
            continue
        there.add(mark)
        taken.add(hash(row.id))
    # A row that is in the draft under another name takes nobody's place.
    stay = {at: row for at, row in judged.items() if answers[(row.id, row.source)] in there}
    there |= {hash(row.fingerprint) for row in stay.values()}
    taken |= {hash(row.id) for row in stay.values()}
    return _Held(there=there, taken=taken, judged={at: row for at, row in judged.items() if at not in stay})


def _without_judged_again(meant: Mapping[int, Finding], held: _Held, model: str) -> dict[int, Finding]:
    """Those of the dropped rows in whose place the draft has no other. Raises NotFound where there are none."""
    again = {row.id for row in held.judged.values()}
    stay = {place: each for place, each in meant.items() if each.id not in again}
    if again and not stay:
        look = f"tunekeeper data readmit {min(again)} --model {model}"
        raise NotFound(f"the draft of {model} has another answer in the place of each of these rows", fix=f"name one: {look}")
    return stay


def _giving_way(report: Report, rows: Collection[Example]) -> list[dict[str, Any]]:
    """Report lines of the rows in whose place others come back; without those that a killed run has written."""
    left = [
        _dropped(finding("superseded", row, "an earlier answer was brought back in its place", of=row.id), row) for row in rows
    ]
    known = {drafts.identity(line) for line in report()} if left else set()
    return [line for line in left if drafts.identity(line) not in known]


def _brought_back(report: Report, meant: Mapping[int, Finding], held: _Held, at: datetime, ids: list[str]) -> Iterator[Put]:
    """The dropped rows of a report as rows of a draft, without those that are in it already; none is held. `meant`: place in the
    report → why it was dropped; `ids`: gets their ids. What was dropped for two reasons comes back once, in spite of both."""
    first, reasons = dict[int, int](), dict[int, tuple[str, ...]]()
    for place, line in enumerate(report()):
        if place in meant and (mark := hash(_print_of(line["row"]))) not in held.there:
            kept = first.setdefault(mark, place)
            reasons[kept] = (*reasons.get(kept, ()), meant[place].kind)
    sides, taken = {row.id: row.split for row in held.judged.values()}, set(held.taken)
    for place, line in enumerate(report()):
        if place not in reasons:
            continue
        id = _free_id(str(line["id"]), taken)
        taken.add(hash(id))
        ids.append(id)
        row = named(_as_it_was(line, dict.fromkeys(reasons[place], at.isoformat())), id)
        side = sides.get(id) or line["row"].get("split")
        if side is None:
            yield encode(row, with_split=True), Came.NEW
        else:
            yield encode(replace(row, split=side), with_split=True), Came.CHANGED


def _print_of(row: Mapping[str, Any]) -> str:
    return fingerprint(tuple(row["messages"]), tuple(row.get("tools", ())))


def _as_it_was(line: Mapping[str, Any], spite: Mapping[str, str]) -> Example:
    """The row of a report's line, which remembers why it had been dropped and when it came back."""
    row = line["row"]
    earlier = row["metadata"].get(READMITTED)
    return Example(
        id=str(line["id"]),
        messages=tuple(row["messages"]),
        fingerprint=_print_of(row),
        source=row.get("source") or f"file:{line['file']}:{line['line']}",
        metadata={**row["metadata"], READMITTED: {**(earlier if isinstance(earlier, dict) else {}), **spite}},
        tools=tuple(row.get("tools", ())),
        weight=row.get("weight", 1.0),
    )


def _free_id(id: str, taken: Set[int]) -> str:
    """The id, or with a number behind it where it is taken. `taken`: hashes of ids."""
    number, free = 2, id
    while hash(free) in taken:
        free, number = f"{id}#{number}", number + 1
    return free
