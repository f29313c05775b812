"""What every command shares: lazy groups, options, output, errors and exit codes. How to write a group:

    # cli/data.py
    app = frame.group("Prepare training data.")           # a Typer app with the settings that keep start-up fast

    @app.command("import")
    def import_(
        file: Annotated[Path, typer.Argument(help="CSV or JSONL.")],
        model: frame.Model,
        dir: frame.Dir = None,
        json: frame.Json = False,
    ) -> int:
        \"\"\"Import FILE into the draft.

        Example: tunekeeper data import tickets.csv --model support-desk
        \"\"\"
        from tunekeeper import data                        # rooms and heavy libraries are imported inside the command
        ws, config = frame.project(dir)                    # or frame.workspace(dir, data) where no YAML may be parsed
        report = data.import_file(ws, config.model(model).task, ...)
        return frame.emit(report, json, [f"imported {report.added} of {report.rows} rows"])

Rules. (1) A command returns an exit code, normally that of `emit` (0, or the `code` it was given: 1 a gate failed, 3
inconclusive).
(2) stdout carries the answer only; `say` writes to stderr. (3) Errors are raised as classes of `core.errors` and printed here as
one line `error: what, where (fix: command)`; with `--json` stdout then carries `{"error": {kind, message, fix, exit_code}}`,
unless the command had already emitted its document. (4) The first line of the docstring is the help in lists, its `Example:`
line shows in `--help`.
(5) The group stands in the table of `cli/app.py`. Top-level commands are groups of one: module attribute = a function given to
`command`.
"""

from __future__ import annotations

import json as jsonlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli.visible import in_json, line, visible
from tunekeeper.core.clock import Clock
from tunekeeper.core.errors import ConfigError, NotFound, UserError

if TYPE_CHECKING:
    from tunekeeper.config import ProjectConfig
    from tunekeeper.workspace import Workspace

