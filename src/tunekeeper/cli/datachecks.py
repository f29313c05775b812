"""Commands about what is wrong with a draft, which `tunekeeper data` carries: check, ls, readmit."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.visible import line

if TYPE_CHECKING:
    from tunekeeper.config.project import ModelConfig
    from tunekeeper.data.checks import CheckReport
    from tunekeeper.data.config import Config
    from tunekeeper.data.findings import Finding
    from tunekeeper.data.lengths import Limits
    from tunekeeper.data.mending import Mended

app = frame.group("Check and mend the draft of a model.")
SHOWN = 50
"""Findings and dropped rows that a table shows; `--json` has them all."""

_OF_A_ROW = {
    *("empty", "bad_roles", "too_long", "refusal", "answer_equals_prompt", "mojibake", "template_leak"),
    *("language", "profanity", "format"),
}
"""Kinds of findings for which `--drop` takes rows out, besides cut answers, of which most are only suspected."""


@app.command("check")
def check(
    model: frame.Model,
    against: Annotated[Path | None, typer.Option("--against", help="Suite or evaluation file: leaks and coverage.")] = None,
    glossary: Annotated[Path | None, typer.Option("--glossary", help="YAML, JSON or CSV: old term, new term.")] = None,
    context: Annotated[int | None, typer.Option("--context", min=1, help="Tokens that fit; else what the base reads.")] = None,
    only: Annotated[str | None, typer.Option("--only", help="Report this kind alone.")] = None,
    rewrite: Annotated[bool, typer.Option("--rewrite", help="First write the glossary's new terms into the draft.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="First take out of the draft what the model file drops.")] = False,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say everything that is wrong with the draft of a model; with --rewrite and --drop, mend it before.

    Example: tunekeeper data check --model support-desk --against suites/core.yaml
    """
    from tunekeeper.core.errors import UserError
    from tunekeeper.data import checks, mending

    ws, project = frame.project(dir)
    config = project.model(model)
    section, limits = config.sections["data"], _limits(project.folder, config)
    section = dataclasses.replace(section, glossary={**section.glossary, **(checks.read_glossary(glossary) if glossary else {})})
    fits = context or section.max_tokens or limits.context
    if rewrite and not section.glossary:
        raise UserError(f"no glossary for {model}", fix="name a file with --glossary, or write data.glossary in the model file")
    mended: dict[str, Mended] = {}
    if rewrite:
        mended["rewrite"] = mending.rewrite_terms(ws, config.task, section, dry_run=dry_run)
    if drop:
        mended["drop"] = mending.drop_bad(ws, config.task, section, context=fits, count=limits.count, dry_run=dry_run)
    options: dict[str, Any] = {"against": against, "context": fits, "only": only, "count": limits.count}
    # What another limit would do is asked, not found: the version that is frozen next is measured with its own.
    found = checks.check(ws, config.task, section, **options, remember=not dry_run and context is None)
    answer = {each.name: getattr(found, each.name) for each in dataclasses.fields(found)} | {"mended": mended, "dry_run": dry_run}
    would = "would have " if dry_run else ""
    # A limit in tokens is measured with the base's tokenizer; where that could only be guessed it is said how.
    answer |= {"lengths": limits.assumed or None} if fits else {}
    lines = [line(f"tokens are {limits.assumed}")] if fits and limits.assumed else []
    lines += [f"{would}rewritten {len(done.changed)} rows{_left(done)}" for name, done in mended.items() if name == "rewrite"]
    lines += [f"{would}dropped {sum(done.dropped.values())} rows{_left(done)}" for name, done in mended.items() if name == "drop"]
    following = _following(found, section, model, f" --glossary {glossary}" if glossary else "")
    return frame.emit(answer, json, lambda: [*lines, *_told(found, only), line(f"next: {following}")])


def _following(found: CheckReport, section: Config, model: str, terms: str) -> str:
    """The command that mends what was found; where none does, the one that shows what freezing would change."""
    left = {each.kind for each in found.kinds if each.count > each.dropped}
    if "stale_vocabulary" in left and section.glossary:
        return f"tunekeeper data check --model {model}{terms} --rewrite"
    if any(getattr(section, kind, "drop") == "drop" for kind in left & _OF_A_ROW):
        return f"tunekeeper data check --model {model} --drop"
    return f"tunekeeper data effect --model {model}"


def _left(done: Mended) -> str:
    reasons = ", ".join(f"{n} {kind}" for kind, n in done.dropped.items())
    return f" ({reasons})" if reasons else ""


