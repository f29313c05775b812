"""`tunekeeper monitor`: what was measured, what is an alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tunekeeper.cli import frame, monitorarms

app = frame.group("Stage 5: windows, baselines, alerts, versions side by side.")
Since = Annotated[str | None, typer.Option("--since", help="From when: 24h, 7d, or a date.")]


@app.command()
def windows(model: frame.Model, since: Since = None, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """List measured numbers, oldest first, each with its interval and count.

    Example: tunekeeper monitor windows --model support-desk --since 7d
    """
    from tunekeeper.store.ledgers.signals import find_signals

    ws = frame.workspace(dir)
    start = frame.moment(since, ws.clock)
    with ws.state.read() as tx:
        known = find_signals(tx, model=model)
    if not known:
        frame.refuse_unknown(model, dir)
    signals = [each for each in known if start is None or each.until >= start]
    rows: list[list[Any]] = [
        [
            f"{each.until:%Y-%m-%d %H:%M}",
            each.name,
            each.segment or "all",
            _round(each.value),
            _round(each.low),
            _round(each.high),
            each.n,
        ]
        for each in signals
    ]
    return frame.emit(signals, json, frame.table(rows, ["until", "signal", "segment", "value", "low", "high", "n"]))


@app.command()
def alerts(
    model: Annotated[str | None, typer.Option("--model", help="Only this model.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    dir: frame.Dir = None,
    data: frame.Data = None,
    json: frame.Json = False,
) -> int:
    """List alerts that fire, with the numbers behind them.

    Example: tunekeeper monitor alerts --model support-desk
    """
    from tunekeeper.store.ledgers.alerts import find_alerts

    with frame.workspace(dir, data).state.read() as tx:
        found = find_alerts(tx, model=model, state=None if all else "firing")
    if not found:
        frame.refuse_unknown(model, dir, data)
    whose = {each.id: "" if model is not None else f"{each.model} " for each in found}
    lines = [
        f"{each.state.upper()} {whose[each.id]}{each.rule} since {each.since:%Y-%m-%d %H:%M}: {each.reason}" for each in found
    ]
    return frame.emit(found, json, lines or ["nothing fires"])


@app.command()
def baseline(model: frame.Model, dir: frame.Dir = None, json: frame.Json = False) -> int:
    """Show the day-one baseline of the newest version that has one.

    Example: tunekeeper monitor baseline --model support-desk
    """
    from tunekeeper.core.errors import NotFound
    from tunekeeper.store.ledgers.baselines import find_baselines

    with frame.workspace(dir).state.read() as tx:
        found = find_baselines(tx, model=model, newest_first=True, limit=1)
    if not found:
        frame.refuse_unknown(model, dir)
        raise NotFound(
            f"{model} has no baseline yet: too few users were answered since its promotion",
            fix=f"tunekeeper status {model}",
        )
    newest = found[0]
    lines = [f"{newest.version}: day one of {newest.n} requests from {newest.since:%Y-%m-%d %H:%M}"]
    return frame.emit(newest, json, [*lines, *(f"  {name:<18} {_round(value)}" for name, value in newest.values.items())])


app.registered_commands.extend(monitorarms.app.registered_commands)


@app.command()
def prometheus(
    out: Annotated[Path | None, typer.Option("--out", help="File to write; it must not exist. Default: stdout.")] = None,
    dry_run: frame.DryRun = False,
    json: frame.Json = False,
) -> int:
    """Give alert rules for Prometheus over the gateways' /metrics: name them under `rule_files` in prometheus.yml.

    Example: tunekeeper monitor prometheus --out tunekeeper-alerts.yml
    """
    from importlib.resources import files

    from tunekeeper.core.errors import UserError
    from tunekeeper.store.place import file_at, whole

    text = (files("tunekeeper.monitoring") / "prometheus.yml").read_text("utf-8")
    alerts = [line.split(": ", 1)[1] for line in text.splitlines() if line.lstrip().startswith("- alert: ")]
    if out is None:
        return frame.emit({"alerts": alerts, "rules": text, "out": None}, json, text.splitlines())
    if file_at(out).exists():
        raise UserError(f"{out} exists already", fix="name a file that does not")
    if not dry_run:
        with whole(out) as part:
            part.write_text(text, "utf-8")
    verb = "would write" if dry_run else "wrote"
    return frame.emit({"alerts": alerts, "rules": text, "out": str(out)}, json, f"{verb} {len(alerts)} alerts to {out}")


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
