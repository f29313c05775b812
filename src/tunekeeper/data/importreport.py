"""What an import says: counts in memory, every dropped or flagged row on disk as it comes up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data import drafts, tables
from tunekeeper.data.batches import ALONE
from tunekeeper.data.columns import BOTH, ONE_COLUMN
from tunekeeper.data.findings import Finding, as_row, place_of
from tunekeeper.data.formats import RawRow
from tunekeeper.data.spreadsheets import sheets_of
from tunekeeper.data.threads import NOBODY
from tunekeeper.workspace import Workspace

SHOWN = 3
"""Broken rows, and dropped ones of each reason, that the report names itself; its file names them all."""
FORMULA = re.compile(r"[=@]|[+-]\S*[(|!]")
"""How a cell begins that a spreadsheet would evaluate; a list item or a negative number is none."""
_MARKUP = re.compile(
    r"</?(?:p|div|span|br|b|i|u|em|strong|a|ul|ol|li|table|tr|td|h[1-6]|font|img)(?:\s[^<>]*)?/?>", re.IGNORECASE
)
"""Tags that help desks write; a lone `<name>` of a placeholder is none."""
_CELLS = re.compile(r": (\d+) cells, the header has (\d+) columns")
_PIECE = 1 << 20

MOST_FOREIGN = 0.02
"""Share of the rows of a file that may be in another encoding than the file: damage, and each is left out."""
_FOREIGN = "not UTF-8"


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
    """Reason → rows left out; `already_there` counts rows that an earlier import brought, `left_before` those that were pruned or
    overtaken since."""
    formulas: int
    """Questions and answers of flat rows that begin as a spreadsheet's formula does; kept as plain text, never evaluated."""
    markup: int
    """Questions and answers of flat rows that hold tags of HTML, which are learned as they stand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What an import did, or with `dry_run` would do."""

    rows: int
    """Rows read."""
    added: int
    """Rows that are new in the draft."""
    dropped: dict[str, int]
    """Reason → rows left out; `already_there` counts rows that an earlier import brought, `left_before` those that were pruned or
    overtaken since."""
    replaced: int
    """Rows of the draft that a newer answer took the place of, or that tell something else than their conversation anew."""
    flagged: dict[str, int]
    """Reason → rows that stay, with something to look at."""
    redacted: dict[str, int]
    """Kind of personal data → pieces replaced by placeholders."""
    examples: int
    """Rows in the draft afterwards."""
    brought: dict[Split, int]
    """Side → rows that say which split they are of, or whose file does: new ones; where splits are kept, all of the import."""
    kept: dict[Split, int] | None
    """How many of these stand there, where splits are kept; else None."""
    broken: tuple[str, ...]
    """The first rows that cannot be read, each as `file:line: why`."""
    files: tuple[FileReport, ...]
    """Each file, in the order they were read."""
    left_out: tuple[str, ...]
    """The first dropped rows of each reason, each as `file:line: reason: detail`."""
    unread: tuple[str, ...]
    """Further sheets of the workbooks, each as the `FILE#SHEET` that imports it."""
    report: str | None
    """Path of the JSONL file with every dropped or flagged row; None for a dry run."""


@dataclass(slots=True)
class Tally:
    """What one file held so far."""

    rows: int = 0
    """Rows read."""
    present: int = 0
    """Rows that an earlier import brought."""
    formats: Counter[str] = field(default_factory=Counter)
    """Shape → rows."""
    columns: dict[str, str] = field(default_factory=dict)
    """Field → column."""
    formulas: int = 0
    """Texts that begin as a formula does."""
    markup: int = 0
    """Texts with tags of HTML."""
    foreign: int = 0
    """Rows that are no UTF-8."""

    def take(self, raw: RawRow) -> None:
        """Count one row."""
        self.rows += 1
        talk = raw.conversation
        if talk is None:
            self.foreign += raw.broken.startswith(_FOREIGN)
            return
        self.formats[talk.shape] += 1
        if talk.columns:
            self.columns = {**talk.columns, **self.columns}
            texts = [str(message["content"]) for message in talk.messages]
            self.formulas += sum(FORMULA.match(text) is not None for text in texts)
            self.markup += sum(_MARKUP.search(text) is not None for text in texts)


