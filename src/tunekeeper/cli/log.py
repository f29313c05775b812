"""`tunekeeper log`: ls, verify, import, count, reveal, erase."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame, logimport
from tunekeeper.core.errors import UserError

if TYPE_CHECKING:
    from tunekeeper.data.leftovers import Leftover
    from tunekeeper.store.madebackups import Holding
    from tunekeeper.workspace import Workspace

app = frame.group("The inference log: list, verify, import, count, reveal, erase.")

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
    from tunekeeper.monitoring.flags import Flags

    del json  # the answer is JSON either way, and every command takes the option
    ws = frame.workspace(dir, data)
    if model is not None and next(iter(ws.log.each(model=model)), None) is None:  # of no time at all, whatever was asked
        frame.refuse_unknown(model, dir, data)
    flags = Flags(ws)
    start, end = frame.window(since, until, ws.clock)
    for inference in ws.log.each(model=model, since=start, until=end):
        sys.stdout.write(frame.to_json(flags.on(inference)) + "\n")
    sys.stdout.flush()
    return 0


@app.command()
def verify(dir: frame.Dir = None, data: frame.Data = None, json: frame.Json = False) -> int:
    """Read the whole log and count records, duplicates, open requests and damage; exit code 1 when it is not sound.

    Example: tunekeeper log verify
    """
    damaged: list[Path] = []
    report: dict[str, Any] = frame.workspace(dir, data).log.verify(damaged)
    sound = not report["duplicates"] and not report["corrupt"]
    verdict = "sound" if sound else "NOT SOUND"
    lines = [f"{verdict}: {', '.join(f'{count} {name}' for name, count in report.items())}"]
    lines += [f"damaged: {path}: put it back from a backup, or move it away to go on without its rows" for path in damaged]
    return frame.emit(report | ({"damaged": damaged} if damaged else {}), json, lines, code=0 if sound else 1)


@app.command()
def count(
    model: frame.Model,
    tokenizer: Annotated[Path, typer.Option("--tokenizer", help="Folder with the tokenizer.json of the model that answered.")],
    version: Annotated[str | None, typer.Option("--version", help="Only what this version answered.")] = None,
    since: Since = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Fill in token counts that no model server gave, as of streams that were cut; `up` does it for versions of its own.

    Example: tunekeeper log count --model desk --tokenizer models/base --data .tunekeeper
    """
    from tunekeeper.monitoring.tokens import count_by_hand

    ws = frame.workspace(dir, data)
    done = count_by_hand(ws, model, tokenizer, since=frame.moment(since, ws.clock), version=version, dry_run=dry_run)
    answer = {"without_counts": done.looked, "counted": done.written, "dry_run": dry_run}
    verb = "would count" if dry_run else "counted"
    return frame.emit(answer, json, f"{verb} {done.written} of {done.looked} answered requests without token counts")


@app.command()
def reveal(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="Id of the request: req_…")],
    key: Annotated[Path, typer.Option("--key", help="File with the secret key.")],
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Show a request, its answer and what was said of it as they were before redaction; nothing of it is written.

    Example: tunekeeper log reveal req_01KE9Z0S3XJ5N4Q8R7T6V5W4Y3a1b2 --key ~/tunekeeper.seal
    """
    from tunekeeper.cli.datareveal import secret_in
    from tunekeeper.core.errors import NotFound
    from tunekeeper.data.redacting import revealed_feedback, revealed_inference

    log, secret = frame.workspace(dir, data).log, secret_in(key)
    clear, said = log.load(request), log.feedback(request_ids=[request])
    feedback = [revealed_feedback(each, secret) for each in said]
    try:
        clear = revealed_inference(clear, secret)
    except NotFound:
        if feedback == said:
            raise  # nothing at all was sealed
    parts = {"request": clear.request, "response": clear.response, "segments": clear.segments, "metadata": clear.metadata}
    lines = [f"{name}: {frame.to_json(part)}" for name, part in parts.items() if part]
    lines += [f"{each.kind} by {each.by or 'somebody'}: {frame.to_json(each.value)}" for each in feedback]
    return frame.emit({"request_id": request, **parts, "feedback": feedback}, json, lines)


@app.command()
def erase(
    user: Annotated[str, typer.Option("--user", help="The user as the requests name them.")],
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Erase every request of a user and every copy of it: log, datasets, drafts, reviews, incidents, exams, transcripts.

    What it may not change it names: files of the project folder with rows of theirs, and backups made before.

    Example: tunekeeper log erase --user u-4711
    """
    if not user:
        raise UserError("--user is empty", fix="name the user as the requests do")
    ws = frame.workspace(dir, data)
    copies, files = _erase_copies(ws, user, dry_run=dry_run)
    erased = ws.log.erase(user, dry_run=dry_run)
    for database in () if dry_run else (ws.control, ws.state):
        database.forget()
    backups = _backups(ws, user, erased["requests"] + sum(copies.values()), dry_run=dry_run)
    report = {**erased, "copies": copies, "files": files, "backups": backups, "dry_run": dry_run}
    verb = "would erase" if dry_run else "erased"
    found = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in copies.items() if count)
    lines = [f"{verb} {erased['requests']} requests", *([f"and of their copies: {found}"] if found else [])]
    lines += [f"yours to edit: {each.path}, {each.why or f'{each.rows} rows'}" for each in files]
    lines += [f"yours to delete: backup {each.file} of {each.at:%Y-%m-%d %H:%M}{_moved(each)}" for each in backups]
    return frame.emit(report, json, lines)


def _moved(backup: Holding) -> str:
    return "" if backup.found else ", which is no longer there: wherever it went"


def _backups(ws: Workspace, user: str, found: int, *, dry_run: bool) -> list[Holding]:
    """Backups that may hold the user: those made until the newest erasure that found something, this one included."""
    from tunekeeper.store import erasures, madebackups

    now = ws.clock.utc()
    if dry_run and found:
        return madebackups.made_until(ws.root, now)
    if not dry_run:
        erasures.ended(ws.root, user, now, found)
    return madebackups.made_until(ws.root, erasures.held_until(ws.root, user))


def _erase_copies(ws: Workspace, user: str, *, dry_run: bool) -> tuple[dict[str, int], list[Leftover]]:
    """Copies go before the log, which alone knows whose they are: whatever was killed is found again by the same command. Returns
    what went, and the files of the project that are not ours to change."""
    if not (ws.root / "state.db").exists():
        return {}, []  # a gateway alone keeps nothing but its log
    from tunekeeper.data.erase import erase_data
    from tunekeeper.data.leftovers import leftovers
    from tunekeeper.evaluation.erase import erase_exams, erased_cases
    from tunekeeper.rollout.erase import erase_cases
    from tunekeeper.training.erase import erase_transcripts

    requests = ws.log.requests_of(user)
    rows = erase_data(ws, requests, user, dry_run=dry_run)
    requests = set(rows.requests)
    names = rows.names | erase_cases(ws, requests, dry_run=True).names
    exams = erase_exams(ws, requests, names, dry_run=dry_run)
    transcripts = erase_transcripts(ws, requests, rows.rows, dry_run=dry_run)
    cases = erase_cases(ws, requests, dry_run=dry_run).cases
    counts = {**rows.counts, "incident_cases": cases, **exams, "transcripts": transcripts}
    known = {*requests, *names, *(id for ids in rows.rows.values() for id in ids), *erased_cases(ws)}
    return counts, [] if ws.project is None else leftovers(ws.project, known, user, apart=ws.root)


app.registered_commands.extend(logimport.app.registered_commands)
