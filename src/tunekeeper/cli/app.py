"""The table of commands, and `main`: run one of them and say how it went.

Each entry: name → (where it is, one line of help). Nothing of it is imported before it is called, so `--help` takes a tenth of a
second.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from tunekeeper.cli import faults, frame, groups, interrupts
from tunekeeper.cli.visible import line
from tunekeeper.core.errors import INTERRUPTED, TunekeeperError, UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("tunekeeper.cli.demo:demo", "The whole loop on a sample project, offline, in minutes."),
    "init": ("tunekeeper.cli.init:init", "Make a project from nothing."),
    "up": ("tunekeeper.cli.up:up", "Run gateway, worker and model servers until Ctrl-C."),
    "down": ("tunekeeper.cli.up:down", "Stop what a killed `up` left running."),
    "status": ("tunekeeper.cli.status:status", "What is live, what is due, what is wrong."),
    "show": ("tunekeeper.cli.show:show", "A request, version, run or dataset with its whole provenance."),
    "history": ("tunekeeper.cli.status:history", "What was live when."),
    "rollback": ("tunekeeper.cli.route:rollback", "Go back to the previous version, now."),
    "data": ("tunekeeper.cli.data:app", "Stage 1: import, check, freeze and compare training data."),
    "train": ("tunekeeper.cli.train:app", "Stage 2: learn an adapter, or the whole model."),
    "export": ("tunekeeper.cli.export:app", "Stage 4: GGUF, quantization, parity, inspection."),
    "model": ("tunekeeper.cli.model:app", "Versions: list, show, import."),
    "eval": ("tunekeeper.cli.eval:app", "Stage 3: exams, gates and regression cases."),
    "deploy": ("tunekeeper.cli.deploy:app", "Stage 4: start, checklist, rollouts, drill."),
    "route": ("tunekeeper.cli.route:app", "Who answers how much of the traffic."),
    "serve": ("tunekeeper.cli.serve:serve", "Run the gateway alone from a file."),
    "monitor": ("tunekeeper.cli.monitor:app", "Stage 5: windows, baselines, alerts, versions side by side."),
    "incident": ("tunekeeper.cli.incident:app", "Rollbacks and what they taught."),
    "retrain": ("tunekeeper.cli.retrain:app", "Stage 6: why, run, approve, look at a cycle."),
    "log": ("tunekeeper.cli.log:app", "The inference log: list, verify, import, count, erase."),
    "key": ("tunekeeper.cli.key:app", "Keys for the gateway."),
    "backup": ("tunekeeper.cli.backup:backup", "Copy a data directory into one file, while it runs."),
    "restore": ("tunekeeper.cli.backup:restore", "Make a data directory out of a backup."),
    "store": ("tunekeeper.cli.store:app", "Databases and blobs: upgrade, verify."),
    "config": ("tunekeeper.cli.config:app", "The checked configuration and where each value came from."),
}


class Root(groups.LazyGroup):
    """The top of the command tree."""

    table = COMMANDS


app = typer.Typer(
    cls=Root,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Keep fine-tuned models accurate, current and reliable. First minute: tunekeeper demo",
)


@app.callback()
def _root() -> None:
    """Keep fine-tuned models accurate, current and reliable.

    Example: tunekeeper demo
    """
    interrupts.as_exception()  # the command has been imported and begins
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def command() -> Any:
    """The command tree, for `main` and for the reference generator."""
    return typer.main.get_group(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code; never raises, except SystemExit from the
    parser.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of ASCII alone shows the rest as what it is called
    words = list(sys.argv[1:] if arguments is None else arguments)
    token = frame.fresh_output()
    try:
        if words == ["--version"]:
            return _version()
        _refuse_other_codes(words)
        answer = command().main(words, prog_name="tunekeeper", standalone_mode=False)
        if answer == INTERRUPTED:  # Typer has turned Ctrl-C into an exit code
            print("interrupted", file=sys.stderr)
        return answer if isinstance(answer, int) else 0
    except BrokenPipeError:
        return _quiet_pipe()
    except BaseException as error:  # noqa: BLE001  # the one place where everything ends
        return _fail(error, words)
    finally:
        frame.reset_output(token)


def _refuse_other_codes(words: list[str]) -> None:
    """Raise UserError for an argument that is not UTF-8, unless it names what is there: nothing of ours is called so."""
    for word in words:
        if any("\ud800" <= c <= "\udfff" for c in word) and not os.path.lexists(word):
            raise UserError(f"argument {word!r} is not UTF-8", fix="write it in UTF-8")


def _version() -> int:
    from tunekeeper import __version__

    print(f"tunekeeper {__version__}")
    return 0


def _fail(error: BaseException, words: list[str]) -> int:
    if isinstance(error, SystemExit):
        if isinstance(error.__context__, BrokenPipeError):  # Typer has turned it into 1, which says that a gate failed
            return _quiet_pipe()
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 2
    if faults.is_interrupt(error):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if type(error).__name__ == "NoArgsIsHelpError":  # Typer's own way to print help for a bare group
        print(error, file=sys.stderr)
        return 2
    known: TunekeeperError = faults.known(error) or faults.report(error, _work_folder(words))
    print(f"error: {line(str(known))}", file=sys.stderr)
    if "--json" in words and not frame.was_emitted():
        print(frame.to_json(faults.document(known)), flush=True)
    return known.exit_code


def _work_folder(words: list[str]) -> Path | None:
    dir = words[words.index("--dir") + 1] if "--dir" in words[:-1] else None
    try:
        return frame.find_project(Path(dir) if dir else None) / frame.DATA_FOLDER / "work"
    except (TunekeeperError, OSError, RuntimeError, ValueError):  # the folder may be what is wrong
        return None


def _quiet_pipe() -> int:
    """The reader went away (`… | head`): nothing more to say, and Python must not complain at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    return 0
