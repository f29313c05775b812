"""Commands from production to the draft, which `tunekeeper data` carries: collect, prune, effect, forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.visible import line

if TYPE_CHECKING:
    from tunekeeper.data.collection import Collection
    from tunekeeper.data.forecast import Sitting
    from tunekeeper.data.outdated import Pruned
    from tunekeeper.workspace import Workspace

app = frame.group("Bring what people said into the draft of a model, and see what it does.")
SHOWN = 20
"""Rows that a list shows; `--json` has them all."""


@app.command("collect")
def collect(
    model: frame.Model,
    since: Annotated[
        str | None, typer.Option("--since", help="What was said from then on: 7d, 2026-01-05 (default: new).")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="What was said before then.")] = None,
    kinds: Annotated[
        str | None, typer.Option("--kinds", help="Of corrected,flagged,thumbs,escalated,tagged,sample (default: all).")
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Also put answers to requests with this tag into the queue.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Most examples that come in; the rest waits.")] = None,
    by: Annotated[str, typer.Option("--by", help="Who does it.")] = "data",
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Take what people said about answers: right and praised ones into the draft, complaints and a sample to review.

    Example: tunekeeper data collect --model support-desk --since 7d --kinds corrected,thumbs --dry-run
    """
    from tunekeeper.data import gathering

    ws, project = frame.project(dir)
    config = project.model(model)
    wanted: Any = None if kinds is None else [kind.strip() for kind in kinds.split(",") if kind.strip()]
    options: dict[str, Any] = {"kinds": wanted, "tag": tag, "limit": limit, "dry_run": dry_run, "by": by}
    options["since"], options["until"] = frame.window(since, until, ws.clock)
    done = gathering.collect(ws, config.task, config.sections["data"], **options)
    return frame.emit(done, json, lambda: _collected(done, model, dry_run))


def _collected(done: Collection, model: str, dry_run: bool) -> list[str]:
    verb = "would add" if dry_run else "added"
    words = ", ".join(f"{n} {kind}" for kind, n in done.said.items()) or "nothing new"
    lines = [f"{verb} {len(done.added)} examples; the draft of {model} holds {done.examples}"]
    lines += [f"said{f' since {done.since:%Y-%m-%d %H:%M}' if done.since else ''}: {words}, about {done.requests} requests"]
    lines += [f"replaced: {done.replaced} rows of the draft"] if done.replaced else []
    lines += [f"there already, or dropped before: {done.known}"] if done.known else []
    for label, counted in (
        ("dropped", done.dropped),
        ("flagged", done.flagged),
        ("redacted", done.redacted),
        ("to review", done.queued),
        ("nothing to learn from", done.unusable),
    ):
        lines += [f"{label}: {', '.join(f'{n} {kind}' for kind, n in counted.items())}"] if counted else []
    lines += [f"alarm: {alarm}" for alarm in done.alarms]
    lines += [f"left for the next run: {done.left} requests"] if done.left else []
    lines += [f"each row with its reason: {done.report}"] if done.report else []
    following = "the same without --dry-run" if dry_run else f"tunekeeper data effect --model {model}"
    return [*lines, f"next: {following}"]


