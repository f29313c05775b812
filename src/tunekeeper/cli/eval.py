"""`tunekeeper eval`: init, run, show, ls, compare, cases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import evalanswers, evalcoverage, evalhistory, frame
from tunekeeper.cli.versions import artifact_of

if TYPE_CHECKING:
    from tunekeeper.evaluation.compare import Comparison
    from tunekeeper.workspace import Workspace

app = frame.group("Stage 3: exams, gates and regression cases.")
CODES = {"pass": 0, "fail": 1, "inconclusive": 3}

Suite = Annotated[Path | None, typer.Option("--suite", help="Suite file (default: the model's).")]


@app.command("init")
def init(
    model: frame.Model, suite: Suite = None, dry_run: frame.DryRun = False, dir: frame.Dir = None, json: frame.Json = False
) -> int:
    """Write a first suite from the newest dataset's held-out rows.

    Example: tunekeeper eval init --model support-desk
    """
    from tunekeeper.evaluation import casefile

    ws, config = frame.project(dir)
    found = config.model(model)
    path = _suite_path(ws, suite, found.sections["evaluation"].suite)
    if dry_run:
        return frame.emit({"suite": str(path), "cases": None}, json, [f"would write {path} and its cases"])
    section = found.sections["evaluation"]
    cases = casefile.init_suite(ws, found.task, section, path)
    lines = [f"wrote {path} with {cases} cases; edit its criteria before the first exam"]
    if cases < section.min_cases:
        lines.append(f"a verdict needs {section.min_cases} cases: add some of your own, or set evaluation.min_cases")
    if path.resolve() != _suite_path(ws, None, section.suite).resolve():
        own = os.path.relpath(path.resolve(), (ws.project or Path.cwd()).resolve())
        lines.append(f"gates ask {section.suite}; to ask this one, in models/{model}.yaml: evaluation: {{suite: {own}}}")
    return frame.emit({"suite": str(path), "cases": cases, "min_cases": section.min_cases}, json, lines)


@app.command("run")
def run(
    model: frame.Model,
    version: Annotated[str, typer.Option("--version", help="Version, by name or id; @champion for what is live.")],
    suite: Suite = None,
    relock: Annotated[
        str | None, typer.Option("--relock", help="Why the criteria may change for a version already judged.")
    ] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Examine a version's served artifact, made first where there is none, and judge it by the suite's locked criteria.

    Example: tunekeeper eval run --model support-desk --version @champion --suite suites/core.yaml
    """
    from tunekeeper import evaluation

    ws, config = frame.project(dir)
    found = config.model(model)
    section = found.sections["evaluation"]
    path = _suite_path(ws, suite, section.suite)
    named = _servable(ws, dir, model, version)
    result = evaluation.run_exam(
        ws, found.task, section, named, path, relock=relock, on_progress=frame.progress(f"exam of {version}")
    )
    lines = [*_verdict_lines(result), f"wrong answers: tunekeeper eval show {result['exam']}"]
    if result["verdict"] == "pass" and not _is_live(ws, model, result["version"]):
        lines.append(f"next: tunekeeper deploy start {model} {result['version'].removeprefix(f'{model}@')}")
    return frame.emit(result, json, lines, code=CODES[result["verdict"]])