@dataclass(slots=True)
class Notes:
    """Dropped and flagged rows as they come up."""

    file: BinaryIO
    """Where each one lies, a line of JSON."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason → rows."""
    flagged: Counter[str] = field(default_factory=Counter)
    """Reason → rows."""
    by_file: dict[str, Counter[str]] = field(default_factory=dict)
    """File → reason → rows dropped."""
    left_out: list[str] = field(default_factory=list)
    """The first of each reason."""
    broken: list[str] = field(default_factory=list)
    """The first rows that cannot be read."""
    kept: dict[tuple[Any, ...], tuple[int, int]] = field(default_factory=dict)
    """What stays on record beyond this import: which finding about which row → where its line lies, and its length."""
    end: int = 0
    """Bytes written."""

    def drop(self, found: Finding, row: Any) -> None:
        """A row that is left out, with what it held."""
        self.dropped[found.kind] += 1
        if found.file is not None:
            self.by_file.setdefault(found.file, Counter())[found.kind] += 1
        where = f"{found.file}:{found.line}" if found.file else str(found.id)
        if found.kind == "broken" and len(self.broken) < SHOWN:
            self.broken.append(f"{where}: {found.detail}")
        if self.dropped[found.kind] <= SHOWN:
            self.left_out.append(f"{where}: {found.kind}: {found.detail}")
        self._write(as_row(found, action="dropped", row=row), keep=True)

    def pass_over(self, example: Example) -> None:
        """A row that left the draft before, for a reason that is on record."""
        file, line = place_of(example.source)
        self.dropped["left_before"] += 1
        self.by_file.setdefault(str(file), Counter())["left_before"] += 1
        if self.dropped["left_before"] <= SHOWN:
            self.left_out.append(f"{file}:{line}: it left the draft before: `data readmit {example.id}` brings it back")

    def flag(self, found: Finding) -> None:
        """A row that stays, with something to look at."""
        self.flagged[found.kind] += 1
        self._write(as_row(found, action="flagged"), keep=found.kind == "pii")

    def _write(self, row: Mapping[str, Any], *, keep: bool) -> None:
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=str)
        self.file.write(line)
        if keep:
            self.kept[drafts.identity(row)] = (self.end, len(line))
        self.end += len(line)

    def of_file(self, name: str, tally: Tally, added: int) -> FileReport:
        """What is said about one file."""
        dropped = Counter(self.by_file.get(name, {})) + Counter(already_there=tally.present)
        return FileReport(
            file=name,
            rows=tally.rows,
            formats=dict(tally.formats.most_common()),
            columns=tally.columns,
            added=added,
            dropped=dict(dropped.most_common()),
            formulas=tally.formulas,
            markup=tally.markup,
        )

    def save(self, ws: Workspace, model: str, *, replace: bool) -> Path:
        """Write the report of this import, and what stays on record to that of earlier ones (`replace`: in their stead).

        The caller holds the draft's lock. Raises DiskFull.
        """
        report = drafts.folder(ws, model) / "reports" / f"{ws.new_id('import')}.jsonl"
        self.file.flush()
        drafts.write_whole(report, self._pieces())
        findings = drafts.folder(ws, model) / "findings.jsonl"
        drafts.write_whole(findings, self._joined(findings, iter(()) if replace else _lines(findings)))
        return report

    def _pieces(self) -> Iterator[bytes]:
        self.file.seek(0)
        while piece := self.file.read(_PIECE):
            yield piece

    def _joined(self, path: Path, earlier: Iterable[bytes]) -> Iterator[bytes]:
        """The lines of earlier imports (of `path`), a newer one of the same finding in its place, and the new ones."""
        written = set()
        for number, line in enumerate(earlier, 1):
            same = drafts.identity(drafts.mapping_of(path, number, line)) if self.kept else ()
            if same in self.kept:
                written.add(same)
            yield self._line(*self.kept[same]) if same in self.kept else line
        for same, place in self.kept.items():
            if same not in written:
                yield self._line(*place)

    def _line(self, start: int, length: int) -> bytes:
        self.file.seek(start)
        return self.file.read(length)


