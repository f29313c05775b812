"""`tunekeeper train`: run, preview, ls, show, cancel, compare, reproduce; plan and bases come from files of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame, interrupts, trainbases, trainplan
from tunekeeper.cli.trainplan import From, Recipe, dataset_of, parent_of
from tunekeeper.core.errors import INTERRUPTED, UserError

if TYPE_CHECKING:
    from tunekeeper.core.nouns.training import TrainingRun
    from tunekeeper.training.previewing import Preview
    from tunekeeper.workspace import Workspace

app = frame.group("Stage 2: learn an adapter, or the whole model.")

OptionalModel = Annotated[str | None, typer.Option("--model", help="Name of the model, as in models/NAME.yaml.")]
Dataset = Annotated[str | None, typer.Option("--dataset", help="Dataset version, e.g. support-desk/d1, or latest.")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", help="Checkpoint folder, without a project.")]


@app.command("run")
def run(
    model: OptionalModel = None,
    dataset: Dataset = None,
    recipe: Recipe = None,
    start: From = None,
    checkpoint: Checkpoint = None,
    data: Annotated[Path | None, typer.Option("--data", help="Chat JSONL, with --checkpoint.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write, with --checkpoint.")] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Train an adapter, or the whole model, and make it a version; or, with --checkpoint, a plain folder.

    Example: tunekeeper train run --model support-desk --dataset latest
    """
    if checkpoint is not None:
        if model is not None or dataset is not None or start is not None:
            raise UserError("--checkpoint trains without a project", fix="leave out --model, --dataset and --from")
        return _run_folder(checkpoint, data, recipe, out, dry_run=dry_run, json=json)
    if data is not None or out is not None:
        raise UserError("--data and --out go with --checkpoint", fix="leave them out, or name a --checkpoint FOLDER")
    if model is None or dataset is None:
        raise UserError(
            "train run needs --model and --dataset, or --checkpoint, --data and --out",
            fix="tunekeeper train run --model M --dataset latest",
        )
    if dry_run:
        return trainplan.plan(model=model, dataset=dataset, recipe=recipe, start=start, dir=dir, json=json)
    from tunekeeper import jobs, training
    from tunekeeper.training.recipe import read_changes
    from tunekeeper.training.standing import Watch
    from tunekeeper.training.verbs import version_of, wait

    ws, config = frame.project(dir)
    found = config.model(model)
    section = found.sections["training"]
    changes = read_changes(recipe) if recipe else None
    chosen = dataset_of(ws, model, dataset)
    parent = parent_of(ws, model, start)
    begun = training.train(ws, found.task, section, chosen, parent=parent, recipe=changes)
    for line in begun.warnings:
        typer.echo(f"note: {line}", err=True)
    try:
        shown = frame.progress(f"training {model}", Watch().sentence)
        ended = wait(ws, begun, shown, rate_usd_per_hour=section.rate_usd_per_hour)
    except KeyboardInterrupt:
        way = f"`tunekeeper train cancel {begun.id}` ends it and keeps its best epoch"
        typer.echo(f"{begun.id} goes on by itself; {way}", err=True)
        raise
    if ended.state == "cancelled":
        return frame.emit(_shape(ended), json, _cancelled(ended), code=INTERRUPTED)
    if ended.state != "done" and ended.job is not None:
        jobs.reraise(jobs.look(ws, ended.job))
    quality = _quality(ws, ended.dataset)
    made = version_of(ws, ended)
    value = _shape(ended) | {"checkpoint": made.checkpoint if made else None, "data_quality": quality}
    following = [f"next: tunekeeper eval run --model {model} --version {made.name}"] if made else []
    return frame.emit(value, json, lambda: [*_lines(ended, quality), *following])


