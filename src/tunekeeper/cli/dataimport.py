"""`tunekeeper data import`: files into the draft, with the columns confirmed on a terminal and the progress shown."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.visible import line, visible

if TYPE_CHECKING:
    from tunekeeper.data.importreport import FileReport

app = frame.group("Import files into the draft of a model.")
MANY_CONTRADICT = 0.1
"""Share of the rows from which it is told how rows that contradict each other are kept."""
EVERY = 5.0
"""Seconds between two lines of progress where stderr is no terminal."""


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="JSONL, JSON, CSV, TSV, XLSX (FILE.xlsx#SHEET), Parquet; also .gz, .zst, .bz2, .xz, .zip; a folder; - for stdin."
        ),
    ],
    model: frame.Model,
    map: Annotated[list[str] | None, typer.Option("--map", help="field=COLUMN, e.g. user=ticket; several columns: a,b.")] = None,
    assistant: Annotated[
        list[str] | None, typer.Option("--assistant", help="Who answers, where people speak by name (Slack, Discord, …).")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="The files become the whole draft.")] = False,
    keep_splits: Annotated[
        bool, typer.Option("--keep-splits", help="Rows stand on the side that their `split` or their file's name tells.")
    ] = False,
    yes: frame.Yes = False,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Import rows into the draft of a model; on a terminal the guessed columns are shown and confirmed first.

    Example: tunekeeper data import tickets.csv --model support-desk --map user=ticket --map assistant=answer
    """
    from tunekeeper import data
    from tunekeeper.core.errors import UserError
    from tunekeeper.data.brought import line as splits_line

    for pair in map or ():
        if not all(pair.partition("=")):
            raise UserError(f"--map {pair}: not ROLE=COLUMN", fix="--map user=ticket")
    ws, project = frame.project(dir)
    config = project.model(model)
    section = config.sections["data"]
    mapping = {role.strip(): column.strip() for role, _, column in (pair.partition("=") for pair in map or ())}
    told = {} if yes or json else _confirmed(files, {**section.columns, **mapping})
    options: dict[str, Any] = {
        "mapping": mapping,
        "by_file": told,
        "assistants": assistant or (),
        "replace": replace,
        "keep_splits": keep_splits,
        "dry_run": dry_run,
    }
    with _progress() as show:
        stdin = getattr(sys.stdin, "buffer", None)
        done = data.import_files(ws, config.task, section, files, stdin=stdin, progress=show, **options)
    verb = "would add" if dry_run else "added"
    lines = [f"{verb} {done.added} of {done.rows} rows; the draft of {model} holds {done.examples}"]
    lines += [said] if (said := splits_line(done.brought, done.kept)) else []
    for label, counted in (("dropped", done.dropped), ("flagged", done.flagged), ("redacted", done.redacted)):
        lines += [f"{label}: {', '.join(f'{n} {kind}' for kind, n in counted.items())}"] if counted else []
    lines += [f"{'would replace' if dry_run else 'replaced'}: {done.replaced} rows of the draft"] if done.replaced else []
    if done.dropped.get("left_before"):
        lines += [f"left_before are rows that left the draft: tunekeeper data readmit ROW --model {model} brings one back"]
    if done.dropped.get("contradiction", 0) >= MANY_CONTRADICT * done.rows:
        said = "are answered otherwise by other rows; where several answers are right"
        lines += [f"contradiction: questions that {said}, write `contradictions: flag` under `data` in models/{model}.yaml"]
    lines += [line(f"  {where}") for where in (done.left_out if dry_run else done.broken)]
    lines[1:1] = [line(each) for file in done.files for each in _file_lines(file)]
    lines += [f"not read: {sheet}" for sheet in done.unread]
    lines += [f"each row with its reason: {done.report}"] if done.report else []
    following = "the same without --dry-run" if dry_run else f"tunekeeper data freeze --model {model}"
    return frame.emit(done, json, [*lines, f"next: {following}"])


def _file_lines(file: FileReport) -> list[str]:
    """What an import says about one file: its shapes, the columns that were read, and what comes in."""
    from tunekeeper.data.columns import as_option

    shapes = ", ".join(f"{n} as {name}" for name, n in file.formats.items()) or "none readable"
    dropped = "".join(f", {n} {kind}" for kind, n in file.dropped.items())
    lines = [f"{file.file}: {file.rows} rows ({shapes}): {file.added} new{dropped}"]
    if file.columns:
        lines.append("  columns: " + " ".join(itertools.starmap(as_option, file.columns.items())))
    if file.formulas:
        lines.append(f"  begin as a spreadsheet formula, kept as plain text: {file.formulas}")
    if file.markup:
        lines.append(f"  hold tags of HTML, learned as they stand: {file.markup}")
    return lines


def _confirmed(files: list[Path], mapping: Mapping[str, str]) -> dict[Path, dict[str, str]]:
    """What the person at the terminal says the columns are; nothing where there is no terminal."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return {}
    from tunekeeper.data.asking import confirmed

    return confirmed(files, mapping, _ask, lambda said: print(visible(said), file=sys.stderr, flush=True))


def _ask(question: str) -> str:
    """The person's answer; the end of the input is a no."""
    print(visible(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline() or "n"


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """Shows a stage and how many rows it has done: a moving line on a terminal, else a plain one every few seconds."""
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda stage, rows: bar.update(task, description=stage, completed=rows)


def _plain() -> Callable[[str, int], None]:
    import time

    begun = last = None

    def show(stage: str, rows: int) -> None:
        nonlocal begun, last
        now = time.monotonic()
        begun, last = (now if begun is None else begun), (now if last is None else last)
        if now - last >= EVERY:
            last = now
            print(f"{stage}: {rows} rows after {now - begun:.0f} s", file=sys.stderr, flush=True)

    return show