def unread_sheets(paths: Sequence[Path], read: Set[str]) -> tuple[str, ...]:
    """The visible sheets of the workbooks among `paths` that are not among the ones that were `read`."""
    books = [path for path in paths if path.suffix.casefold() in (".xlsx", ".xlsm") and path.is_file()]
    found = ((path, title) for path in books for title in sheets_of(path, path.name))
    return tuple(f"{path}#{title}" for path, title in found if not any(name.endswith(f"{path.name}#{title}") for name in read))


def refuse_unfit(mapping: Mapping[str, str], tallies: Mapping[str, Tally]) -> None:
    """Raise UserError for a mapping that was given for this import and fits none of its rows."""
    shapes = {shape for tally in tallies.values() for shape in tally.formats}
    if mapping and shapes and not any(tally.columns for tally in tallies.values()):
        told, read_as = ", ".join(map("=".join, mapping.items())), ", ".join(sorted(shapes))
        why = f"--map {told}: no row has such columns; the rows are {read_as}, which needs no mapping"
        raise UserError(why, fix="leave --map out, or name columns that the rows have")


def refuse_all_broken(rows: int, notes: Notes, paths: Sequence[Path], tallies: Mapping[str, Tally]) -> None:
    """Raise DataError where none of the `rows` rows of the files could be read, or there is none; and for a file in another
    encoding, of which the rows without foreign letters alone would come in."""
    if rows == 0:
        names = ", ".join(path.name for path in paths)
        raise DataError(f"{names}: no rows", fix="give a file with rows below its header, or a row a line")
    if notes.dropped["broken"] == rows:
        why = notes.broken[0]
        raise DataError(f"{why}; none of the {rows} rows can be read", fix=_way_out(why, paths))
    for name, tally in tallies.items():
        path = next((path for path in paths if path.name == name.rpartition("/")[2] and path.is_file()), None)
        if path is not None and tally.foreign > max(1, tally.rows * MOST_FOREIGN) and tables.is_foreign(path):
            why = f"{name}: {tally.foreign} of {tally.rows} rows are {_FOREIGN}, and no letter in the file is"
            raise DataError(why, fix=_way_out(why, [path]))


def _way_out(why: str, paths: Sequence[Path]) -> str | None:
    """What mends files of which no row can be read, `why` not; None where the reason says it."""
    path = next((path for path in paths if path.is_file()), None)
    if _FOREIGN in why and path is not None:
        return tables.conversion(path, path.name)
    if NOBODY in why:
        return "--assistant NAME, once for each who answers"
    if (told := why.rpartition(": ")[2]).startswith("--map "):
        return told
    if "an integer of" in why:
        return 'write numbers of so many digits as texts, in quotes: "id": "123…"'
    if "a row must be an object" in why or "one message, and nothing" in why:
        return BOTH
    if "no column for" in why:
        return BOTH if ONE_COLUMN in why else "--map user=COLUMN --map assistant=COLUMN"
    if ": no column '" in why:
        return "name one of those columns with --map"
    if ALONE in why:
        name = "ANSWERS.jsonl" if path is None else path.name
        return f"name the file of the requests too: tunekeeper data import REQUESTS.jsonl {name} --model NAME"
    if ": not JSON at" in why and path is not None and path.suffix == ".txt":
        return "name a table .csv or .tsv; write other rows as one JSON object a line"
    if ": not JSON at" in why:
        return "write one JSON object a line, its texts in double quotes, as json.dumps(row) of Python does"
    if ": not CSV: " in why:
        return 'write a quote inside a quoted cell twice (""), never as \\"'
    cells = _CELLS.search(why)
    if cells is None:
        return None
    has, named = cells[1], cells[2]
    if int(has) < int(named):
        return f"let the first line name the {has} columns that the rows have, or end each row with empty cells up to {named}"
    return 'put cells that hold the separator or a quote in quotes ("a, b"), as a spreadsheet does that saves the table as .csv'


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            yield from file
