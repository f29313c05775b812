"""Everything that can be wrong with a model's draft, in one list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import balance, contradictions, coverage, drafts, duplicates, quality, versions
from tunekeeper.data.config import Config
from tunekeeper.data.examples import make_example
from tunekeeper.data.findings import KINDS, Finding, counts, finding
from tunekeeper.data.formats import read_rows
from tunekeeper.data.quality import CountTokens
from tunekeeper.data.rows import Conversation
from tunekeeper.text.fingerprints import text_of
from tunekeeper.text.redaction import Redactor
from tunekeeper.workspace import Workspace

SHOWN = 5
"""Rows that the summary of a kind names; the findings name them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KindReport:
    """One kind of trouble in a check."""

    kind: str
    """What is wrong."""
    count: int
    """Findings."""
    dropped: int
    """Those among them whose row is not in the draft: an import or `--drop` left it out."""
    ids: tuple[str, ...]
    """The first rows, by id, or by `file:line` where they have none."""
    detail: str
    """What was said about the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What a check found."""

    findings: tuple[Finding, ...]
    """Each one, rows in order, the set as a whole at the end."""
    counts: dict[str, int]
    """Kind → findings."""
    examples: int
    """Rows that were looked at."""
    quality: float | None
    """Part of those rows with nothing wrong, 0 to 1; None without rows."""
    kinds: tuple[KindReport, ...]
    """The same by kind, most frequent first."""
    mix: balance.Mix
    """How old the rows are, and how many a machine made up."""


def check(
    ws: Workspace,
    task: Model,
    section: Config,
    *,
    against: Path | None = None,
    glossary: Mapping[str, str] | None = None,
    context: int | None = None,
    only: str | None = None,
    count: CountTokens | None = None,
) -> CheckReport:
    """Look at the draft of `task` (where there is none: at its newest version), and at what its imports dropped.

    `against`: a suite or evaluation file, for leaks and coverage. `glossary`: old → new term, besides the configured ones.
    `context`: tokens that fit, measured with `count`. `only`: report this kind alone. Raises DataError, UserError.
    """
    if only is not None and only not in KINDS:
        raise UserError(f"no kind of finding is called {only!r}", fix=f"choose from {', '.join(KINDS)}")
    examples = drafts.load_draft(ws, task.name) or versions.newest_examples(ws, task.name)
    lines = drafts.load_findings(ws, task.name)
    kept = [drafts.to_finding(row) for row in lines]
    if not examples and not kept:
        raise DataError(f"{task.name} has no draft and no dataset", fix=f"tunekeeper data import FILE --model {task.name}")
    section = replace(section, glossary={**section.glossary, **(glossary or {})})
    found = [*kept, *inspect(examples, section, context=context, count=count)]
    if against is not None:
        held = read_held(against)
        found += coverage.leaks(examples, held, section.near_duplicate, where=against.name)
        found += coverage.uncovered(examples, held, section.uncovered_share, where=against.name)
    out = {drafts.to_finding(row) for row in lines if row.get("action") == "dropped"}
    return _report(examples, found, only, out, balance.mix(examples, section))


def inspect(
    examples: Sequence[Example], section: Config, *, context: int | None = None, count: CountTokens | None = None
) -> list[Finding]:
    """Every check that needs the rows alone."""
    found: list[Finding] = []
    redactor = Redactor(section.redact)
    for example in examples:
        found += quality.examine(example, section, context=context, count=count)
        found += personal(example, redactor)
    found += duplicates.exact_duplicates(examples)
    found += duplicates.near_duplicates(examples, section.near_duplicate)
    found += contradictions.contradictions(examples)
    found += balance.stale_vocabulary(examples, section.glossary)
    train, held = [e for e in examples if e.split == "train"], [e for e in examples if e.split == "eval"]
    found += coverage.leaks(train, held, section.near_duplicate, where="the held-out side")
    return (
        found + balance.synthetic_only(examples) + balance.synthetic_share(examples, section) + balance.recency(examples, section)
    )


