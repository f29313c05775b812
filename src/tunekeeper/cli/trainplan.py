"""`tunekeeper train plan`: what a run would take, before it starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.core.nouns.data import DatasetVersion
    from tunekeeper.core.nouns.training import Version
    from tunekeeper.training.planning import Plan
    from tunekeeper.training.tradeoffs import Way
    from tunekeeper.workspace import Workspace

app = frame.group("What a run would take.")

Recipe = Annotated[Path | None, typer.Option("--recipe", help="YAML or JSON with values that differ from the model's.")]
From = Annotated[str | None, typer.Option("--from", help="Version that is continued.")]


@app.command("plan")
def plan(
    model: frame.Model,
    dataset: Annotated[str, typer.Option("--dataset", help="Dataset version, or latest.")] = "latest",
    recipe: Recipe = None,
    start: From = None,
    on: Annotated[str | None, typer.Option("--on", help="Plan for another machine: gpu:24 or cpu:36, gigabytes.")] = None,
    dir: frame.Dir = None,
    json: frame.Json = False,
) -> int:
    """Tokens, memory, time and cost of a run, before it starts.

    Example: tunekeeper train plan --model support-desk --dataset latest
    """
    from tunekeeper.training import device, planning
    from tunekeeper.training.backends import HERE, outline
    from tunekeeper.training.recipe import read_changes

    ws, config = frame.project(dir)
    found = config.model(model)
    section = found.sections["training"]
    changes = read_changes(recipe) if recipe else None
    chosen = dataset_of(ws, model, dataset)
    if section.backend not in HERE:
        asked = outline(ws, found.task, section, chosen, changes)
        return frame.emit(asked, json, lambda: _outline_lines(asked))
    parent = parent_of(ws, model, start)
    elsewhere = None if on is None else device.imagined(on)
    value = planning.plan(ws, found.task, section, chosen, parent=parent, recipe=changes, elsewhere=elsewhere)
    return frame.emit(planning.as_json(value), json, lambda: _plan_lines(value), code=0 if value.fits else 1)


def parent_of(ws: Workspace, model: str, name: str | None) -> Version | None:
    """The version to go on from; None without a name. Raises NotFound."""
    from tunekeeper.training.versions import find_version

    if name is None:
        return None
    with ws.state.read() as tx:
        return find_version(tx, model, name)


def dataset_of(ws: Workspace, model: str, name: str) -> DatasetVersion:
    """A dataset version by id, by `d2`, by its tag, or `latest`. Raises NotFound."""
    from tunekeeper.data.versions import resolve

    return resolve(ws, name, model)


def _outline_lines(asked: dict[str, Any]) -> Iterator[str]:
    size = "" if asked["bytes"] is None else f", {asked['bytes'] / 1e6:,.2f} MB to send"
    yield f"{asked['backend']} would train {asked['rows']} rows{size}; nothing was begun"
    yield from (f"{name}: {value}" for name, value in asked["asked"].items())
    yield from (f"note: {line}" for line in asked["warnings"])


def _plan_lines(plan: Plan) -> Iterator[str]:
    from tunekeeper.training.drivers import sentence

    yield f"{plan.rows} rows, {plan.tokens} tokens an epoch ({plan.learned_tokens} learned), longest {plan.longest}"
    yield f"{plan.steps} steps"
    if plan.left_out:
        yield f"{plan.left_out} rows are longer than max_tokens and left out"
    earlier = f"{plan.memory_runs} earlier run{'s' if plan.memory_runs > 1 else ''}"
    rests = f"as {earlier} took" if plan.memory_runs else "by formula; the first run will tell"
    yield f"{plan.adapter_parameters:,} of {plan.base_parameters:,} parameters, about {plan.memory_bytes / 1e6:,.0f} MB ({rests})"
    yield plan.method
    disk, run = plan.disk_bytes / 1e6, plan.run_disk_bytes / 1e6
    yield f"disk: {disk:,.1f} MB a version, up to {run:,.1f} MB while it runs, {plan.free_disk_bytes / 1e6:,.0f} MB free"
    yield f"{plan.device} has {plan.device_bytes / 1e6:,.0f} MB, {plan.free_bytes / 1e6:,.0f} MB of it free"
    if not plan.fits:
        yield "it does not fit, and would be refused"
    if plan.suggestion:
        yield f"to need less, put into the recipe: {plan.suggestion}"
    if plan.seconds is None:
        yield "time: not known before the first run of this base on this machine"
    else:
        whole = f"{plan.whole_seconds:.0f} s with loading and answering"
        yield f"time: about {plan.seconds:.0f} s, {whole}, at the speed of {plan.seconds_from}"
    if plan.cost_usd is not None:
        yield f"cost: about {plan.cost_usd:.4f} USD"
    driven = sentence(plan.drivers)
    if driven:
        yield driven
    yield plan.advice
    yield from (f"note: {line}" for line in (*((plan.guard,) if plan.guard else ()), *plan.warnings))
    yield from _way_lines(plan.ways)


def _way_lines(ways: Sequence[Way]) -> Iterator[str]:
    """The table of the ways, and below it where its figures come from."""
    yield ""
    header = ("way", "memory", "fits", "disk", "time", "cost", "usual GPU hours", "usual cost", "latency", "data", "control")
    yield from frame.table([_way_row(way) for way in ways], header)
    sources: dict[str, dict[str, None]] = {}
    for way in ways[:-1]:  # of the last, prompting, all that is known is that nothing is trained
        for kind, figures in (("", way.here), ("usual ", way.usual)):
            for name, figure in figures.items():
                sources.setdefault(figure.source, {})[f"{kind}{name}"] = None
    yield from (f"  {source}: {', '.join(names)}" for source, names in sources.items())


def _way_row(way: Way) -> tuple[object, ...]:
    def told(name: str, unit: str, divisor: float = 1.0) -> str:
        value = way.here[name].value
        return "–" if value is None else f"{float(value) / divisor:,.{1 if divisor > 1 else 0}f} {unit}"

    cost = way.here["cost_usd"].value
    return (
        f"{way.name} (chosen)" if way.chosen else way.name,
        told("memory_bytes", "MB", 1e6),
        "yes" if way.here["fits"].value else "no",
        told("disk_bytes", "MB", 1e6),
        told("seconds", "s"),
        "–" if cost is None else f"{float(cost):,.4f} USD",
        *(figure.value for figure in way.usual.values()),
    )
