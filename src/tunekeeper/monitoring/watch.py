"""One look at a model: measure the window that ended, tell who must know, notice a reason to retrain."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.monitoring import Alert, Baseline, Signal, Trigger
from tunekeeper.monitoring.baseline import ensure_baseline
from tunekeeper.monitoring.config import Config
from tunekeeper.monitoring.flags import mark
from tunekeeper.monitoring.measure import Number, Tally, is_well_formed, said_of
from tunekeeper.monitoring.rules import Finding, look, reason_to_retrain, rules_of
from tunekeeper.notify import queue
from tunekeeper.store.database import Lease, Read, Write
from tunekeeper.store.ledgers.alerts import find_alerts, save_alert
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.reviews import find_reviews
from tunekeeper.store.ledgers.signals import find_signals, load_signal, save_signal
from tunekeeper.store.ledgers.triggers import find_triggers, save_trigger
from tunekeeper.workspace import Workspace

MACHINE = "monitoring"
VALUES = 100
"""Most values of a segment that are measured each, those with most requests: customers bring as many as they like."""
OTHERS = "(others)"
"""What the other values are called together."""


def watch(
    ws: Workspace, model: str, config: Config, format_spec: Mapping[str, Any], *, lease: Lease | None = None
) -> tuple[Finding, ...]:
    """Measure the newest window that has ended and was not measured yet; returns what the rules say, empty when none is due.

    Measuring again after a kill saves nothing twice: a signal's id names its window.
    """
    until = window_end(ws.clock.utc(), config.every_hours)
    with ws.state.read() as tx:
        if _measured(tx, model, until):
            return ()
    baseline = ensure_baseline(ws, model, config, format_spec)
    since = max(
        until - timedelta(hours=config.window_hours), baseline.since if baseline is not None else datetime.min.replace(tzinfo=UTC)
    )
    features = baseline.features if baseline is not None else None
    measured = _measure(ws, model, (since, until), config.segments, format_spec, features)
    with ws.state.write(by=MACHINE, lease=lease) as tx:
        if _measured(tx, model, until):
            return ()
        signals = [
            save_signal(tx, _signal(model, since, until, segment, each)) for segment, group in measured.items() for each in group
        ]
        findings = _judge(tx, model, config, baseline, signals)
        mark(tx, [each.signal for each in findings if each.holds == "yes" and each.signal is not None])
        for finding in findings:
            _alert(tx, ws, model, finding)
        _notice(tx, ws, model, config, findings)
    return findings


def window_end(now: datetime, every_hours: float) -> datetime:
    """The last moment, on a grid of `every_hours` from the epoch, that is not after `now`."""
    step = every_hours * 3600
    return datetime.fromtimestamp(now.timestamp() // step * step, UTC)


def _measured(tx: Read, model: str, until: datetime) -> bool:
    try:
        load_signal(tx, _id(model, "requests", "", until))
    except NotFound:
        return False
    return True


def _id(model: str, name: str, segment: str, until: datetime) -> str:
    return f"{model}/{name}/{segment}/{until.isoformat()}"


def _measure(
    ws: Workspace,
    model: str,
    span: tuple[datetime, datetime],
    segments: Sequence[str],
    format_spec: Mapping[str, Any],
    features: Mapping[str, Any] | None,
) -> dict[str, tuple[Number, ...]]:
    """The numbers of a window: of all its requests, and of each segment `name=value`, of a name with very many values the
    smaller ones together. A request is read once, counted, let go."""
    since, until = span
    feedback = ws.log.feedback(since=since)
    with ws.state.read() as tx:
        said = said_of(feedback, find_reviews(tx, model=model, state="done"))
    largest = {name: _largest(ws, model, span, name) for name in segments}
    everything, parts = Tally(features), {name: dict[str, Tally]() for name in segments}
    for each in ws.log.each(model=model, since=since, until=until, purpose=("user",)):
        good = is_well_formed(each, format_spec)
        everything.add(each, said, well_formed=good)
        for name, tallies in parts.items():
            if name in each.segments:
                value = each.segments[name] if each.segments[name] in largest[name] else OTHERS
                tallies.setdefault(value, Tally()).add(each, said, well_formed=good)
    result = {"": everything.numbers()}
    for name, tallies in parts.items():
        result |= {f"{name}={value}": tallies[value].numbers() for value in sorted(tallies)}
    return result


def _largest(ws: Workspace, model: str, span: tuple[datetime, datetime], name: str) -> frozenset[str]:
    """The values of a segment that are measured each."""
    key = f"segment:{name}"
    sizes = ((-row.requests, value) for row in ws.log.window(model, *span, by=(key,)) if (value := row.key[key]) is not None)
    return frozenset(value for _, value in heapq.nsmallest(VALUES, sizes))


def _signal(model: str, since: datetime, until: datetime, segment: str, number: Number) -> Signal:
    return Signal(
        id=_id(model, number.name, segment, until),
        model=model,
        name=number.name,
        since=min(since, until),
        until=until,
        segment=segment,
        value=number.value,
        low=number.low,
        high=number.high,
        n=number.n,
        detail=number.detail,
    )


def _judge(tx: Write, model: str, config: Config, baseline: Baseline | None, signals: Sequence[Signal]) -> tuple[Finding, ...]:
    rules = rules_of(config, baseline.values if baseline is not None else {})
    segments = sorted({signal.segment for signal in signals})
    by_key = {(signal.segment, signal.name): signal for signal in signals}
    measured = [(rule, by_key.get((segment, rule.signal))) for segment in segments for rule in rules]
    return tuple(look(rule, signal) for rule, signal in measured if signal is not None)


def _alert(tx: Write, ws: Workspace, model: str, finding: Finding) -> None:
    segment = finding.signal.segment if finding.signal is not None else ""
    name = finding.rule.id + (f"[{segment}]" if segment else "")
    firing = next((each for each in find_alerts(tx, model=model, state="firing") if each.rule == name), None)
    if finding.holds == "yes" and finding.signal is not None:
        samples = tuple(finding.signal.detail.get("requests", ()))
        if firing is not None:
            save_alert(tx, replace(firing, reason=finding.reason, signal=finding.signal.id, samples=samples))
            return
        alert = Alert(
            id=ws.new_id("alr"),
            model=model,
            rule=name,
            severity=finding.rule.severity,
            reason=finding.reason,
            signal=finding.signal.id,
            samples=samples,
            since=ws.clock.utc(),
        )
        save_alert(tx, alert)
        queue(tx, kind="alert", subject=f"{model}: {name} {finding.rule.signal}", text=finding.reason, id=alert.id)
    elif finding.holds == "no" and firing is not None:
        save_alert(tx, replace(firing, state="resolved", until=ws.clock.utc()))
        queue(tx, kind="alert", subject=f"{model}: {name} resolved", text=finding.reason, id=f"{firing.id}/resolved")


def _notice(tx: Write, ws: Workspace, model: str, config: Config, findings: Sequence[Finding]) -> None:
    overall = [finding for finding in findings if finding.signal is not None and finding.signal.segment == ""]
    taken = {cycle.trigger: cycle.id for cycle in find_cycles(tx, model=model) if cycle.trigger}
    waiting = find_triggers(tx, model=model, state="open")
    for trigger in waiting:
        if trigger.id in taken:
            save_trigger(tx, replace(trigger, state="taken", cycle=taken[trigger.id]))
    reason = reason_to_retrain(overall, streaks(tx, model, overall), config)
    if reason is None or any(trigger.id not in taken for trigger in waiting):
        return
    alerts = [each.id for each in find_alerts(tx, model=model, state="firing")]
    signals = [finding.signal.id for finding in overall if finding.holds == "yes" and finding.signal is not None]
    trigger = Trigger(id=ws.new_id("trg"), model=model, reason=reason[0], summary=reason[1], evidence=(*alerts, *signals))
    save_trigger(tx, trigger)
    queue(tx, kind="trigger", subject=f"{model}: a reason to retrain ({reason[0]})", text=reason[1], id=trigger.id)


def streaks(tx: Read, model: str, findings: Sequence[Finding]) -> dict[str, int]:
    """Signal → windows in a row, ending with the newest, on which its rule held."""
    result: dict[str, int] = {}
    for finding in findings:
        past = find_signals(tx, model=model, name=finding.rule.signal, newest_first=True)
        count = 0
        for signal in (each for each in past if each.segment == ""):
            if look(finding.rule, signal).holds != "yes":
                break
            count += 1
        result[finding.rule.signal] = count
    return result