@app.command("preview")
def preview(
    checkpoint: Checkpoint = None,
    messages: Annotated[Path | None, typer.Option("--messages", help="JSON with the messages of one conversation.")] = None,
    model: OptionalModel = None,
    dataset: Dataset = None,
    row: Annotated[int, typer.Option("--row", help="Which row of the dataset, from 1.")] = 1,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """The rendered text, and with --model which tokens of a row of its newest dataset, or of --dataset, are learned.

    Example: tunekeeper train preview --checkpoint base --messages messages.json
    """
    from tunekeeper.training import previewing

    if checkpoint is not None and messages is not None:
        given, generate = previewing.read_messages(messages)
        shown = previewing.preview(checkpoint, given, generate=generate)
        return frame.emit(_preview_shape(shown), json, [shown.rendered])
    if model is None:
        raise UserError(
            "train preview needs --model, or --checkpoint and --messages", fix="tunekeeper train preview --model M --row 1"
        )
    from tunekeeper.training.orders import base_folder, rows_file
    from tunekeeper.training.rows import read_rows

    ws, config = frame.project(dir)
    rows = read_rows(rows_file(ws, dataset_of(ws, model, dataset or "latest"), "train"))
    if not 1 <= row <= len(rows):
        raise UserError(f"--row {row}: the dataset has rows 1 to {len(rows)}", fix="name one of them, or leave --row out")
    found = config.model(model)
    section = found.sections["training"]
    folder = base_folder(ws, found.task)
    shown = previewing.preview(folder, rows[row - 1], objective=section.objective, most=section.max_tokens)
    return frame.emit(_preview_shape(shown), json, lambda: _token_lines(shown, section.objective))


@app.command("ls")
def ls(model: OptionalModel = None, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Training runs, newest first.

    Example: tunekeeper train ls --model support-desk
    """
    from tunekeeper.store.ledgers.runs import find_runs

    ws = frame.workspace(dir)
    with ws.state.read() as tx:
        found = find_runs(tx, model=model, newest_first=True)
    if not found:
        frame.refuse_unknown(model, dir)
    known = {name: _quality(ws, name) for name in {r.dataset for r in found}}
    scores = {name: quality["score"] if quality else None for name, quality in known.items()}
    header = ("run", "state", "dataset", "data quality", "rows", "loss", "seconds", "version")
    rows = [
        (r.id, r.state, r.dataset, _short(scores[r.dataset]), r.rows, _short(r.final_loss), _short(r.seconds), r.version)
        for r in found
    ]
    runs = [_fields(r) | {"data_quality": scores[r.dataset]} for r in found]
    return frame.emit({"runs": runs}, json, lambda: frame.table(rows, header))


@app.command("show")
def show(id: Annotated[str, typer.Argument(help="Run id.")], dir: frame.Dir = None, json: frame.Json = False) -> int:
    """One training run with its recipe, curve, cost and digests; of one that goes on how far it is.

    Example: tunekeeper train show run_01KE4GSR…
    """
    from tunekeeper.training.standing import of

    ws = frame.workspace(dir)
    found = _run(ws, id)
    quality, standing = _quality(ws, found.dataset), of(ws, found)
    shown = _fields(found) | {"data_quality": quality, "standing": standing}
    return frame.emit(shown, json, lambda: _lines(found, quality, standing))


@app.command("cancel")
def cancel(id: Annotated[str, typer.Argument(help="Run id.")], dir: frame.Dir = None, json: frame.Json = False) -> int:
    """End a run now; the best of the epochs that it has finished becomes a version.

    Example: tunekeeper train cancel run_01KE4GSR…
    """
    from tunekeeper.training.verbs import cancel

    ws, config = frame.project(dir)
    found = _run(ws, id)
    if found.state != "running":
        raise UserError(f"{id} has ended already: {found.state}", fix=f"tunekeeper train show {id}")
    rate = config.model(found.model).sections["training"].rate_usd_per_hour
    ended = cancel(ws, found, rate_usd_per_hour=rate)
    return frame.emit(_shape(ended), json, _cancelled(ended))


def _cancelled(run: TrainingRun) -> list[str]:
    """How a run ended that was cancelled, and what is left of it."""
    return [f"{run.id}: {run.ended}", *([f"kept as {run.version}"] if run.version else [])]


@app.command("compare")
def compare(
    a: Annotated[str, typer.Argument(help="Run id, or a version such as desk@v1.2.")],
    b: Annotated[str, typer.Argument(help="The run or version to compare it with.")],
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """What went into two runs differently, data included, and what came out.

    Example: tunekeeper train compare support-desk@v1.1 support-desk@v1.2
    """
    from tunekeeper.data.differences import diff
    from tunekeeper.data.difftext import as_text
    from tunekeeper.training.comparing import compare

    ws = frame.workspace(dir)
    first, second = _run(ws, a), _run(ws, b)
    data = diff(ws, first.dataset, second.dataset) if first.dataset != second.dataset else None
    alike = data is not None and not any(count for kind, count in data.counts.items() if kind != "unchanged")
    found = compare(first, second, reordered=alike and first.dataset_digest != second.dataset_digest)
    lines = [f"{change.what}: {_told(change.a)} → {_told(change.b)}" for change in found.changes] or [
        "nothing differs that went in"
    ]
    lines += frame.table([(name, _short(x), _short(y)) for name, (x, y) in found.outcome.items()], ("outcome", a, b))
    lines += found.says
    return frame.emit({"comparison": found, "data": data}, json, lambda: [*lines, *(as_text(data) if data else [])])


@app.command("reproduce")
def reproduce(
    id: Annotated[str, typer.Argument(help="Run id, or the version it made.")], dir: frame.Dir = None, json: frame.Json = False
) -> int:
    """Train a run again from what is on record and say whether it comes out the same.

    Example: tunekeeper train reproduce support-desk@v1.1
    """
    from tunekeeper.training.reproducing import reproduce

    ws, config = frame.project(dir)
    run = _run(ws, id)
    found = config.model(run.model)
    done = reproduce(ws, found.task, found.sections["training"], run, frame.progress(f"training {run.id} again"))
    lines = [
        f"{done.verdict}: weights differ by at most {done.largest_difference:.3g}",
        f"final loss {done.loss[0]:.4f} then, {done.loss[1]:.4f} now",
    ]
    lines += [f"{name}: {_told(then)} then, {_told(now)} now" for name, (then, now) in done.machine.items()]
    return frame.emit(done, json, lines, code=1 if done.verdict == "different" else 0)


def _run(ws: Workspace, name: str) -> TrainingRun:
    """A run by its id, or by the version it made. Raises NotFound."""
    from tunekeeper.core.errors import NotFound
    from tunekeeper.store.ledgers.runs import load_run
    from tunekeeper.training.versions import find_version

    with ws.state.read() as tx:
        if name.startswith("run_"):
            return load_run(tx, name)
        version = find_version(tx, name.rpartition("@")[0] or None, name)
        if version.run is None:
            raise NotFound(f"{version.id} was not trained here", fix="tunekeeper train ls")
        return load_run(tx, version.run)


def _told(value: object) -> str:
    """A value for people: digests short, nothing as a dash."""
    text = "–" if value is None else str(value)
    return text[:19] + "…" if text.startswith("sha256:") else text


def _run_folder(checkpoint: Path, data: Path | None, recipe: Path | None, out: Path | None, *, dry_run: bool, json: bool) -> int:
    from tunekeeper import training
    from tunekeeper.training.recipe import read_changes

    if data is None or out is None:
        raise UserError("train run --checkpoint needs --data and --out as well")
    from tunekeeper.training.base import read_base
    from tunekeeper.training.config import Config
    from tunekeeper.training.recipe import idle, resolve
    from tunekeeper.training.tradeoffs import notes

    changes = read_changes(recipe) if recipe else None
    base, chosen = read_base(checkpoint), resolve(Config(), changes)
    for line in (*notes(checkpoint, chosen), *idle(chosen, held=False)):
        typer.echo(f"note: {line}", err=True)
    if dry_run:
        from tunekeeper.training.rows import read_rows
        from tunekeeper.training.standalone import written_as

        rows = read_rows(data)
        would = {"base_digest": base.digest, "recipe": chosen.as_json(), "rows": len(rows)} | written_as(chosen, out)
        return frame.emit(would, json, [f"would train {len(rows)} rows and write {out}"])
    interrupts.sigterm_too()
    done = training.train_folder(checkpoint, data, out, recipe=changes, on_progress=frame.progress("training"))
    if done["left_out"]:
        typer.echo(f"note: {done['left_out']} of {data} are longer than max_tokens and were not learned", err=True)
    for line in done["notes"]:
        typer.echo(f"note: {line}", err=True)
    return frame.emit(done, json, [f"{out}: trained in {done['seconds']:.1f} s, loss {done['loss']:.4f}"])


def _shape(run: TrainingRun) -> dict[str, Any]:
    """`train run --json`, as the contract for outside checkers has it, with the curve beside."""
    return {
        "run": run.id,
        "version": run.version,
        "state": run.state,
        "seconds": run.seconds,
        "whole_seconds": run.whole_seconds,
        "cpu_seconds": run.cpu_seconds,
        "tokens_per_second": run.tokens_per_second,
        "cost_usd": run.cost_usd,
        "energy_wh": run.machine.get("energy_wh"),
        "memory": run.memory,
        "estimated_seconds": run.estimated_seconds,
        "loss": run.final_loss,
        "loss_curve": run.loss,
        "eval_loss": run.eval_loss,
        "task": run.task,
        "epoch": run.epoch,
        "kept": run.kept,
        "adapter": run.adapter,
        "warnings": run.warnings,
    }


def _fields(run: TrainingRun) -> dict[str, Any]:
    return {each.name: getattr(run, each.name) for each in dataclasses.fields(run)}


def _quality(ws: Workspace, dataset: str) -> dict[str, Any] | None:
    """How good the data of a run was when it was frozen: the ceiling on what it can learn; None where nobody looked."""
    from tunekeeper.core.errors import NotFound
    from tunekeeper.data.versions import resolve

    try:
        return resolve(ws, dataset).report.get("quality")
    except (NotFound, UserError):
        return None


def _lines(run: TrainingRun, quality: dict[str, Any] | None, standing: dict[str, Any] | None = None) -> Iterator[str]:
    from tunekeeper.data.scores import sentence
    from tunekeeper.training.pace import beside_estimate
    from tunekeeper.training.verbs import describe

    goes_on = standing["said"] if standing else "not ended"
    if run.state == "cancelled":
        yield from _cancelled(run)
    else:
        yield describe(run) if run.state == "done" else f"{run.id} {run.state}: {run.ended or goes_on}"
    yield f"run {run.id} · recipe {run.recipe_digest[:19]} · base {run.base_digest[:19]} · dataset {run.dataset_digest[:19]}"
    if run.tokenizer_digest and run.template_digest:
        yield f"tokenizer {run.tokenizer_digest[:19]} · chat template {run.template_digest[:19]}"
    if quality:
        yield f"data quality {sentence(quality)}"
    if run.loss:
        if run.kept:
            yield run.kept
        yield "loss " + " ".join(f"{value:.3f}" for value in run.loss[:: max(1, len(run.loss) // 12)])
    estimated = beside_estimate(run)
    if estimated:
        yield estimated
    yield from (f"note: {line}" for line in run.warnings)


def _preview_shape(shown: Preview) -> dict[str, Any]:
    return {
        "rendered": shown.rendered,
        "tokens": shown.tokens,
        "learned": shown.learned,
        "total": len(shown.tokens),
        "conversations": shown.conversations,
    }


def _token_lines(shown: Preview, objective: str) -> Iterator[str | frame.Painted]:
    yield f"{shown.learned} of {len(shown.tokens)} tokens are learned (marked *)"
    if objective == "dpo":
        yield "a preference: the conversation with the chosen answer, then with the rejected one"
    elif shown.conversations > 1:
        yield f"the template changes answers once they are history: learned as {shown.conversations} conversations, one an answer"
    for token in shown.tokens:
        weight = f"  counts {token.weight:g}" if token.weight not in (0, 1) else ""
        line = f"{token.id:>7} {repr(token.text) if token.text else '…'}{weight}"
        yield frame.Painted(f"* {line}") if token.learned else f"  {line}"


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


app.registered_commands.extend(trainplan.app.registered_commands)
app.registered_commands.extend(trainbases.app.registered_commands)
