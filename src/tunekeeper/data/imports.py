"""Import: rows of files, redacted, checked and put into the draft, with a reason for every row that is left out."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import contradictions, drafts, duplicates, quality
from tunekeeper.data.config import Config
from tunekeeper.data.examples import answer_key, created_of
from tunekeeper.data.findings import Finding, as_row, finding, place_of, row_of
from tunekeeper.data.formats import STDIN, RawRow, read_rows, read_stdin
from tunekeeper.data.rows import check_mapping
from tunekeeper.data.sources import redacted_example
from tunekeeper.data.terms import fingerprints_of
from tunekeeper.data.versions import reassigned
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace

SHOWN = 3
"""Broken rows, and dropped ones of each reason, that the report names itself; its file names them all."""
FORMULA = re.compile(r"[=@]|[+-]\S*[(|!]")
"""How a cell begins that a spreadsheet would evaluate; a list item or a negative number is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReport:
    """What an import found in one file."""

    file: str
    """Name of the file; `stdin` for standard input."""
    rows: int
    """Rows read."""
    formats: dict[str, int]
    """Shape that was recognised → rows: openai, sharegpt, alpaca, preference, columns, or the export of another tool."""
    columns: dict[str, str]
    """Field → column that it was read from, guessed or told; empty where no row is flat."""
    added: int
    """Rows that are new in the draft."""
    dropped: dict[str, int]
    """Reason → rows left out; `already_there` counts rows that an earlier import brought."""
    formulas: int
    """Questions and answers of flat rows that begin as a spreadsheet's formula does; kept as plain text, never evaluated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What an import did, or with `dry_run` would do."""

    rows: int
    """Rows read."""
    added: int
    """Rows that are new in the draft."""
    dropped: dict[str, int]
    """Reason → rows left out; `already_there` counts rows that an earlier import brought."""
    replaced: int
    """Rows of the draft that a newer answer took the place of."""
    flagged: dict[str, int]
    """Reason → rows that stay, with something to look at."""
    redacted: dict[str, int]
    """Kind of personal data → pieces replaced by placeholders."""
    examples: int
    """Rows in the draft afterwards."""
    broken: tuple[str, ...]
    """The first rows that cannot be read, each as `file:line: why`."""
    files: tuple[FileReport, ...]
    """Each file, in the order they were read."""
    left_out: tuple[str, ...]
    """The first dropped rows of each reason, each as `file:line: reason: detail`."""
    report: str | None
    """Path of the JSONL file with every dropped or flagged row; None for a dry run."""


@dataclass(slots=True)
class _Tally:
    """What one file held so far."""

    rows: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    columns: dict[str, str] = field(default_factory=dict)
    formulas: int = 0

    def take(self, raw: RawRow) -> None:
        self.rows += 1
        talk = raw.conversation
        if talk is None:
            return
        self.formats[talk.shape] += 1
        if talk.columns:
            self.columns = {**talk.columns, **self.columns}
            self.formulas += sum(FORMULA.match(str(m["content"])) is not None for m in talk.messages)


