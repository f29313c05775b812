"""`tunekeeper route` and `tunekeeper rollback`: who answers how much of the traffic, and the way back.

`rollback` reads no configuration and no database but `control.db`: it works while everything else is broken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunekeeper.cli import frame
from tunekeeper.core.errors import UserError

if TYPE_CHECKING:
    from tunekeeper.workspace import Workspace

app = frame.group("Who answers how much of the traffic.")
Name = Annotated[str, typer.Argument(help="Name of the model.")]
MOST_DIGITS = 9
"""Digits of a weight; what is more is no number of anything."""
ARM = 1000
"""Ten-thousandths of a slot in an experiment that names no other (AB-01)."""


@app.command()
def show(model: Name, dir: frame.Dir = None, data: frame.Data = None, json: frame.Json = False) -> int:
    """Show a model's route: slots, versions, weights, what it goes back to.

    Example: tunekeeper route show support-desk
    """
    from tunekeeper.store.ledgers.routes import load_route
    from tunekeeper.store.ledgers.slots import find_slots

    ws = frame.workspace(dir, data)
    with ws.control.read() as tx:
        route = load_route(tx, model)
        slots = {slot.id: slot for slot in find_slots(tx, model=model)}
    rows = []
    for name, slot in slots.items():
        share = next((each for each in route.shares if each.slot == name), None)
        role = share.variant if share else "previous" if name == route.previous else "standby"
        weight = share.weight if share and not route.withdrawn else 0
        rows.append([_short(model, name), slot.version, role, weight / 100, slot.observed, slot.endpoint])
    value = {
        "model": model,
        "route_version": route.generation,
        "champion": route.champion and _short(model, route.champion),
        "previous": route.previous and _short(model, route.previous),
        "challenger": route.challenger and _short(model, route.challenger),
        "static": route.static,
        "withdrawn": route.withdrawn,
        "shares": {_short(model, share.slot): share.weight for share in route.shares},
        "fallback": [dataclasses.replace(entry, slot=_short(model, entry.slot)) for entry in route.fallback],
        "shadow": {"slot": _short(model, route.shadow), "share": route.shadow_share} if route.shadow else None,
        "rollout": route.rollout,
        "assign_by": route.assign_by,
        "timeouts": route.timeouts,
        "confidence_floor": route.confidence_floor,
        "durability": route.durability,
        "by": route.by,
        "reason": route.reason,
        "since": route.created,
        "slots": [dataclasses.replace(slot, id=_short(model, name)) for name, slot in slots.items()],
    }
    head = f"{model}: route version {route.generation}, set by {route.by}: {route.reason}"
    lines = [head, *frame.table(rows, ["slot", "version", "role", "%", "state", "endpoint"])]
    lines += [f"{_short(model, name)}: {slot.reason}" for name, slot in slots.items() if slot.reason]
    if route.rollout:
        lines.append(f"under {route.rollout}, assigned by {route.assign_by}")
    if route.fallback:
        floor = "" if route.confidence_floor is None else f", also under a confidence of {route.confidence_floor:g}"
        lines.append(f"then: {', '.join(_short(model, entry.slot) for entry in route.fallback)}{floor}")
    if route.shadow:
        lines.append(f"copies: {_short(model, route.shadow)} {route.shadow_share / 100:g} %")
    return frame.emit(value, json, lines)


@app.command("set")
def set_(
    model: Name,
    weights: Annotated[list[str], typer.Argument(help="SLOT=TEN-THOUSANDTHS …, together 10000.")],
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="Id of an A/B test; a bare SLOT then gets 1000, the champion the rest.")
    ] = None,
    override: Annotated[
        str | None, typer.Option("--override", help="Reason for letting an ungated version have traffic.")
    ] = None,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
    dry_run: frame.DryRun = False,
) -> int:
    """Share a model's traffic among its slots; returns when every live worker obeys.

    With --experiment ID units are assigned by a hash of that id, which every request's record carries (`rollout`); its shares may
    be changed under the same id, and without the option it ends.

    Example: tunekeeper route set support-desk support-desk-blue=9000 support-desk-green=1000
    """
    from tunekeeper.rollout.moves import may_set_route, set_route
    from tunekeeper.store.ledgers.routes import load_route
    from tunekeeper.store.ledgers.slots import find_slots

    ws = frame.workspace(dir, data)
    with ws.control.read() as tx:
        known = {slot.id for slot in find_slots(tx, model=model)}
        champion = load_route(tx, model).champion
    given = _weights(weights, bare=None if experiment is None else ARM)
    wanted = {_long(model, name, known): weight for name, weight in given.items()}
    if experiment is not None and champion is not None:
        if set(wanted) == {champion} and wanted[champion] != 10_000:
            fix = f"tunekeeper route set {model} OTHER --experiment {experiment}, one of: tunekeeper route show {model}"
            raise UserError(f"{_short(model, champion)} is the champion: an experiment needs another slot beside it", fix=fix)
        wanted = _with_rest(wanted, champion, bare=any(_long(model, word, known) == champion for word in weights))
    if dry_run:
        may_set_route(ws, model, wanted, override=override)
        return frame.emit({"model": model, "weights": wanted}, json, [f"would set {model}: {wanted}"])
    move = set_route(ws, model, wanted, by=frame.user(), override=override, experiment=experiment)
    return frame.emit(move.as_json(), json, [_line(move.as_json())])


def rollback(
    model: Name,
    to: Annotated[str | None, typer.Option("--to", help="Version or slot to go back to (default: the previous one).")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the incident.")] = "rollback by hand",
    load: Annotated[bool, typer.Option("--load", help="Load a version first that was unloaded while it was idle.")] = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
    dry_run: frame.DryRun = False,
) -> int:
    """Go back to the previous version, now. Needs no approval, no configuration, no worker.

    Example: tunekeeper rollback support-desk
    """
    from tunekeeper.rollout.moves import rollback as go_back
    from tunekeeper.rollout.moves import to_load, would_go_back_to

    ws = frame.workspace(dir, data)
    if dry_run:
        asleep = to_load(ws, model, to) if load else None
        target = asleep.id if asleep else would_go_back_to(ws, model, to)
        return frame.emit({"model": model, "to": target}, json, [f"would go back to {target}"])
    if load:
        _load(ws, model, to)
    move = go_back(ws, model, to=to, by=frame.user(), reason=reason)
    return frame.emit(move.as_json(), json, [_line(move.as_json())])


def _load(ws: Workspace, model: str, to: str | None) -> None:
    """Have the version loaded that would be gone back to, and wait for it; users stay where they are meanwhile."""
    from tunekeeper.deployment.slots import await_ready, reload
    from tunekeeper.rollout.moves import load_time, to_load

    slot = to_load(ws, model, to)
    if slot is not None:
        frame.say(f"{slot.version} must load first: {load_time(slot)}")
        await_ready(ws, reload(ws, slot.id, by=frame.user()).id)


def _weights(words: list[str], *, bare: int | None) -> dict[str, int]:
    """Slot → ten-thousandths. `bare`: what a slot without a number gets; None: it must have one."""
    found: dict[str, int] = {}
    for word in words:
        name, given, weight = word.partition("=")
        if name and not given and bare is not None:
            weight = str(bare)
        if not name or not (weight.isascii() and weight.isdigit() and len(weight) <= MOST_DIGITS):
            raise UserError(f"{word[:80]!r} is not SLOT=WEIGHT", fix="e.g. blue=9000 green=1000 (ten-thousandths)")
        if name in found:
            raise UserError(f"{name[:80]} is named twice", fix="give each slot one weight; together they are 10000")
        found[name] = int(weight)
    return found


def _with_rest(wanted: Mapping[str, int], champion: str, *, bare: bool) -> dict[str, int]:
    """An experiment's weights, in which the champion keeps what the others leave. `bare`: it was named without a number."""
    others = {slot: weight for slot, weight in wanted.items() if slot != champion}
    rest = max(0, 10_000 - sum(others.values()))
    return {**others, champion: rest if bare or champion not in wanted else wanted[champion]}


def _long(model: str, name: str, known: set[str]) -> str:
    return name if name in known else f"{model}/{name}" if f"{model}/{name}" in known else name


def _short(model: str, name: str) -> str:
    """A slot's name within its model, as the configuration file has it."""
    return name.removeprefix(f"{model}/")


def _line(move: dict[str, Any]) -> str:
    pending = f"; pending: {move['pending']}" if move["pending"] else ""
    count = len(move["acknowledged_by"])
    workers = "1 worker obeys" if count == 1 else f"{count} workers obey"
    went = f"{move['from']} → {move['to']} in {move['ms']:.1f} ms"
    return f"{move['model']}: {went}, route version {move['route_version']}, {workers}{pending}"
