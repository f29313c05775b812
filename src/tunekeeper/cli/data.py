"""Commands of stage 1: `tunekeeper data …`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import datachecks, datacollect, dataimport, dataplan, dataqueue, datareveal, datareview, dataversions, frame
from tunekeeper.cli.visible import line

if TYPE_CHECKING:
    from tunekeeper.core.nouns.data import DatasetVersion

app = frame.group("Import, check, freeze and compare training data.")

OptionalModel = Annotated[str | None, typer.Option("--model", help="Model, where VERSION does not name it.")]
Out = Annotated[Path, typer.Option("--out", help="Where to write.")]


app.registered_commands.extend(dataimport.app.registered_commands)


@app.command("freeze")
def freeze(
    model: frame.Model,
    note: Annotated[str, typer.Option("--note", help="Why.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Also when every row is synthetic.")] = False,
    by: dataversions.By = "data",
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Freeze the draft of a model as its next dataset version.

    Example: tunekeeper data freeze --model support-desk
    """
    if dry_run:
        return _would_freeze(model, force, dir, json)
    from tunekeeper.data import looking

    # A large draft is looked at by a process of its own, while this one imports what else it takes.
    with looking.ahead(frame.find_project(dir) / frame.DATA_FOLDER, model) as looker:
        from tunekeeper import data

        ws, project = frame.project(dir)
        config = project.model(model)
        suite = project.folder / config.sections["evaluation"].suite
        options: dict[str, Any] = {"note": note, "force": force, "by": by, "suite": suite if suite.is_file() else None}
        version = data.freeze(ws, config.task, config.sections["data"], **options, looker=looker)
    lines = [f"{version.id} {version.digest}: {version.train} rows to learn from, {version.eval} held out"]
    lines += [f"warning: {warning}" for warning in version.report.get("warnings", ())]
    return frame.emit(_version(version), json, [*lines, f"next: tunekeeper train run --model {model} --dataset {version.id}"])


def _would_freeze(model: str, force: bool, dir: Path | None, json: bool) -> int:
    from tunekeeper.core.errors import DataError
    from tunekeeper.data import balance, sides, tallies, versions
    from tunekeeper.data.examples import read_file

    ws, project = frame.project(dir)
    section = project.model(model).sections["data"]  # a model that is not there is none without a draft
    draft = versions.ls(ws, model)
    if not draft.examples:
        raise DataError(f"{model} has no draft", fix=f"tunekeeper data import FILE --model {model}")
    if not force:
        balance.refuse_made_up(model, tallies.of_examples(read_file(versions.draft_path(ws, model))))
    sides.refuse_one_sided(ws, model, {"train": draft.train, "eval": draft.eval}, section.eval_share)
    same = draft.parent is not None and not draft.changed
    said = f"would find {draft.parent} again" if same else f"would freeze {draft.train} rows to learn from, {draft.eval} held out"
    return frame.emit({"dry_run": True, "same_as": draft.parent if same else None, "examples": draft.examples}, json, said)


def _version(version: DatasetVersion) -> dict[str, Any]:
    keys = ("digest", "examples", "train", "eval", "parent", "created", "note", "report")
    return {"version": version.id, **{key: getattr(version, key) for key in keys}}


def _import_numpy() -> None:
    """Import numpy without the threads that it begins for matrices: a difference has none, and beginning them takes a fifth of
    that import."""
    name = "OPENBLAS_NUM_THREADS"
    if "numpy" in sys.modules or name in os.environ:
        return
    os.environ[name] = "1"
    importlib.import_module("numpy")
    del os.environ[name]


@app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(help="Version, e.g. support-desk/d1.")],
    b: Annotated[str, typer.Argument(help="Version to compare it with, or `draft`.")],
    html: Annotated[Path | None, typer.Option("--html", help="Also write it to this file, as one page.")] = None,
    model: OptionalModel = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say what changed between two dataset versions, or from one to the draft.

    Example: tunekeeper data diff support-desk/d1 support-desk/d2
    """
    from tunekeeper.store.garbage import uncollected

    with uncollected():  # neither what is imported nor rows are rings
        _import_numpy()
        from tunekeeper.data.differences import diff
        from tunekeeper.data.difftext import as_text

        ws = frame.workspace(dir)
        if html is None:
            found = diff(ws, a, b, model=model)
        else:
            from tunekeeper.data.diffpage import write_page

            found = write_page(ws, a, b, html, model=model)
        return frame.emit(found, json, lambda: [*map(line, as_text(found)), *([f"page: {html}"] if html is not None else [])])


@app.command("export")
def export(
    version: Annotated[str, typer.Argument(help="Version, or `latest` or `draft` with --model.")],
    out: Annotated[
        str, typer.Option("--out", metavar="PATH", help="Where to write; with a slash at its end a folder, a file per side.")
    ],
    format: Annotated[
        str, typer.Option("--format", help="openai, sharegpt, alpaca, dpo, trl, csv, csv-excel, parquet or hf.")
    ] = "openai",
    split: Annotated[str, typer.Option("--split", help="train, eval or all.")] = "all",
    model: OptionalModel = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Write a dataset version in a shape that other tools read.

    Example: tunekeeper data export latest --model support-desk --format sharegpt --split train --out train.jsonl
    """
    from tunekeeper.core.errors import UserError
    from tunekeeper.data import exports, versions

    ws = frame.workspace(dir)
    if out in ("", "-"):
        why = "standard output holds the answer, no rows" if out else "--out is empty"
        raise UserError(why, fix="name a file: --out rows.jsonl")
    name = version if version.rpartition("/")[2] == "draft" else versions.resolve(ws, version, model).id
    rows = exports.export(ws, name, format, split, Path(out), model=model, folder=out.endswith("/"))
    answer = {"version": name, "format": format, "split": split, "rows": rows, "path": out}
    return frame.emit(answer, json, f"wrote {rows} rows to {out}")


@app.command("log")
def log(model: frame.Model, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """List the dataset versions of a model, newest first.

    Example: tunekeeper data log --model support-desk
    """
    from tunekeeper.data import tags, versions
    from tunekeeper.data.erase import erased_examples
    from tunekeeper.data.scores import word

    ws = frame.workspace(dir)
    found = [(v, erased_examples(ws, v), tags.tags_of(ws, v)) for v in versions.log(ws, model)]
    if not found:
        frame.project(dir)[1].model(model)  # a model that is not there is none without versions
    rows = [
        (
            v.id,
            f"{v.created:%Y-%m-%d %H:%M}" if v.created else None,
            v.train,
            v.eval,
            erased or None,
            word(v.report.get("quality")),
            v.digest[7:19],
            " ".join(named) or None,
            v.note,
        )
        for v, erased, named in found
    ]
    names = ("version", "created", "train", "eval", "erased", "quality", "digest", "tags", "note")
    text = frame.table(rows, names) if rows else ["no version yet"]
    return frame.emit({"versions": [{**_version(v), "erased": erased, "tags": named} for v, erased, named in found]}, json, text)


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


app.registered_commands.extend(datachecks.app.registered_commands)
app.registered_commands.extend(dataversions.app.registered_commands)
app.registered_commands.extend(datareview.app.registered_commands)
app.add_typer(dataqueue.app, name="queue")
app.registered_commands.extend(datacollect.app.registered_commands)
app.registered_commands.extend(dataplan.app.registered_commands)
app.registered_commands.extend(datareveal.app.registered_commands)
