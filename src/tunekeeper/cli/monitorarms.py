"""Commands that set several versions side by side, which `tunekeeper monitor` carries: shadow, variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.monitoring.arms import Arm
    from tunekeeper.monitoring.measure import Number
    from tunekeeper.monitoring.shadows import Comparison, Group
    from tunekeeper.workspace import Workspace

app = frame.group("Versions side by side.")
Since = Annotated[str | None, typer.Option("--since", help="From: 24h, 7d before now, or 2026-01-05T09:30.")]
Until = Annotated[str | None, typer.Option("--until", help="Before: as --since.")]


@app.command()
def shadow(
    model: frame.Model,
    since: Since = None,
    until: Until = None,
    version: Annotated[str | None, typer.Option("--version", help="Copies that this version answered alone.")] = None,
    scorer: Annotated[
        str, typer.Option("--scorer", help="Judges answers by a label or correction where there is one.")
    ] = "exact",
    least: Annotated[int, typer.Option("--least", min=1, help="Pairs from which on the comparison counts.")] = 1000,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """Compare a shadow slot's answers with those that users got; exit code 1 when it is worse, 3 with too few pairs.

    Example: tunekeeper monitor shadow --model support-desk --since 7d
    """
    from tunekeeper.monitoring.shadows import compare
    from tunekeeper.scoring import scorer as by_name

    judge = by_name(scorer)
    ws, spec = _format(model, dir, data)
    start, end = frame.window(since, until, ws.clock)
    found = compare(ws, model, spec, since=start, until=end, version=version, scorer=judge, least=least)
    return frame.emit(found, json, lambda: _told(found), code={"worse": 1, "not_enough": 3, "no_loss_shown": 0}[found.verdict])


@app.command()
def variants(
    model: frame.Model,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="variant, slot_assigned, version, rollout, segment:NAME, …; may be repeated."),
    ] = None,
    since: Since = None,
    until: Until = None,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """List every metric by variant: requests, errors by code, latency, tokens, cost, quality, what users said.

    --by slot_assigned counts for the slot that the route chose, whoever answered in the end: take it to judge an A/B test.

    Example: tunekeeper monitor variants --model support-desk --by slot_assigned --since 7d
    """
    from tunekeeper.monitoring.arms import arms

    ws, spec = _format(model, dir, data)
    keys = tuple(dict.fromkeys(by or ["variant"]))
    start, end = frame.window(since, until, ws.clock)
    found = arms(ws, model, spec, since=start, until=end, by=keys)
    return frame.emit(found, json, lambda: _side_by_side(found))


def _side_by_side(found: list[Arm]) -> Iterator[str]:
    """A column for each arm, a line for each metric."""
    if not found:
        yield "no requests"
        return
    heads = [" ".join(str(value) for value in each.key.values()) for each in found]
    names = list(dict.fromkeys(number.name for each in found for number in each.numbers))
    rows = [["requests", *(str(each.requests) for each in found)]]
    rows += [[name, *(_with_interval(each.number(name)) for each in found)] for name in names]
    codes = sorted({code for each in found for code in each.codes})
    rows += [[code, *(str(each.codes.get(code, 0)) for each in found)] for code in codes]
    yield from frame.table(rows, ["", *heads])


def _with_interval(number: Number | None) -> str:
    if number is None:
        return "–"
    within = f" ({number.low:.4g}..{number.high:.4g})" if number.low is not None and number.high is not None else ""
    return f"{number.value:.4g}{within}"


def _format(model: str, dir: Path | None, data: Path | None) -> tuple[Workspace, Mapping[str, Any]]:
    """The workspace, and the model's answer format; a gateway alone knows none."""
    if data is not None:
        return frame.workspace(dir, data), {}
    ws, config = frame.project(dir)
    return ws, config.model(model).task.format


def _told(found: Comparison) -> Iterator[str]:
    heads = {
        "worse": f"WORSE: {', '.join(found.worse)}",
        "not_enough": f"NOT ENOUGH: {found.all.pairs} of {found.least} pairs",
        "no_loss_shown": "NO LOSS SHOWN",
    }
    yield f"{heads[found.verdict]}; {', '.join(found.versions) or 'no version'} beside what users of {found.model} got"
    aside = f"{found.set_aside} set aside, {found.unpaired} without their request"
    yield f"{found.copies} copies, {found.all.pairs} pairs ({aside})"
    yield from _group("all", found.all)
    for name, group in found.segments.items():
        yield from _group(name, group)
    if found.segments_left_out:
        yield f"and {found.segments_left_out} smaller segments"
    if found.regressions:
        yield "failed where users were served well: " + ", ".join(f"{n} {kind}" for kind, n in found.regressions.items())
    for place, n in list(found.regressions_by.items())[:10]:
        yield f"  {n} × {place}"
    for each in found.samples[:5]:
        yield f"  {each.parent} → {each.copy}: {each.kind}, {each.why}"


def _group(name: str, group: Group) -> Iterator[str]:
    share = (
        ""
        if group.agreement is None
        else f", {group.agreement:.1%} agree ({group.agreement_low:.1%}..{group.agreement_high:.1%})"
    )
    yield f"{name}: {group.pairs} pairs{share}"
    rows = [
        [each.name, *map(_short, (each.champion, each.shadow, each.difference, each.low, each.high)), each.n]
        for each in group.differences
    ]
    if rows:
        yield from ("  " + line for line in frame.table(rows, ["", "users", "shadow", "difference", "low", "high", "n"]))


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
