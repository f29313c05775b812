"""`tunekeeper data review`: fill the queue, look at it, what it costs and how good it is, take cases out of it, or review."""

from __future__ import annotations

import codecs
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.cli.visible import line

if TYPE_CHECKING:
    from tunekeeper.config.project import ModelConfig
    from tunekeeper.core.nouns.data import ReviewItem
    from tunekeeper.workspace import Workspace

app = frame.group("Review answers.")
SHOWN = 50
"""Items that the text of a list shows; `--json` has them all."""
FEW = 10
"""Items shown of those that were just queued."""
WINDOW = timedelta(days=30)
"""How far back a sample looks unless told."""


@app.command("review")
def review(
    model: frame.Model,
    by: Annotated[str | None, typer.Option("--by", help="Your name (default: the user of this machine).")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="answer, pair, or why an item was chosen; repeatable.")] = None,
    fill: Annotated[int, typer.Option("--fill", min=0, help="Queue so many answers of the log, spread over all strata.")] = 0,
    pairs: Annotated[Path | None, typer.Option("--pairs", help="Queue pairs: JSONL of prompt or messages, a, b.")] = None,
    shadow_pairs: Annotated[int, typer.Option("--shadow-pairs", min=0, help="Queue pairs of the log: served and shadow.")] = 0,
    gold: Annotated[
        Path | None, typer.Option("--gold", help="Mix in known answers: JSONL of request_id or messages, answer.")
    ] = None,
    exam: Annotated[str | None, typer.Option("--exam", help="Queue what an exam flags: broken, failed, not judged.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Answers of the exam that are queued at most.")] = 50,
    since: Annotated[str | None, typer.Option("--since", help="Log from: 24h, 7d, or a date (default: 30d).")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Log before: as --since (default: now).")] = None,
    opinions: Annotated[int, typer.Option("--opinions", min=1, max=5, help="People wanted for each queued item.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of the sample.")] = 0,
    listing: Annotated[bool, typer.Option("--list", help="Say what waits, and why.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Pace, agreement, gold, hours, bus factor.")] = False,
    export_cases: Annotated[Path | None, typer.Option("--export-cases", help="Append judged answers to a file of cases.")] = None,
    dry_run: frame.DryRun = False,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Review answers of a model on a full screen; with options, fill the queue or say how it stands.

    Example: tunekeeper data review --model support-desk --fill 50 --since 7d --list
    """
    ws, project = frame.project(dir)
    config = project.model(model)
    asked = {"fill": fill, "pairs": pairs, "shadow": shadow_pairs, "gold": gold, "opinions": opinions, "seed": seed}
    answer: dict[str, Any] = {}
    lines: list[str] = []
    if fill or pairs or shadow_pairs or gold:
        start, end = frame.window(since, until, ws.clock)
        window = start or ws.clock.utc() - WINDOW, end or ws.clock.utc()
        queued = _filled(ws, config, asked, window, by or frame.user(), dry_run)
        answer["queued"] = {name: _listed(items) for name, items in queued.items()}
        would = "would queue" if dry_run else "queued"
        lines += [f"{would} {_named(len(items), name)}" for name, items in queued.items()]
        lines += [_fewer(fill, window[0])] if fill and len(queued["answers"]) < fill else []
        new = [item for items in queued.values() for item in items]
        lines += [*_new(new, model), *_next(new, model, dry_run)] if not listing else []
    if exam is not None:
        answer["exam"] = flagged = _flagged(ws, model, exam, most, opinions, dry_run)
        lines += _flagged_lines(flagged, model)
    if export_cases is not None:
        from tunekeeper.data import review as verbs

        done = verbs.export_cases(ws, config.task, config.sections["data"], export_cases, dry_run=dry_run)
        answer["cases"] = done
        lines += [f"{'would write' if dry_run else 'wrote'} {_some(done.added, 'case')} to {done.path}, {done.known} were there"]
        lines += [f"left out, because they are learned from: {len(done.learned)}"] if done.learned else []
        lines += [f"left out, because no suite can compare them: {', '.join(done.unfit)}"] if done.unfit else []
        lines += [f"no longer what reviewers say, see to it in the file: {', '.join(done.otherwise)}"] if done.otherwise else []
        lines += ["next: name the file, or its cases, in the suite"] if done.added and not dry_run else []
    if listing:
        found = _open(ws, model, kind or ())
        answer["open"] = _listed(found)
        lines += [f"{_some(len(found), 'item')} wait{'s' if len(found) == 1 else ''}", *_items(found)]
    if stats:
        answer["stats"] = figures = _figures(ws, model)
        lines += _figure_lines(figures)
    if answer:
        return frame.emit({"model": model, **answer, "dry_run": dry_run}, json, lines)
    return _screen(ws, config, by or frame.user(), tuple(kind or ()), json)


def _screen(ws: Workspace, config: ModelConfig, by: str, kinds: tuple[str, ...], json: bool) -> int:
    """The full screen, where there is one."""
    from tunekeeper.core.errors import UserError

    name = config.task.name
    if json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "data review needs a terminal to review on",
            fix=f"tunekeeper data queue next --model {name} --by NAME --json, or data review --model {name} --list",
        )
    from rich.console import Console

    from tunekeeper.cli.reviewscreen import run

    if Console().is_dumb_terminal:
        raise UserError(
            "this terminal cannot show a full screen (TERM=dumb)",
            fix=f"use another, or tunekeeper data queue next --model {name} --by NAME",
        )
    if codecs.lookup(sys.stdout.encoding).name != "utf-8":
        raise UserError(f"this terminal is written to in {sys.stdout.encoding}", fix="export LC_ALL=C.UTF-8")
    return run(ws, config, by=by, kinds=kinds)


def _named(n: int, names: str) -> str:
    """`12 answers`, `1 pair of the file`."""
    one = re.sub(r"s\b", "", names, count=1)
    return f"{n} {one if n == 1 else names}"


def _fewer(asked: int, since: datetime) -> str:
    """Why not as many were queued as were asked for, and where more come from."""
    from tunekeeper.data.review import MOST

    if asked > MOST:
        return f"{asked} were asked for: at most {MOST:,} are looked at in one go"
    elsewhere = "--since looks further back, tunekeeper log import brings answers from elsewhere"
    return f"{asked} were asked for: the log has no more since {since:%Y-%m-%d} that were never queued ({elsewhere})"


def _filled(
    ws: Workspace, config: ModelConfig, asked: dict[str, Any], window: tuple[Any, Any], by: str, dry_run: bool
) -> dict[str, list[ReviewItem]]:
    """Queue what was asked for; returns it by kind."""
    from tunekeeper.data import review as verbs
    from tunekeeper.data.redacting import redactor_of

    model, redactor = config.task.name, redactor_of(config.sections["data"])
    found: dict[str, list[ReviewItem]] = {}
    more = {"opinions": asked["opinions"], "dry_run": dry_run}
    if asked["gold"]:
        rows = verbs.read_gold(asked["gold"])
        for dry in (True, dry_run):  # all of them can be added, or none is
            found["gold items"] = [
                verbs.add_gold(ws, model, **row, by=by, system=config.task.system, redactor=redactor, dry_run=dry) for row in rows
            ]
    if asked["pairs"]:
        found["pairs of the file"] = verbs.pairs_from_file(
            ws, model, asked["pairs"], system=config.task.system, redactor=redactor, **more
        )
    if asked["shadow"]:
        found["pairs of the log"] = verbs.pairs_from_log(ws, model, *window, asked["shadow"], seed=asked["seed"], **more)
    if asked["fill"]:
        found["answers"] = verbs.fill(ws, model, *window, asked["fill"], seed=asked["seed"], **more)
    return found


def _flagged(ws: Workspace, model: str, exam: str, most: int, opinions: int, dry_run: bool) -> dict[str, Any]:
    """Queue what an exam flags: how many those are, the new items, and what people said of earlier ones."""
    from tunekeeper.core.errors import UserError
    from tunekeeper.data import examined
    from tunekeeper.evaluation.exam import find_exam, locked_suite, results_of
    from tunekeeper.evaluation.flagged import flagged

    found = find_exam(ws, exam)
    if found.model != model:
        raise UserError(f"exam {exam} is of {found.model}", fix=f"tunekeeper data review --model {found.model} --exam {exam}")
    other = None if found.champion_exam is None else results_of(ws, find_exam(ws, found.champion_exam))
    outputs = [
        examined.Output(
            case=each.case.id, source=each.case.source, messages=each.case.messages, answer=each.answer, reasons=each.reasons
        )
        for each in flagged(locked_suite(ws, found), results_of(ws, found), other)
    ]
    queued = examined.queue_outputs(ws, model, exam, outputs, most, opinions=opinions, dry_run=dry_run)
    counts = {"exam": exam, "answers": found.cases, "flagged": len(outputs)}
    return {**counts, "queued": queued, "judged": examined.judged(ws, model, exam)}


def _flagged_lines(flagged: dict[str, Any], model: str) -> list[str]:
    new = f"{len(flagged['queued'])} of them new"
    lines = [f"{flagged['exam']} flags {flagged['flagged']} of {flagged['answers']} answers, {new}"]
    lines += _new(flagged["queued"], model)
    told = ", ".join(f"{n} {what}" for what, n in sorted(flagged["judged"].items()))
    return [*lines, *([f"what people said of them: {told}"] if told else [])]


def _open(ws: Workspace, model: str, kinds: Any) -> list[ReviewItem]:
    from tunekeeper.data import review as verbs

    return [item for item in verbs.find(ws, model, state="open") if not kinds or item.kind in kinds or item.why in kinds]


def _listed(items: list[ReviewItem]) -> list[dict[str, Any]]:
    from tunekeeper.data import review as verbs

    return [verbs.listed(item) for item in items]


def _items(items: list[ReviewItem]) -> list[str]:
    if not items:
        return []
    rows = [(i.id, i.kind, i.why, len(i.opinions), i.wants, i.held[0] if i.held else None, _why(i)) for i in items[:SHOWN]]
    more = [f"… and {len(items) - SHOWN} more: --json names them all"] if len(items) > SHOWN else []
    return [*frame.table(rows, ("item", "kind", "why", "opinions", "wanted", "open with", "reasons")), *more]


def _new(items: list[ReviewItem], model: str) -> list[str]:
    """The first of what was queued, each with the reason why."""
    rows = [(item.id, item.kind, "; ".join(item.reasons)) for item in items[:FEW]]
    more = [f"… and {len(items) - FEW} more: tunekeeper data review --model {model} --list"] if len(items) > FEW else []
    return [*frame.table(rows, ("item", "kind", "reasons")), *more] if rows else []


def _next(items: list[ReviewItem], model: str, dry_run: bool) -> list[str]:
    return [f"next: {'the same without --dry-run' if dry_run else f'tunekeeper data review --model {model}'}"] if items else []


def _why(item: ReviewItem) -> str:
    flags = [f"flagged by {remark['by']}: {remark['text']}" for remark in item.remarks if remark["kind"] == "flag"]
    return "; ".join([*flags, *item.reasons])


def _figures(ws: Workspace, model: str) -> dict[str, Any]:
    """Everything that can be counted about the review of a model."""
    from collections import Counter

    from tunekeeper.data import review as verbs
    from tunekeeper.data import versions
    from tunekeeper.data.updates import looked

    items = verbs.find(ws, model, state=verbs.STATES)
    newest = versions.latest(ws, model)
    return {
        "states": dict(Counter(item.state for item in items)),
        "flagged": [item.id for item in items if item.state == "open" and any(r["kind"] == "flag" for r in item.remarks)],
        "notes": [
            {"item": item.id, **{key: remark[key] for key in ("by", "text", "at")}}
            for item in items
            if item.state != "open"  # until then nobody sees what others said
            for remark in item.remarks
            if remark["kind"] == "note"
        ],
        "pace": verbs.pace(items),
        "agreement": verbs.agreement(items),
        "gold": verbs.gold_scores(ws, model),
        "budget": verbs.time_budget(items, newest.created if newest else None),
        "bus_factor": verbs.bus_factor(items, ws.clock.utc()),
        "updates": looked(ws, model),
    }


def _figure_lines(figures: dict[str, Any]) -> list[str]:
    from tunekeeper.data.reviewpace import BUS_DAYS, NORMAL_AN_HOUR, SLOW_MINUTES
    from tunekeeper.data.updates import as_text

    pace, budget, bus = figures["pace"], figures["budget"], figures["bus_factor"]
    lines = [", ".join(f"{count} {state}" for state, count in figures["states"].items()) or "nothing was ever queued"]
    if pace.minutes_each is not None:
        low, high = NORMAL_AN_HOUR
        slow = f"slow: above {SLOW_MINUTES:g} minutes an item the way of working needs to be simpler; " if pace.slow else ""
        rate = "" if pace.an_hour is None else f", {pace.an_hour:.0f} an hour ({low} to {high} are normal)"
        lines += [f"{slow}{pace.minutes_each:.1f} minutes an item{rate}"]
    rows = [("source", name, s.judged, _rounded(s.minutes_each), _rounded(s.an_hour)) for name, s in pace.by_source.items()]
    rows += [("reviewer", name, s.judged, _rounded(s.minutes_each), _rounded(s.an_hour)) for name, s in pace.by_reviewer.items()]
    lines += frame.table(rows, ("of", "name", "judged", "minutes", "an hour")) if rows else []
    lines += [f"{_some(k.items, kind)}: {_agreed(k)}" for kind, k in figures["agreement"].overall.items()]
    lines += [f"{names}, {_some(kappa.items, 'answer')}: {_agreed(kappa)}" for names, kappa in figures["agreement"].pairs.items()]
    notes = figures["notes"]
    lines += [line(f"{note['by']} noted of {note['item']}: {note['text']}") for note in notes[-FEW:]]
    lines += [f"… and {len(notes) - FEW} more notes: --json tells them all"] if len(notes) > FEW else []
    if figures["agreement"].disputed:
        lines += [
            f"one more opinion is wanted on {len(figures['agreement'].disputed)}: {', '.join(figures['agreement'].disputed)}"
        ]
    for name, score in figures["gold"].items():
        lines += [
            f"gold, {name}: {score.right} of {score.met} right (95 % {score.low:.0%} to {score.high:.0%}),"
            f" {score.missed} wrong ones let pass, {score.blamed} right ones refused"
        ]
    lines += [as_text(each) for each in figures["updates"]]
    ahead = "" if budget.ahead is None else f", {budget.ahead:.1f} h still ahead"
    over = "over budget: " if budget.over else ""
    lines += [
        f"{over}{budget.spent:.1f} h of review for this {budget.kind}{ahead}; {budget.low:g} to {budget.high:g} h are meant"
    ]
    if bus.judged:
        lines += [
            f"bus factor {bus.people}: so many people did half of {_some(bus.judged, 'judgment')} in the last {BUS_DAYS} days"
        ]
    return lines


def _agreed(kappa: Any) -> str:
    from tunekeeper.data.reviewagreement import LEAST

    if kappa.kappa is None:
        return f"{kappa.same:.0%} judged alike, {kappa.words}: no kappa, as all said one and the same"
    few = f" (fewer than {LEAST})" if kappa.items < LEAST else ""
    return f"{kappa.same:.0%} judged alike, kappa {kappa.kappa:.2f}, {kappa.words}{few}"


def _some(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