def personal(example: Example, redactor: Redactor) -> list[Finding]:
    """A finding when the row still holds personal data of the configured kinds."""
    total: dict[str, int] = {}
    for message in example.messages:
        for kind, n in redactor.redact(text_of(message.get("content")))[1].items():
            total[kind] = total.get(kind, 0) + n
    return [finding("pii", example, ", ".join(f"{kind} {n}" for kind, n in sorted(total.items())))] if total else []


def quality_score(rows: int, found: Iterable[Finding]) -> float | None:
    """Part of `rows` about which no finding speaks, 0 to 1; None without rows."""
    if rows == 0:
        return None
    return max(0.0, 1 - len({f.id for f in found if f.id is not None}) / rows)


def read_held(path: Path) -> list[Example]:
    """The rows of a suite (YAML) or of a file of rows, answers not needed. Raises DataError."""
    if path.suffix.casefold() in (".yaml", ".yml"):
        from tunekeeper.scoring.suites import load_suite

        suite = load_suite(path)
        talks = [
            (c.id, Conversation(messages=c.messages, metadata={"category": c.category} if c.category else {}))
            for c in suite.cases
        ]
        return [make_example(talk, source=f"file:{path.name}", id=id) for id, talk in talks]
    rows = [row for row in read_rows(path) if row.conversation is not None]
    if not rows:
        raise DataError(f"{path.name}: no row can be read", fix="give a suite, or rows with `messages`")
    return [make_example(row.conversation, source=f"file:{row.file}:{row.line}") for row in rows if row.conversation is not None]


def _report(
    examples: Sequence[Example], found: list[Finding], only: str | None, out: Set[Finding], mix: balance.Mix
) -> CheckReport:
    shown = tuple(f for f in dict.fromkeys(found) if only is None or f.kind == only)
    live = {e.id for e in examples}
    score = quality_score(len(examples), (f for f in found if f.id in live and f not in out))
    return CheckReport(
        findings=shown, counts=counts(shown), examples=len(examples), quality=score, kinds=by_kind(shown, out), mix=mix
    )


def by_kind(found: Sequence[Finding], out: Set[Finding]) -> tuple[KindReport, ...]:
    """Findings summed up by kind, most frequent first. `out`: those whose row is not in the draft."""
    groups: dict[str, list[Finding]] = {kind: [] for kind in counts(found)}
    for each in found:
        groups[each.kind].append(each)
    return tuple(
        KindReport(
            kind=kind,
            count=len(group),
            dropped=sum(f in out for f in group),
            ids=tuple(dict.fromkeys(f.id or f"{f.file}:{f.line}" for f in group if f.id or f.file))[:SHOWN],
            detail=group[0].detail,
        )
        for kind, group in groups.items()
    )


def read_glossary(path: Path) -> dict[str, str]:
    """Old term → new term from a YAML or JSON mapping, or from a CSV file with old and new in its first two columns.

    A first CSV line `old,new` is a header. Raises DataError naming file and line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if path.suffix.casefold() in (".csv", ".tsv"):
        return _glossary_table(path, text)
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path.name}: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict) or not all(isinstance(item, str) for pair in value.items() for item in pair):
        raise DataError(f"{path.name}: a glossary maps old terms to new ones", fix="write lines such as `Old Name: New Name`")
    return value


def _glossary_table(path: Path, text: str) -> dict[str, str]:
    import csv

    renames: dict[str, str] = {}
    delimiter = "\t" if path.suffix.casefold() == ".tsv" else ","
    for line, cells in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), 1):
        if cells and len(cells) < 2:
            raise DataError(f"{path.name}:{line}: two columns are needed, old and new")
        if cells and not (line == 1 and cells[0].strip().casefold() in ("old", "from", "term")):
            renames[cells[0].strip()] = cells[1].strip()
    return renames