Dir = Annotated[
    Path | None, typer.Option("--dir", help="Project folder (default: here or the nearest above with tunekeeper.yaml).")
]
Data = Annotated[Path | None, typer.Option("--data", help="Data directory of a gateway without a project.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Model = Annotated[str, typer.Option("--model", help="Name of the model, as in models/NAME.yaml.")]

AGE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([smhdw])")
"""A time as an age: `90m`."""
PROJECT_FILE = "tunekeeper.yaml"
DATA_FOLDER = ".tunekeeper"
_MOST_SPACED = 1 << 20
"""Bytes up to which a document of JSON has blanks for those who read it: a longer one is for programs."""
_emitted: ContextVar[bool] = ContextVar("emitted", default=False)
_named: ContextVar[Path | None] = ContextVar("named", default=None)
"""The project that the command was told with --dir."""


# ---- groups ----


def group(help: str) -> typer.Typer:
    """A Typer app for one command group: no Rich (a tenth of a second), no completion options, help when called bare."""
    return typer.Typer(
        help=help, rich_markup_mode=None, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
    )


# ---- the project ----


def find_project(dir: Path | None) -> Path:
    """The project folder: `dir` itself, else the current folder or the nearest above that holds tunekeeper.yaml. Raises
    NotFound.
    """
    start = Path.cwd() if dir is None else dir.resolve()
    candidates = [start] if dir is not None else [start, *start.parents]
    for folder in candidates:
        if (folder / PROJECT_FILE).is_file():
            return folder
    where = f"in {dir}" if dir is not None else "here or in a folder above"
    alone = f", or --data {shlex.quote(str(start / DATA_FOLDER))} for the gateway that runs without a project"
    ways = f"--dir PROJECT, or a new one: tunekeeper init DIR{alone if (start / DATA_FOLDER).is_dir() else ''}"
    raise NotFound(f"no {PROJECT_FILE} {where}", fix=ways)


def workspace(dir: Path | None, data: Path | None = None, *, create: bool = False) -> Workspace:
    """The data directory of a project, or `data` itself, opened without reading any YAML."""
    from tunekeeper.workspace import open_workspace

    _named.set(dir)
    if data is not None:
        return open_workspace(data.resolve(), create=create)
    folder = find_project(dir)
    root = folder / DATA_FOLDER
    return open_workspace(root, project=folder, create=create or not root.exists())


def project(dir: Path | None) -> tuple[Workspace, ProjectConfig]:
    """The opened data directory and the checked configuration. Raises ConfigError with file and line."""
    from tunekeeper.config import load_project

    return workspace(dir), load_project(find_project(dir))


def refuse_unknown(model: str | None, dir: Path | None, data: Path | None = None) -> None:
    """For a verb that found nothing of `model` on record: raise NotFound with the near name where the project has no such model.
    A gateway without a project, and a project whose files cannot be read, know no better."""
    if model is not None and data is None:
        with suppress(ConfigError):
            project(dir)[1].model(model)


def user() -> str:
    """Who runs this command, for the record; in a container whose user has no name, the number."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


# ---- output ----


Lines = Iterable["str | Painted"]


def emit(value: Any, json: bool, text: str | Lines | Callable[[], Lines] = (), *, code: int = 0) -> int:
    """Print the answer: `value` (nouns, dataclasses, mappings) as one JSON document, or `text`, verdict first. Returns `code`."""
    if json:
        _emitted.set(True)
        print(to_json(value), flush=True)
        return code
    lines = text() if callable(text) else [text] if isinstance(text, str) else text
    for each in lines:
        print(each.painted() if isinstance(each, Painted) else visible(_elsewhere(each)))
    sys.stdout.flush()
    return code


def _elsewhere(line: str) -> str:
    """A line; where it names the next command and this one was told its project, with that."""
    dir = _named.get()
    if dir is None or not line.startswith("next: tunekeeper ") or " --dir " in line:
        return line
    return f"{line} --dir {shlex.quote(str(dir))}"


@dataclass(frozen=True, slots=True)
class Painted:
    """A line that is green where a terminal shows it; plain elsewhere, and where `NO_COLOR` is set."""

    text: str
    """The line; what a terminal would obey in it is written out."""

    def painted(self) -> str:
        """The line as it is printed."""
        shown = visible(self.text)
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return f"\x1b[32m{shown}\x1b[0m" if coloured else shown


def to_json(value: Any) -> str:
    """One line of JSON: times in ISO 8601, absent as null, non-ASCII as it is where output is UTF-8, but for what a terminal
    would obey."""
    import msgspec

    if str(getattr(sys.stdout, "encoding", None) or "utf-8").lower() in ("utf-8", "utf8"):
        with suppress(UnicodeEncodeError, OverflowError):  # half a character, a number of more than 64 bits
            written = msgspec.json.encode(value, enc_hook=str)
            spaced = written if len(written) > _MOST_SPACED else msgspec.json.format(written, indent=0)
            return in_json(spaced.decode())
    return in_json(jsonlib.dumps(_finite(msgspec.to_builtins(value, str_keys=True, enc_hook=_as_told)), allow_nan=False))


def _as_told(value: Any) -> Any:
    """What is JSON already, e.g. the messages of a row, as what it says; anything else that JSON has not as text."""
    import msgspec

    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def fresh_output() -> Token[bool]:
    """Nothing emitted yet; give the token to `reset_output` at the end."""
    return _emitted.set(False)


def reset_output(token: Token[bool]) -> None:
    """Forget what this command emitted."""
    _emitted.reset(token)


def was_emitted() -> bool:
    """Whether this command has printed its JSON document."""
    return _emitted.get()


def say(line: str) -> None:
    """One line for the person who watches, on stderr; nothing when stderr is not a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> list[str]:
    """Aligned columns, a line a row; numbers to the right; absent as a dash."""
    cells = [list(header), *[["–" if cell is None else line(str(cell)) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    numeric = [all(isinstance(row[i], int | float) or row[i] is None for row in rows) and bool(rows) for i in range(len(header))]
    return [
        "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)).rstrip() for row in cells
    ]


def progress(label: str, more: Callable[[Any], str] = lambda job: "") -> Callable[[Any], None]:
    """A callback for `jobs.wait`: redraws one line on stderr with the job's progress; silent when stderr is not a terminal.
    `more`: what else is to be said of a job that runs."""

    def show(job: Any) -> None:
        if not sys.stderr.isatty():
            return
        share = "" if job.progress is None else f" {job.progress:4.0%} [{'█' * int(20 * job.progress):<20}]"
        told = job.detail or {}
        left = f" {told['eta_seconds']:,.0f} s left" if job.state == "running" and told.get("eta_seconds") is not None else ""
        also = more(job) if job.state == "running" else ""
        end = "\n" if job.state in ("done", "failed", "cancelled") else ""
        said = f"{label}: {job.state}{share}{left}{', ' + also if also else ''}"
        print(f"\r\x1b[K{line(said)}", end=end, file=sys.stderr, flush=True)

    return show


def window(since: str | None, until: str | None, clock: Clock) -> tuple[datetime | None, datetime | None]:
    """What `--since` and `--until` mean. A window that began and has no end ends now, or as much later as clocks differ: a record
    that a wrong clock or zone dated ahead is none of the last 24 hours. Raises UserError."""
    from tunekeeper.store.log.keeping import SKEW

    start, end, now = moment(since, clock), moment(until, clock), clock.utc()
    if start is not None and end is not None and end < start:
        raise UserError(f"--until {until} lies before --since {since}", fix=f"--since {until} --until {since}")
    return start, now + SKEW if end is None and start is not None and start <= now else end


def moment(text: str | None, clock: Clock) -> datetime | None:
    """A point in time from `2026-01-05`, `2026-01-05T09:30`, or an age: `15m`, `24h`, `7d` before now. Raises UserError."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    age = AGE.fullmatch(text)
    try:
        if age:
            return clock.utc() - timedelta(seconds=float(age[1]) * units[age[2]])
        found = datetime.fromisoformat(text)
        if 1 < found.year < 9999:  # where calendars end, a day before or after is none
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise UserError(f"{text!r} is not a time", fix="write 24h, 7d or 2026-01-05T09:30")