@dataclass(slots=True)
class _Import:
    """An import under way."""

    section: Config
    system: str | None
    redactor: Redactor
    rows: int = 0
    fresh: list[Example] = field(default_factory=list)
    votes: Counter[str] = field(default_factory=Counter)
    present: list[Example] = field(default_factory=list)
    known: dict[str, tuple[str, str]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    redacted: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    tallies: dict[str, _Tally] = field(default_factory=dict)

    def drop(self, found: Finding, row: Any) -> None:
        self.lines.append(as_row(found, action="dropped", row=row))

    def flag(self, found: Iterable[Finding]) -> None:
        self.lines += drafts.rows_of(found)


def import_files(
    ws: Workspace,
    task: Model,
    section: Config,
    paths: Sequence[Path],
    *,
    mapping: Mapping[str, str] | None = None,
    replace: bool = False,
    dry_run: bool = False,
    stdin: BinaryIO | None = None,
) -> ImportReport:
    """Read `paths` into the draft of `task`. Importing the same file again adds nothing.

    `mapping`: role → column for flat rows, over the configured ones. `replace`: the files become the whole draft. `dry_run`:
    report only, write nothing. `stdin`: what the path `-` reads. Raises UserError for a field that no row has, DataError for a
    file that cannot be read at all and when every row is broken; the draft is then as before.
    """
    columns = {**section.columns, **(mapping or {})}
    check_mapping(columns)
    rows = _rows(paths, columns, stdin)
    if dry_run:
        return _run(ws, task, section, paths, rows, replace=replace, dry_run=True)
    with drafts.locked(ws, task.name):
        return _run(ws, task, section, paths, rows, replace=replace, dry_run=False)


def _rows(paths: Sequence[Path], columns: Mapping[str, str], stdin: BinaryIO | None) -> Iterator[RawRow]:
    for path in paths:
        if path != STDIN:
            yield from read_rows(path, columns)
        elif stdin is None:
            raise DataError("-: there is no standard input here", fix="give a file")
        else:
            yield from read_stdin(stdin, columns)


def _run(
    ws: Workspace,
    task: Model,
    section: Config,
    paths: Sequence[Path],
    rows: Iterator[RawRow],
    *,
    replace: bool,
    dry_run: bool,
) -> ImportReport:
    before = drafts.load_draft(ws, task.name)
    old = [] if replace else before
    work = _Import(section=section, system=task.system, redactor=Redactor(section.redact))
    work.known.update({known: (e.source, e.id) for e in old for known in fingerprints_of(e)})
    for raw in rows:
        _take(work, raw)
    _refuse_all_broken(work, paths)
    merged = _merge(work, old)
    fresh = {e.id for e in work.fresh}
    near = duplicates.near_duplicates(merged, section.near_duplicate)
    work.flag(found for found in near if found.id in fresh)
    merged = reassigned(ws, task.name, merged, before, section)
    report = None if dry_run else _store(ws, task.name, work, merged, replace=replace)
    dropped = Counter(line["kind"] for line in work.lines if line["action"] == "dropped")
    if work.present:
        dropped["already_there"] = len(work.present)
    return ImportReport(
        rows=work.rows,
        added=len(work.fresh) - work.replaced,
        dropped=dict(dropped.most_common()),
        replaced=work.replaced,
        flagged=dict(Counter(line["kind"] for line in work.lines if line["action"] == "flagged").most_common()),
        redacted=dict(work.redacted),
        examples=len(merged),
        broken=tuple(f"{at['file']}:{at['line']}: {at['detail']}" for at in work.lines if at["kind"] == "broken")[:SHOWN],
        files=_file_reports(work),
        left_out=_left_out(work.lines),
        report=None if report is None else str(report),
    )


def _file_reports(work: _Import) -> tuple[FileReport, ...]:
    added = Counter(place_of(e.source)[0] for e in work.fresh)
    dropped: dict[str, Counter[str]] = {name: Counter() for name in work.tallies}
    places = [(line["file"], line["kind"]) for line in work.lines if line["action"] == "dropped"]
    places += [(place_of(e.source)[0], "already_there") for e in work.present]
    for name, kind in places:
        if name in dropped:
            dropped[name][kind] += 1
    return tuple(
        FileReport(
            file=name,
            rows=tally.rows,
            formats=dict(tally.formats.most_common()),
            columns=tally.columns,
            added=added[name],
            dropped=dict(dropped[name].most_common()),
            formulas=tally.formulas,
        )
        for name, tally in work.tallies.items()
    )


def _left_out(lines: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    shown: Counter[str] = Counter()
    named = []
    for line in lines:
        if line["action"] == "dropped" and shown[line["kind"]] < SHOWN:
            shown[line["kind"]] += 1
            where = f"{line['file']}:{line['line']}" if line["file"] else line["id"]
            named.append(f"{where}: {line['kind']}: {line['detail']}")
    return tuple(named)


def _take(work: _Import, raw: RawRow) -> None:
    """Turn one row into an example of `work.fresh`, or note why not."""
    work.rows += 1
    work.tallies.setdefault(raw.file, _Tally()).take(raw)
    if raw.conversation is None:
        work.drop(Finding(kind="broken", file=raw.file, line=raw.line, detail=raw.broken), None)
        return
    example, found = redacted_example(raw.conversation, f"file:{raw.file}:{raw.line}", work.system, work.redactor)
    work.redacted.update(found)
    troubles = quality.examine(example, work.section)
    # A row that stands in the draft in spite of its trouble was brought back there.
    there = example.fingerprint in work.known
    fatal = [t for t in troubles if not there and quality.dropped_for(t, work.section, example)]
    if fatal:
        work.drop(fatal[0], row_of(example))
        return
    work.votes[example.fingerprint] += 1
    known = work.known.get(example.fingerprint)
    if known is not None:
        _repeated(work, example, known)
        return
    work.known[example.fingerprint] = (example.source, example.id)
    work.fresh.append(example)
    work.flag(t for t in troubles if t not in fatal)
    if found:
        work.flag([finding("pii", example, "redacted: " + ", ".join(f"{kind} {n}" for kind, n in sorted(found.items())))])


def _repeated(work: _Import, example: Example, known: tuple[str, str]) -> None:
    source, id = known
    if source == example.source or (id == example.id and not id.startswith("ex_")):
        work.present.append(example)
    else:
        work.drop(finding("exact_duplicate", example, "the same conversation", of=id), None)


def _refuse_all_broken(work: _Import, paths: Sequence[Path]) -> None:
    broken = [line for line in work.lines if line["kind"] == "broken"]
    if work.rows == 0:
        raise DataError(f"{', '.join(p.name for p in paths)}: no rows")
    if len(broken) == work.rows:
        first = broken[0]
        raise DataError(f"{first['file']}:{first['line']}: {first['detail']}; none of the {work.rows} rows can be read")


def _merge(work: _Import, old: Sequence[Example]) -> list[Example]:
    """Old rows and fresh ones together: contradictions settled, a newer row with the same id in the old one's place."""
    if work.section.contradictions == "drop":
        _settle_within(work)
    work.fresh = _own_ids(work.fresh)
    newer = {e.id: e for e in work.fresh}
    by_id = {e.id for e in old}
    merged = [newer.get(e.id, e) for e in old] + [e for e in work.fresh if e.id not in by_id]
    work.replaced = sum(e.id in by_id for e in work.fresh)
    if work.section.contradictions == "flag":
        fresh = set(newer)
        work.flag(f for f in contradictions.contradictions(merged) if f.id in fresh)
        return merged
    return _settle_with_draft(work, merged, set(newer))


def _settle_within(work: _Import) -> None:
    """Of rows that contradict each other inside this import, keep the believed answer, or none."""
    fresh = {id(e) for e in work.fresh}
    for group in contradictions.contradicting_groups([*work.fresh, *work.present]):
        answer = contradictions.believed(group, work.votes)
        losers = [e for e in group if id(e) in fresh and answer_key(e) != answer]
        for found, loser in zip(contradictions.describe(losers, group), losers, strict=True):
            work.drop(found, row_of(loser))
        gone = {id(e) for e in losers}
        work.fresh = [e for e in work.fresh if id(e) not in gone]


def _settle_with_draft(work: _Import, merged: list[Example], fresh: set[str]) -> list[Example]:
    """A fresh row takes the place of an older answer in the draft, unless the draft's is dated later."""
    gone: set[str] = set()
    for group in contradictions.contradicting_groups(merged):
        new = [e for e in group if e.id in fresh]
        old = [e for e in group if e.id not in fresh]
        if new and old:
            losers = new if _later(old, new) else old
            gone |= {e.id for e in losers}
            for found, loser in zip(contradictions.describe(losers, group), losers, strict=True):
                work.drop(found, row_of(loser))
            work.replaced += len(old) if losers is old else 0
    if gone & fresh:
        work.fresh = [e for e in work.fresh if e.id not in gone]
    return [e for e in merged if e.id not in gone]


def _later(a: Sequence[Example], b: Sequence[Example]) -> bool:
    dates_a = [d for d in (created_of(e.metadata) for e in a) if d is not None]
    dates_b = [d for d in (created_of(e.metadata) for e in b) if d is not None]
    return bool(dates_a and dates_b) and max(dates_a) > max(dates_b)


def _own_ids(examples: Sequence[Example]) -> list[Example]:
    """Rows of one import that share an id get `#2`, `#3` …, so that every row can be named."""
    seen: Counter[str] = Counter()
    named = []
    for example in examples:
        seen[example.id] += 1
        named.append(example if seen[example.id] == 1 else dataclasses.replace(example, id=f"{example.id}#{seen[example.id]}"))
    return named


def _store(ws: Workspace, model: str, work: _Import, merged: list[Example], *, replace: bool) -> Path:
    report = drafts.folder(ws, model) / "reports" / f"{ws.new_id('import')}.jsonl"
    drafts.write_rows(report, work.lines)
    kept = {} if replace else {drafts.identity(row): row for row in drafts.load_findings(ws, model)}
    kept |= {drafts.identity(row): row for row in work.lines if row["action"] == "dropped" or row["kind"] == "pii"}
    drafts.save_findings(ws, model, kept.values())
    drafts.save_draft(ws, model, merged)
    return report
