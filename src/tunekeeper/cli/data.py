"""Commands of stage 1: `tunekeeper data …`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.config.project import ModelConfig
    from tunekeeper.core.nouns.data import DatasetVersion

app = frame.group("Import, check, freeze and compare training data.")

OptionalModel = Annotated[str | None, typer.Option("--model", help="Model, where VERSION does not name it.")]
Out = Annotated[Path, typer.Option("--out", help="Where to write.")]


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="JSONL, JSON, CSV or TSV files.")],
    model: frame.Model,
    map: Annotated[list[str] | None, typer.Option("--map", help="role=column, e.g. user=ticket; several columns: a,b.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="The files become the whole draft.")] = False,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Import rows into the draft of a model.

    Example: tunekeeper data import tickets.csv --model support-desk --map user=ticket --map assistant=answer
    """
    from tunekeeper import data
    from tunekeeper.core.errors import UserError

    for pair in map or ():
        if not all(pair.partition("=")):
            raise UserError(f"--map {pair}: not ROLE=COLUMN", fix="--map user=ticket")
    ws, project = frame.project(dir)
    config = project.model(model)
    mapping = {role.strip(): column.strip() for role, _, column in (pair.partition("=") for pair in map or ())}
    done = data.import_files(ws, config.task, config.sections["data"], files, mapping=mapping, replace=replace, dry_run=dry_run)
    verb = "would add" if dry_run else "added"
    lines = [f"{verb} {done.added} of {done.rows} rows; the draft of {model} holds {done.examples}"]
    for label, counted in (("dropped", done.dropped), ("flagged", done.flagged), ("redacted", done.redacted)):
        lines += [f"{label}: {', '.join(f'{n} {kind}' for kind, n in counted.items())}"] if counted else []
    lines += [f"  {where}" for where in done.broken]
    lines += [f"each row with its reason: {done.report}"] if done.report else []
    return frame.emit(done, json, [*lines, f"next: tunekeeper data freeze --model {model}"])


