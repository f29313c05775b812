"""Import: rows of files, redacted, checked and put into the draft, with a reason for every row that is left out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import contradictions, drafts, duplicates, quality
from tunekeeper.data.config import Config
from tunekeeper.data.examples import answer_key, created_of, make_example
from tunekeeper.data.findings import Finding, as_row, finding
from tunekeeper.data.formats import RawRow, read_rows
from tunekeeper.data.rows import Conversation
from tunekeeper.data.versions import reassigned
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace

SHOWN = 3
"""Broken rows that the report names itself; its file names them all."""


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
    report: str | None
    """Path of the JSONL file with every dropped or flagged row; None for a dry run."""


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
) -> ImportReport:
    """Read `paths` into the draft of `task`. Importing the same file again adds nothing.

    `mapping`: role → column for flat rows, over the configured ones. `replace`: the files become the whole draft. `dry_run`:
    report only, write nothing. Raises DataError for a file that cannot be read at all and when every row is broken.
    """
    columns = {**section.columns, **(mapping or {})}
    if dry_run:
        return _run(ws, task, section, paths, columns, replace=replace, dry_run=True)
    with drafts.locked(ws, task.name):
        return _run(ws, task, section, paths, columns, replace=replace, dry_run=False)


def _run(
    ws: Workspace,
    task: Model,
    section: Config,
    paths: Sequence[Path],
    columns: Mapping[str, str],
    *,
    replace: bool,
    dry_run: bool,
) -> ImportReport:
    before = drafts.load_draft(ws, task.name)
    old = [] if replace else before
    work = _Import(section=section, system=task.system, redactor=Redactor(section.redact))
    work.known.update({e.fingerprint: (e.source, e.id) for e in old})
    for path in paths:
        for raw in read_rows(path, columns):
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
        report=None if report is None else str(report),
    )


def _take(work: _Import, raw: RawRow) -> None:
    """Turn one row into an example of `work.fresh`, or note why not."""
    work.rows += 1
    if raw.conversation is None:
        work.drop(Finding(kind="broken", file=raw.file, line=raw.line, detail=raw.broken), None)
        return
    example, found = redacted_example(raw.conversation, f"file:{raw.file}:{raw.line}", work.system, work.redactor)
    work.redacted.update(found)
    troubles = quality.examine(example, work.section)
    fatal = [t for t in troubles if quality.dropped_for(t, work.section, example)]
    if fatal:
        work.drop(fatal[0], {"messages": example.messages, "metadata": example.metadata})
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


def redacted_example(
    conversation: Conversation, source: str, system: str | None, redactor: Redactor
) -> tuple[Example, dict[str, int]]:
    """The example of a conversation after redaction, and kind → pieces replaced. Ids and dates stay as they are."""
    messages, counts = redactor.redact_json(list(conversation.messages))
    kept = {key: value for key, value in conversation.metadata.items() if key in ("id", "created")}
    metadata, more = redactor.redact_json({k: v for k, v in conversation.metadata.items() if k not in kept})
    clean = Conversation(
        messages=tuple(messages), metadata={**kept, **metadata}, tools=conversation.tools, weight=conversation.weight
    )
    return make_example(clean, source=source, system=system), dict(Counter(counts) + Counter(more))


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
            work.drop(found, {"messages": loser.messages, "metadata": loser.metadata})
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
                work.drop(found, {"messages": loser.messages, "metadata": loser.metadata})
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