@app.command("show")
def show(
    exam: Annotated[str, typer.Argument(help="Exam id, from `eval ls`.")],
    all: Annotated[bool, typer.Option("--all", help="Every answer, not only what counts as wrong.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Answers at most.")] = 20,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """The verdict of an exam, with the exit code of its gate, and the answers that were wrong: what was asked, said and wanted.

    Example: tunekeeper eval show exam_01KE6P4YM0TC925B58TB6FRQKH
    """
    from tunekeeper import evaluation

    ws = frame.workspace(dir)
    found = evaluation.exam.find_exam(ws, exam)
    result = evaluation.exam.report(found)
    answers = [each for each in evaluation.exam.answers_of(ws, found) if all or each.wrong]
    lines = (*_verdict_lines(result), *evalanswers.lines(answers, limit))
    return frame.emit({**result, "answers": answers[:limit]}, json, lines, code=CODES[result["verdict"]])


@app.command("ls")
def ls(
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Exams, newest first.

    Example: tunekeeper eval ls --model support-desk
    """
    from tunekeeper.store.ledgers.exams import find_exams

    ws = frame.workspace(dir)
    with ws.state.read() as tx:
        exams = find_exams(tx, model=model, newest_first=True)
    if not exams:
        frame.refuse_unknown(model, dir)
    rows = [(e.id, e.version, e.suite, e.state, e.verdict.outcome if e.verdict else None, e.cases) for e in exams]
    return frame.emit(
        {"exams": exams}, json, lambda: frame.table(rows, ("exam", "version", "suite", "state", "verdict", "cases"))
    )


@app.command("compare")
def compare(
    new: Annotated[str, typer.Argument(help="Exam id.")],
    old: Annotated[str, typer.Argument(help="Exam id to compare with.")],
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Which cases were fixed and which were broken between two exams.

    Example: tunekeeper eval compare NEW_EXAM OLD_EXAM
    """
    from tunekeeper import evaluation

    result = evaluation.exam.compare_exams(frame.workspace(dir), new, old)
    return frame.emit(result, json, lambda: _flip_lines(result))


cases = frame.group("Regression cases that incidents left.")
app.add_typer(cases, name="cases")


@cases.command("export")
def export(
    model: frame.Model,
    out: Annotated[Path, typer.Option("--out", help="JSONL to add them to.")],
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Add the cases of the model's incidents to a file of yours.

    Example: tunekeeper eval cases export --model support-desk --out suites/core.jsonl
    """
    from tunekeeper.evaluation import assemble, casefile

    ws = frame.workspace(dir)
    if dry_run:
        known = len(assemble.born_cases(ws, model))
        return frame.emit(
            {"cases": known, "out": str(out)}, json, [f"{known} incident cases; those that {out} lacks would be added"]
        )
    added = casefile.export_cases(ws, model, out)
    return frame.emit({"added": added, "out": str(out)}, json, [f"added {added} cases to {out}"])


def _servable(ws: Workspace, dir: Path | None, model: str, name: str) -> str:
    """The version's id, once something can serve it; `@champion` and `@previous` stay as they are. Raises NotFound."""
    from tunekeeper.store.ledgers.artifacts import find_artifacts
    from tunekeeper.store.ledgers.slots import find_slots
    from tunekeeper.training.versions import find_version

    if name.rpartition("@")[2] in ("champion", "previous"):
        return name
    with ws.state.read() as tx:
        version = find_version(tx, model, name)
        made = any(artifact.version == version.id for artifact in find_artifacts(tx, model=model))
    with ws.control.read() as tx:
        loaded = any(slot.version == version.name for slot in find_slots(tx, model=model))
    if not made and not loaded:
        artifact_of(ws, dir, version, None)
    return version.id


def _is_live(ws: Workspace, model: str, version: str) -> bool:
    from tunekeeper.training.versions import champion

    live = champion(ws, model)
    return live is not None and version in (live.id, live.name)


def _suite_path(ws: Workspace, given: Path | None, configured: str) -> Path:
    project = ws.project or Path.cwd()
    if given is None:
        return project / configured
    return given if given.is_absolute() or given.exists() else project / given


def _verdict_lines(result: dict[str, Any]) -> Iterator[str]:
    against = f", compared with {result['compared_with']}" if result["compared_with"] else ""
    yield f"{result['verdict'].upper()}: {result['version']} on {result['cases']} cases of {result['suite']}{against}"
    yield from (f"  {reason}" for reason in result["reasons"])
    rows = [
        (name, *(None if m[key] is None else f"{m[key]:.4f}" for key in ("value", "low", "high")), m["n"])
        for name, m in result["metrics"].items()
    ]
    yield from frame.table(rows, ("metric", "value", "low", "high", "n"))


def _flip_lines(found: Comparison) -> Iterator[str]:
    value = (
        "nothing in common"
        if found.difference.value is None
        else f"accuracy {found.difference.value:+.1%} (n={found.difference.n})"
    )
    if found.changed:
        yield f"not compared, as they ask or expect something else: {', '.join(found.changed)}"
    yield f"{value}: {len(found.fixed)} fixed, {len(found.broken)} broken, p {found.p:.3f}"
    rows = [
        (word, f.case, f.category, f.reason) for word, flips in (("broken", found.broken), ("fixed", found.fixed)) for f in flips
    ]
    yield from frame.table(rows, ("", "case", "category", "why the wrong one is wrong"))


app.registered_commands.extend(evalcoverage.app.registered_commands)
app.registered_commands.extend(evalhistory.app.registered_commands)