@app.command("check")
def check(
    model: frame.Model,
    against: Annotated[Path | None, typer.Option("--against", help="Suite or evaluation file: leaks and coverage.")] = None,
    glossary: Annotated[Path | None, typer.Option("--glossary", help="YAML, JSON or CSV: old term, new term.")] = None,
    context: Annotated[int | None, typer.Option("--context", min=1, help="Tokens that fit.")] = None,
    only: Annotated[str | None, typer.Option("--only", help="Report this kind alone.")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say everything that is wrong with the draft of a model.

    Example: tunekeeper data check --model support-desk --against suites/core.yaml
    """
    from tunekeeper.data import checks

    ws, project = frame.project(dir)
    config = project.model(model)
    found = checks.check(
        ws,
        config.task,
        config.sections["data"],
        against=against,
        glossary=checks.read_glossary(glossary) if glossary is not None else None,
        context=context,
        only=only,
        count=_counter(project.folder, config),
    )
    lines = [f"{found.examples} rows: " + (", ".join(f"{n} {kind}" for kind, n in found.counts.items()) or "nothing is wrong")]
    rows = [(f.kind, f.id, f"{f.file}:{f.line}" if f.file else None, f.of, f.topic, f.detail) for f in found.findings]
    return frame.emit(
        found, json, [*lines, *(frame.table(rows, ("kind", "id", "where", "of", "topic", "detail")) if rows else [])]
    )


def _counter(folder: Path, config: ModelConfig) -> Callable[[str], int] | None:
    """A token counter with the base's own tokenizer; None where the base has none here (lengths are then estimated)."""
    from tunekeeper.text.tokenizers import read_tokenizer

    base = folder / config.task.base
    if not config.task.base or not (base / "tokenizer.json").is_file():
        return None
    tokenizer = read_tokenizer(base)
    return lambda text: len(tokenizer.encode(text))


@app.command("freeze")
def freeze(
    model: frame.Model,
    note: Annotated[str, typer.Option("--note", help="Why.")] = "",
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Freeze the draft of a model as its next dataset version.

    Example: tunekeeper data freeze --model support-desk
    """
    from tunekeeper import data

    ws, project = frame.project(dir)
    config = project.model(model)
    if dry_run:
        from tunekeeper.data import versions

        draft = versions.ls(ws, model)
        same = draft.parent is not None and not draft.changed
        line = (
            f"would find {draft.parent} again"
            if same
            else f"would freeze {draft.train} rows to learn from, {draft.eval} held out"
        )
        return frame.emit({"dry_run": True, "same_as": draft.parent if same else None, "examples": draft.examples}, json, line)
    version = data.freeze(ws, config.task, config.sections["data"], note=note)
    lines = [f"{version.id} {version.digest}: {version.train} rows to learn from, {version.eval} held out"]
    lines += [f"warning: {warning}" for warning in version.report.get("warnings", ())]
    return frame.emit(_version(version), json, [*lines, f"next: tunekeeper train run --model {model} --dataset {version.id}"])


def _version(version: DatasetVersion) -> dict[str, Any]:
    keys = ("digest", "examples", "train", "eval", "parent", "created", "note", "report")
    return {"version": version.id, **{key: getattr(version, key) for key in keys}}


@app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(help="Version, e.g. support-desk/d1.")],
    b: Annotated[str, typer.Argument(help="Version to compare it with.")],
    model: OptionalModel = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say what changed between two dataset versions.

    Example: tunekeeper data diff support-desk/d1 support-desk/d2
    """
    from tunekeeper.data.differences import as_text, diff

    found = diff(frame.workspace(dir), a, b, model=model)
    return frame.emit(found, json, lambda: as_text(found))


@app.command("export")
def export(
    version: Annotated[str, typer.Argument(help="Version, or `latest` or `draft` with --model.")],
    out: Out,
    format: Annotated[str, typer.Option("--format", help="openai, sharegpt, alpaca, dpo, parquet or hf.")] = "openai",
    split: Annotated[str, typer.Option("--split", help="train, eval or all.")] = "all",
    model: OptionalModel = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Write a dataset version in a shape that other tools read.

    Example: tunekeeper data export latest --model support-desk --format sharegpt --split train --out train.jsonl
    """
    from tunekeeper.data import exports

    rows = exports.export(frame.workspace(dir), version, format, split, out, model=model)
    answer = {"version": version, "format": format, "split": split, "rows": rows, "path": str(out)}
    return frame.emit(answer, json, f"wrote {rows} rows to {out}")


@app.command("log")
def log(model: frame.Model, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """List the dataset versions of a model, newest first.

    Example: tunekeeper data log --model support-desk
    """
    from tunekeeper.data import versions
    from tunekeeper.data.erase import erased_examples

    ws = frame.workspace(dir)
    found = [(v, erased_examples(ws, v)) for v in versions.log(ws, model)]
    rows = [
        (v.id, f"{v.created:%Y-%m-%d %H:%M}" if v.created else None, v.train, v.eval, erased or None, v.digest[7:19], v.note)
        for v, erased in found
    ]
    names = ("version", "created", "train", "eval", "erased", "digest", "note")
    text = frame.table(rows, names) if rows else ["no version yet"]
    return frame.emit({"versions": [{**_version(v), "erased": erased} for v, erased in found]}, json, text)


@app.command("ls")
def ls(model: frame.Model, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Say what the draft of a model holds.

    Example: tunekeeper data ls --model support-desk
    """
    from tunekeeper.data import versions

    found = versions.ls(frame.workspace(dir), model)
    state = "changed since" if found.changed and found.parent else "the same as" if found.parent else "never frozen"
    lines = [f"{found.examples} rows ({found.train} to learn from, {found.eval} held out), {state} {found.parent or ''}".rstrip()]
    rows = [(topic, n) for topic, n in found.topics.items()]
    return frame.emit(found, json, [*lines, *(frame.table(rows, ("topic", "rows")) if rows else [])])


@app.command("checkout")
def checkout(
    version: Annotated[str, typer.Argument(help="Version, or `latest` with --model.")],
    out: Out,
    model: OptionalModel = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Write the frozen files of a dataset version to a folder.

    Example: tunekeeper data checkout support-desk/d1 --out d1/
    """
    from tunekeeper.data import versions
    from tunekeeper.data.erase import erased_examples

    ws = frame.workspace(dir)
    found, paths = versions.checkout(ws, version, out, model=model)
    erased = erased_examples(ws, found)
    answer = {"version": found.id, "digest": found.digest, "paths": [str(path) for path in paths], "erased": erased}
    note = f" ({erased} of its {found.examples} examples were erased)" if erased else ""
    return frame.emit(answer, json, f"{found.id}: {', '.join(str(path) for path in paths)}{note}")
