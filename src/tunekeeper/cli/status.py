"""`tunekeeper status` and `tunekeeper history`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.overview import ModelStatus, State

CALM: tuple[State, ...] = ("rolling out", "retraining", "not enough evidence", "ok", "not serving")
"""What can wait, in the order of the list; a model that was never live is not serving, and nobody misses it."""
WHOLE = 3
"""Models up to which each is shown whole; of more, those that nobody has to look at are a table."""


def status(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None, dir: frame.Dir = None, json: frame.Json = False
) -> int:
    """What is live, what is moving, what is wrong; the worst first. OK is said of what was measured and found well.

    Example: tunekeeper status
    """
    from tunekeeper.notify.follower import away
    from tunekeeper.overview import overview
    from tunekeeper.processes import ending

    ws, config = frame.project(dir)
    if model is not None:
        config.model(model)
    enough = {name: each.sections["monitoring"].min_samples for name, each in config.models.items()}
    found = [each for each in overview(ws, list(config.models), enough) if model in (None, each.model)]
    found.sort(key=lambda each: (not _urgent(each), CALM.index(each.state) if each.state in CALM else 0, each.model))
    running = ending.running(ws.root)
    sinks = away(ws.root, [each.label for each in config.log.sinks])
    document = {"project": config.name, "running": running, "models": found, "sinks_away": sinks}
    waiting = [f"sink {name} takes no records: {why}" for name, why in sinks.items()]
    return frame.emit(document, json, lambda: [*_lines(found, running), *waiting])


def _urgent(each: ModelStatus) -> bool:
    """Whether a person should look at it now."""
    return each.state in ("alert", "incident") or (each.state == "not serving" and bool(each.shares))


def _lines(found: list[ModelStatus], running: dict[str, int]) -> list[str]:
    whole = [each for each in found if _urgent(each) or len(found) <= WHOLE]
    rest = found[len(whole) :]
    lines = [_counted(found)] if rest else []
    for each in whole:
        lines += [*([""] if rest else []), *_block(each, running)]
    if rest:
        rows = [(each.model, *_now(each), each.requests, each.errors, each.edits) for each in rest]
        lines += ["", *frame.table(rows, ("model", "state", "now", "last 24 h", "failed", "edited")), ""]
        lines += [f"{each.model}: {each.ended}" for each in rest if each.ended]
    lines += [] if found else ["no model yet: write models/NAME.yaml"]
    lines.append(f"running: {', '.join(running)}" if running else "nothing is running: tunekeeper up")
    return lines


def _counted(found: list[ModelStatus]) -> str:
    """How many models there are in each state, those that cannot wait first."""
    states = Counter(each.state for each in found)
    return f"{len(found)} models: {', '.join(f'{n} {state}' for state, n in states.items())}"


def _now(each: ModelStatus) -> tuple[str, str]:
    """The state and what else its verdict says; who shares the traffic, where several do."""
    told = each.verdict.removeprefix(f"{each.state.upper()}: {each.model}, ")
    shares = [f"{s.slot.removeprefix(f'{each.model}/')} {s.weight / 100:g} %" for s in each.shares]
    return each.state, ", ".join([told, *shares]) if len(shares) > 1 else told


def _block(each: ModelStatus, running: dict[str, int]) -> list[str]:
    """One model whole: its verdict, who answers, what was asked, what went wrong."""
    rows = [(s.slot, s.version, s.variant, f"{s.weight / 100:g} %", s.observed if running else None) for s in each.shares]
    return [
        each.verdict,
        *(f"  {row}" for row in (frame.table(rows, ("slot", "version", "role", "traffic", "server")) if rows else ())),
        *(f"  {s.slot}: {s.reason}" for s in each.shares if running and s.reason),
        f"  last 24 h: {each.requests} requests, {each.errors} failed, {each.edits} edited",
        *([f"  {each.ended}"] if each.ended else []),
        *([f"  collected {each.collected}"] if each.collected else []),
        *(f"  alert: {reason}" for reason in each.alerts[1:]),
        *(f"  once it is understood: tunekeeper incident close {id}" for id in each.incidents[:1]),
    ]


def history(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Lines at most, newest first.")] = 50,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """What was live when: every promotion and rollback, newest first.

    Example: tunekeeper history support-desk
    """
    from tunekeeper.store.ledgers.promotions import find_promotions

    ws = frame.workspace(dir, data)
    with ws.control.read() as tx:
        found = find_promotions(tx, model=model, newest_first=True, limit=min(limit, 1_000_000))
    if not found:
        frame.refuse_unknown(model, dir, data)
    rows = [
        (f"{p.created:%Y-%m-%d %H:%M:%S}" if p.created else None, p.kind, p.version, p.champion, p.left or p.previous)
        for p in found
    ]
    lines = frame.table(rows, ("when", "what", "version", "slot", "before")) if rows else [f"nothing of {model} was ever live"]
    return frame.emit({"model": model, "promotions": found}, json, lines)