@app.command("prune")
def prune(
    model: frame.Model,
    older_than: Annotated[str | None, typer.Option("--older-than", help="Rows whose last word is older: 365d, 52w.")] = None,
    renamed: Annotated[bool, typer.Option("--renamed", help="Rows that hold an old term of the glossary.")] = False,
    superseded: Annotated[bool, typer.Option("--superseded", help="Rows that somebody answered otherwise since.")] = False,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Take rows that are out of date out of the draft of a model, and show what that does to the balance.

    Example: tunekeeper data prune --model support-desk --older-than 365d --superseded --dry-run
    """
    from tunekeeper.core.errors import UserError
    from tunekeeper.data.effect import as_text
    from tunekeeper.data.outdated import prune

    ws, project = frame.project(dir)
    config = project.model(model)
    before = frame.moment(older_than, ws.clock)
    age = None if before is None else ws.clock.utc() - before
    if age is not None and age.total_seconds() < 60:  # the clock has gone on since `0d` was read
        raise UserError(f"--older-than {older_than}: not an age", fix="write 365d or a day in the past")
    options: dict[str, Any] = {"renamed": renamed, "superseded": superseded, "dry_run": dry_run}
    done = prune(ws, config.task, config.sections["data"], older_than=age, **options)
    verb = "would leave" if dry_run else "left"
    reasons = ", ".join(f"{n} {kind}" for kind, n in done.dropped.items())
    lines = [f"{len(done.rows)} rows {verb} the draft of {model}{f': {reasons}' if reasons else ''}"]
    lines += _ages(done) if age is not None else []
    lines += [line(f"  {row.id}: {row.kind}: {row.detail}") for row in done.rows[:SHOWN]]
    lines += [f"  … and {len(done.rows) - SHOWN} more: --json names them all"] if len(done.rows) > SHOWN else []
    following = "the same without --dry-run" if dry_run else f"tunekeeper data readmit ROW --model {model} brings one back"
    return frame.emit(done, json, lambda: [*lines, "", *map(line, as_text(done.effect)), f"next: {following}"])


def _ages(done: Pruned) -> list[str]:
    """Which rows stay whatever age was asked for."""
    if done.unread:
        how = "write dates as 2026-01-31 or as seconds since 1970, and import them with --replace"
        lines = [line(f"{done.undated} rows have no date that can be read, such as {done.unread!r:.60}, and stay: {how}")]
    else:
        lines = [f"{done.undated} rows have no date and stay"] if done.undated else []
    return lines + ([f"{done.ahead} rows are dated in the future and stay"] if done.ahead else [])


@app.command("effect")
def effect(model: frame.Model, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Say what freezing the draft of a model would change: rows, topics, labels, age, length, and what it would warn of.

    Example: tunekeeper data effect --model support-desk
    """
    from tunekeeper.data.effect import as_text, effect

    ws, project = frame.project(dir)
    found = effect(ws, model, project.model(model).sections["data"])
    following = "" if found.refused else f"next: tunekeeper data freeze --model {model}"
    return frame.emit(found, json, lambda: [*map(line, as_text(found)), *([following] if following else [])])


@app.command("forecast")
def forecast(
    model: frame.Model,
    metric: Annotated[str, typer.Option("--metric", help="accuracy, or a scorer of the suite.")] = "accuracy",
    more: Annotated[int | None, typer.Option("--more", min=1, help="Examples more (default: half as many as there are).")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Say how many more examples would help, and where, by the exams on record; trains nothing. Without a curve it exits with 3.

    Example: tunekeeper data forecast --model support-desk --more 400
    """
    from tunekeeper.data.forecast import as_text, forecast

    ws, project = frame.project(dir)
    project.model(model)
    found = forecast(_sittings(ws, model, metric), metric=metric, more=more)
    known = found.verdict == "estimated"
    other = f"tunekeeper train run --model {model} --dataset VERSION"
    following = f"tunekeeper data plan --model {model} --examples {found.more}" if known else f"{other}, then tunekeeper eval run"
    return frame.emit(found, json, lambda: [*as_text(found), f"next: {following}"], code=0 if known else 3)


def _sittings(ws: Workspace, model: str, metric: str) -> list[Sitting]:
    """The finished exams of trained versions by the suite and of the base that were used last, by age of what they learned.
    Raises UserError for a metric that none of them has."""
    from tunekeeper.core.errors import UserError
    from tunekeeper.data import versions
    from tunekeeper.data.forecast import Sitting
    from tunekeeper.evaluation.exam import locked_suite, results_of
    from tunekeeper.evaluation.results import primary, values
    from tunekeeper.store.ledgers.exams import find_exams
    from tunekeeper.store.ledgers.versions import find_versions

    with ws.state.read() as tx:
        learned = {each.id: (each.dataset, each.base_digest) for each in find_versions(tx, model=model) if each.dataset}
        exams = [each for each in find_exams(tx, model=model, state="done") if each.version in learned and each.answers]
    datasets = {each.id: each for each in versions.log(ws, model)}
    found, scorers = [], set()
    for exam in exams:
        name, base = learned[exam.version]
        dataset = datasets.get(str(name))
        # Another base learns along another curve.
        if dataset is None or exam.suite != exams[-1].suite or base != learned[exams[-1].version][1]:
            continue
        # A held-out row is a case of the exam under its version's name: no other version is asked it.
        results = [each for each in results_of(ws, exam) if not each.case.startswith(f"{dataset.id}:")]
        scorers |= {name for each in results for name in each.scores}
        judged = values(results, metric, primary(locked_suite(ws, exam)))
        scored = {case: value for case, value in judged.items() if value is not None}
        share = dataset.train / max(dataset.examples, 1)
        topics = {topic: round(n * share) for topic, n in dataset.report.get("topics", {}).items()}
        categories = {each.case: each.category for each in results if each.case in scored}
        if scored:
            sitting = Sitting(
                dataset=dataset.id, size=dataset.train, topics=topics, exam=exam.id, values=scored, categories=categories
            )
            found.append((dataset.number, sitting))
    if exams and not found:
        raise UserError(f"no exam of {model} measured {metric!r}", fix=f"choose from {', '.join(sorted({'accuracy', *scorers}))}")
    return [sitting for _, sitting in sorted(found, key=lambda pair: pair[0])]
