"""`tunekeeper status` and `tunekeeper history`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tunekeeper.cli import frame

if TYPE_CHECKING:
    from tunekeeper.overview import ModelStatus


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
    found.sort(key=lambda each: (each.state not in ("alert", "incident", "not serving" if each.shares else ""), each.model))
    running = ending.running(ws.root)
    sinks = away(ws.root, [each.label for each in config.log.sinks])
    document = {"project": config.name, "running": running, "models": found, "sinks_away": sinks}
    waiting = [f"sink {name} takes no records: {why}" for name, why in sinks.items()]
    return frame.emit(document, json, lambda: [*_lines(found, running), *waiting])


def _lines(found: list[ModelStatus], running: dict[str, int]) -> list[str]:
    lines: list[str] = []
    for each in found:
        lines.append(each.verdict)
        rows = [(s.slot, s.version, s.variant, f"{s.weight / 100:g} %", s.observed if running else None) for s in each.shares]
        lines += [f"  {row}" for row in frame.table(rows, ("slot", "version", "role", "traffic", "server"))] if rows else []
        lines += [f"  {s.slot}: {s.reason}" for s in each.shares if running and s.reason]
        lines.append(f"  last 24 h: {each.requests} requests, {each.errors} failed, {each.edits} edited")
        lines += [f"  {each.ended}"] if each.ended else []
        lines += [f"  collected {each.collected}"] if each.collected else []
        lines += [f"  alert: {reason}" for reason in each.alerts[1:]]
    lines += [] if found else ["no model yet: write models/NAME.yaml"]
    lines.append(f"running: {', '.join(running)}" if running else "nothing is running: tunekeeper up")
    return lines


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
