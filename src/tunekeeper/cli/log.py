"""`tunekeeper log`: ls, verify, import, erase."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.core.errors import UserError

app = frame.group("The inference log: list, verify, import, erase.")

Since = Annotated[str | None, typer.Option("--since", help="From: 24h, 7d before now, or 2026-01-05T09:30.")]
Until = Annotated[str | None, typer.Option("--until", help="Before: as --since.")]
OptionalModel = Annotated[str | None, typer.Option("--model", help="Name of the model.")]


@app.command("ls")
def list_(
    since: Since = None,
    until: Until = None,
    model: OptionalModel = None,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Print the inferences as JSON lines, oldest first; --json changes nothing.

    Example: tunekeeper log ls --since 24h --model support-desk
    """
    del json  # the answer is JSON either way, and every command takes the option
    ws = frame.workspace(dir, data)
    for inference in ws.log.each(model=model, since=frame.moment(since, ws.clock), until=frame.moment(until, ws.clock)):
        sys.stdout.write(frame.to_json(inference) + "\n")
    sys.stdout.flush()
    return 0


@app.command()
def verify(dir: frame.Dir = None, data: frame.Data = None, json: frame.Json = False) -> int:
    """Read the whole log and count records, duplicates, open requests and damage; exit code 1 when it is not sound.

    Example: tunekeeper log verify
    """
    report = frame.workspace(dir, data).log.verify()
    sound = not report["duplicates"] and not report["corrupt"]
    verdict = "sound" if sound else "NOT SOUND"
    counts = ", ".join(f"{count} {name}" for name, count in report.items())
    return frame.emit(report, json, f"{verdict}: {counts}", code=0 if sound else 1)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL of inferences, at least request_id, timestamp and model_id.")],
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Add records of models that were served elsewhere; a record that the log knows is skipped.

    Example: tunekeeper log import old-inferences.jsonl
    """
    from tunekeeper.store.log.imports import read_file

    ws = frame.workspace(dir, data, create=data is not None and not dry_run)
    rows = sum(1 for _ in read_file(file))  # all of it is read before anything is written: a broken line imports nothing
    if dry_run:
        return frame.emit({"rows": rows, "added": 0, "skipped": 0, "dry_run": True}, json, f"{file}: {rows} inferences")
    added, skipped = ws.log.append_import(read_file(file))
    answer: dict[str, Any] = {"rows": rows, "added": added, "skipped": skipped, "dry_run": False}
    return frame.emit(answer, json, f"added {added} of {rows} inferences, {skipped} were known")


@app.command()
def erase(
    user: Annotated[str, typer.Option("--user", help="The user as the requests name them.")],
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Erase every request of a user, its answer and the feedback on it, from spool and Parquet.

    Example: tunekeeper log erase --user u-4711
    """
    if not user:
        raise UserError("--user is empty", fix="name the user as the requests do")
    report = frame.workspace(dir, data).log.erase(user, dry_run=dry_run)
    verb = "would erase" if dry_run else "erased"
    return frame.emit({**report, "dry_run": dry_run}, json, f"{verb} {report['requests']} requests")