def _told(found: CheckReport, only: str | None) -> list[str]:
    from tunekeeper.data.scores import SET_PENALTIES

    nothing = f"no {only}" if only else "nothing is wrong"
    lines = [f"{found.examples} rows: " + (", ".join(f"{n} {kind}" for kind, n in found.counts.items()) or nothing)]
    if found.quality is not None:
        clean = f"{found.clean:.0%} of the rows are clean, {found.low} score below 0.5"
        whole = [kind.kind for kind in found.kinds if kind.kind in SET_PENALTIES]
        lines += [f"quality {found.quality:.2f}: {clean}" + (f"; the whole loses by {', '.join(whole)}" if whole else "")]
    lines += [f"{found.covered:.1%} of the rows are covered by it"] if found.covered is not None else []
    mix = found.mix
    if mix.dated:
        lines += [f"{mix.recent} of {mix.dated} dated rows are from the last {mix.recent_days:g} days before the newest"]
    if mix.synthetic:
        lines += [f"{mix.synthetic} of {mix.examples} rows are synthetic"]
    if found.balance.labels:
        labels = ", ".join(f"{n} {label}" for label, n in found.balance.labels.items())
        lines += [line(f"labels ({found.balance.field}): {labels}")]
    if found.kinds:
        kinds = [(k.kind, k.count, k.dropped, ", ".join(k.ids)) for k in found.kinds]
        lines += frame.table(kinds, ("kind", "found", "dropped", "such as"))
        rows = [(f.kind, f.id, f"{f.file}:{f.line}" if f.file else None, f.of, f.topic, f.detail) for f in _spread(found)]
        lines += ["", *frame.table(rows, ("kind", "id", "where", "of", "topic", "detail"))]
    return lines + _more(len(found.findings), "" if only else "--only KIND shows those of one kind, ")


def _spread(found: CheckReport) -> list[Finding]:
    """The findings that the table shows: all, or so many of each kind that the many of one do not hide the few of another."""
    if len(found.findings) <= SHOWN:
        return list(found.findings)
    by_kind = {kind.kind: [each for each in found.findings if each.kind == kind.kind] for kind in found.kinds}
    room = SHOWN
    taken: list[Finding] = []
    for done, rows in enumerate(sorted(by_kind.values(), key=len)):
        taken += (shown := rows[: room // (len(by_kind) - done)])
        room -= len(shown)
    return taken


def _more(rows: int, way: str = "") -> list[str]:
    return [f"… and {rows - SHOWN} more: {way}--json names them all"] if rows > SHOWN else []


def _limits(folder: Path, config: ModelConfig) -> Limits:
    """What the base can read; nothing known where the model file names none that lies here (lengths are then estimated)."""
    from tunekeeper.data.lengths import Limits, limits_of

    return limits_of(folder / config.task.base) if config.task.base else Limits(context=None, count=None)


@app.command("ls")
def ls(
    model: frame.Model,
    dropped: Annotated[bool, typer.Option("--dropped", help="Also each row that was left out, with its reason.")] = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say what the draft of a model holds.

    Example: tunekeeper data ls --model support-desk --dropped
    """
    from tunekeeper.data import drafts, mending, versions

    ws = frame.workspace(dir)
    found = versions.ls(ws, model)
    if not found.examples and found.parent is None:
        frame.project(dir)[1].model(model)  # a model that is not there is no empty one
    state = "changed since" if found.changed and found.parent else "the same as" if found.parent else "never frozen"
    lines = [f"{found.examples} rows ({found.train} to learn from, {found.eval} held out), {state} {found.parent or ''}".rstrip()]
    answer: dict[str, Any] = {each.name: getattr(found, each.name) for each in dataclasses.fields(found)}
    lines += frame.table(list(found.topics.items()), ("topic", "rows")) if found.topics else []
    if dropped:
        out = mending.dropped_lines(drafts.read_findings(ws, model))
        answer["dropped_rows"] = shown = list(out if json else islice(out, SHOWN))
        rows = [(r["kind"], r["id"], f"{r['file']}:{r['line']}" if r["file"] else None, r["detail"]) for r in shown[:SHOWN]]
        more = _more(sum(found.dropped.values()))
        lines += ["", *frame.table(rows, ("dropped for", "id", "where", "detail")), *more] if rows else ["", "none dropped"]
    return frame.emit(answer, json, lines)


@app.command("readmit")
def readmit(
    model: frame.Model,
    rows: Annotated[list[str] | None, typer.Argument(help="Dropped rows: their ids, or file:line.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Rows dropped for this kind; without ROWS all of them.")] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Bring rows that were dropped back into the draft of a model; nothing drops them for the same reason again.

    Example: tunekeeper data readmit T-1042 tickets.csv:17 --model support-desk
    """
    from tunekeeper.data import mending

    ws, project = frame.project(dir)
    config = project.model(model)
    done = mending.readmit(ws, config.task, config.sections["data"], rows or (), reason=reason, dry_run=dry_run)
    verb = "would bring back" if dry_run else "brought back"
    named = ", ".join(done.changed[:SHOWN]) or "the draft has them already"
    said = f"{verb} {len(done.changed)} rows: {named}{' …' if len(done.changed) > SHOWN else ''}"
    gone = sum(done.dropped.values())
    lines = [line(said), *([f"{gone} later answers left as superseded: readmit brings them back"] if gone else [])]
    return frame.emit(done, json, [*lines, f"the draft of {model} holds {done.examples}"])
