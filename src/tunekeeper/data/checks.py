"""Everything that can be wrong with a model's draft, in one list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import (
    balance,
    coverage,
    drafts,
    filerows,
    inspection,
    judged,
    lines,
    scores,
    tallies,
    usage,
    versions,
)
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Conversation
from tunekeeper.data.examples import TOPIC_KEYS, make_example, parsed
from tunekeeper.data.findings import KINDS, Finding, counts
from tunekeeper.data.formats import read_rows
from tunekeeper.data.quality import CountTokens
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
    """Score of the set, 0 to 1 (`data/scores.py`); None without rows."""
    clean: float | None
    """Part of the rows about which nothing at all is said, 0 to 1; None without rows."""
    low: int
    """Rows with a score below 0.5."""
    scores: dict[str, float]
    """Id → score of each row that has less than 1, lowest first."""
    kinds: tuple[KindReport, ...]
    """The same by kind, most frequent first."""
    mix: balance.Mix
    """How old the rows are, and how many a machine made up."""
    balance: balance.Balance
    """How the rows are spread over topics and over the labels they teach."""
    covered: float | None = None
    """Part of the rows, 0 to 1, that the suite or evaluation file covers; None without one."""


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
    remember: bool = True,
) -> CheckReport:
    """Look at the draft of `task` (where there is none: at its newest version), and at what its imports dropped.

    `against`: a suite or evaluation file, for leaks and coverage. `glossary`: old → new term, besides the configured ones.
    `context`: tokens that fit, measured with `count`. `only`: report this kind alone. `remember`: note the quality beside the
    draft, for the version that is frozen from just that. Raises DataError, UserError.
    """
    if only is not None and only not in KINDS:
        raise UserError(f"no kind of finding is called {only!r}", fix=f"choose from {', '.join(KINDS)}")
    path = versions.draft_path(ws, task.name)
    state = scores.state_of(path)
    with _rows(ws, task.name, path) as examples:
        said = [(drafts.to_finding(row), row.get("action")) for row in drafts.read_findings(ws, task.name)]
        kept, out = [each for each, _ in said], {each for each, action in said if action == "dropped"}
        if not examples and not kept:
            raise DataError(f"{task.name} has no draft and no dataset", fix=f"tunekeeper data import FILE --model {task.name}")
        section = replace(section, glossary={**section.glossary, **(glossary or {})})
        spread, tally = balance.spread(examples), tallies.of_examples(examples)
        found = [*kept, *inspection.inspect(examples, section, context=context, count=count, format=task.format)]
        found += inspection.of_whole(tally, spread, section)
        covered = None
        if against is not None:
            held = read_held(against)
            covered = usage.covered_share(examples, usage.asked_of_examples(held))
            leaked = coverage.leaks(examples, held, section.leak_similarity, where=against.name)
            found += coverage.into_others(leaked, examples)
            found += coverage.uncovered(examples, held, section.uncovered_share, where=against.name)
        live = _live(examples, found, out)
        whole = scores.quality_of(examples, live, compared=True)
        if whole is not None and state is not None and remember:
            judged.remember(path, state, whole)
        shown = tuple(f for f in dict.fromkeys(found) if only is None or f.kind == only)
        each = sorted(scores.row_scores(examples, live).items(), key=lambda item: item[1])
        return CheckReport(
            findings=shown,
            counts=counts(shown),
            examples=len(examples),
            quality=None if whole is None else whole.score,
            clean=None if whole is None else whole.clean,
            low=0 if whole is None else whole.low,
            scores={id: score for id, score in each if score < 1},
            kinds=by_kind(shown, out),
            mix=balance.mix_of(tally, section),
            balance=spread,
            covered=covered,
        )


@contextmanager
def _rows(ws: Workspace, model: str, draft: Path) -> Iterator[Sequence[Example]]:
    """The rows that are looked at; many of a version lie in a file beside the draft meanwhile."""
    found, newest = filerows.rows_of(draft), versions.latest(ws, model)
    if found or newest is None:
        yield found
        return
    with drafts.beside(draft, starmap(lines.for_draft, versions.read_lines(ws, newest))) as copy:
        yield filerows.rows_of(copy)


def read_held(path: Path) -> list[Example]:
    """The rows of a suite (YAML) or of a file of rows, answers not needed. Raises DataError."""
    if path.suffix.casefold() in (".yaml", ".yml"):
        from tunekeeper.scoring.suites import load_suite

        suite = load_suite(path)
        return [make_example(_talk(case), source=f"file:{path.name}", id=case.id) for case in suite.cases]
    rows = [row for row in read_rows(path) if row.conversation is not None]
    if not rows:
        raise DataError(f"{path.name}: no row can be read", fix="give a suite, or rows with `messages`")
    return [make_example(row.conversation, source=f"file:{row.file}:{row.line}") for row in rows if row.conversation is not None]


def _live(examples: Sequence[Example], found: Iterable[Finding], out: Set[Finding]) -> list[Finding]:
    """Findings about rows of the draft and about the whole; what was dropped or redacted is no longer wrong with them."""
    ids = {e.id for e in examples}
    return [
        f
        for f in found
        if f not in out and (f.id in ids or f.file is None) and not (f.kind == "pii" and f.detail.startswith("redacted"))
    ]


def _talk(case: Case) -> Conversation:
    """A case as a row without an answer; its topic is its category, else that of the answer it expects."""
    expected = parsed(case.expected) if isinstance(case.expected, str) else case.expected
    named = expected if isinstance(expected, dict) else {}
    topic = case.category or next((named[key] for key in TOPIC_KEYS if isinstance(named.get(key), str)), "")
    return Conversation(messages=case.messages, metadata={"category": topic} if topic else {})


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


_TERM = "write lines such as `Old Name: New Name`, a term that holds a colon in quotes"


def read_glossary(path: Path) -> dict[str, str]:
    """Old term → new term from a YAML or JSON mapping, or from a CSV file with old and new in its first two columns.

    A first CSV line `old,new` is a header. Raises DataError naming file and line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", fix="check the path") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8", fix="save it as UTF-8") from None
    terms = _glossary_table(path, text) if path.suffix.casefold() in (".csv", ".tsv") else _glossary_mapping(path, text)
    if not terms:
        raise DataError(f"{path.name}: a glossary without a term", fix=_TERM)
    return terms


def _glossary_mapping(path: Path, text: str) -> dict[str, str]:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark, what = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        where = path.name if mark is None else f"{path.name}:{mark.line + 1}"
        raise DataError(f"{where}: not YAML: {' '.join(str(what).split())}", fix=_TERM) from None
    value = {} if value is None else value
    if not isinstance(value, dict) or not all(isinstance(item, str) for pair in value.items() for item in pair):
        raise DataError(f"{path.name}: a glossary maps old terms to new ones", fix=_TERM)
    return value


def _glossary_table(path: Path, text: str) -> dict[str, str]:
    import csv

    renames: dict[str, str] = {}
    delimiter = "\t" if path.suffix.casefold() == ".tsv" else ","
    for line, cells in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), 1):
        if cells and len(cells) < 2:
            fix = f"write lines such as Old Name{delimiter}New Name" if delimiter == "," else "part the two by a tab"
            raise DataError(f"{path.name}:{line}: two columns are needed, old and new", fix=fix)
        if cells and not (line == 1 and cells[0].strip().casefold() in ("old", "from", "term")):
            renames[cells[0].strip()] = cells[1].strip()
    return renames
