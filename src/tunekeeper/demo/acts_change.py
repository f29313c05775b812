"""Acts 7 to 9: the world changes, the system notices, and a better version takes over."""

from __future__ import annotations

from typing import Any

from tunekeeper import data as data_room
from tunekeeper.core.errors import OutsideError
from tunekeeper.core.nouns.monitoring import Alert, Trigger
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.demo.acts_first import RATE
from tunekeeper.demo.cast import MODEL, Demo
from tunekeeper.demo.figures import artifact_figures, exam_figures, rollout_figures, run_figures, signal_figures, verdict_figures
from tunekeeper.demo.suite import rewrite_suite
from tunekeeper.demo.watching import follow, rollout_of
from tunekeeper.demo.world import WORLD_2
from tunekeeper.store.ledgers.alerts import find_alerts
from tunekeeper.store.ledgers.baselines import find_baselines
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.datasets import load_dataset
from tunekeeper.store.ledgers.triggers import load_trigger

DAY = 86_400.0
REQUESTS_A_DAY = 60
MOST_REQUESTS = 1_500
CANARY_FACTOR = 900.0
"""Workspace seconds per real second: the 2 h and 4 h phases wait 8 and 16 s."""


def change(demo: Demo) -> dict[str, Any]:
    """Users of the changed world until the system opens a cycle by itself; the desk's lead updates the suite's answers."""
    changed = rewrite_suite(demo.folder)
    demo.screen.say(f"        the desk's lead rewrote {changed} answers of the suite to the new policy")
    changed_at = demo.journal.noted("changed at") or demo.ws.clock.utc().isoformat()
    demo.journal.note("changed at", changed_at)
    crowd = demo.crowd(WORLD_2, RATE, seed=2)
    crowd.start(MOST_REQUESTS)
    with demo.pace(DAY * RATE / REQUESTS_A_DAY):
        while _triggered(demo) is None:
            if not crowd.running():
                raise OutsideError(
                    f"no cycle opened within {MOST_REQUESTS} requests of the changed world", fix="tunekeeper status"
                )
            demo.expert()
            demo.screen.at(f"users: {crowd.tally.answered} answered, {crowd.tally.edits} edited", None)
            demo.pause(0.2)
    crowd.stop()
    cycle = _triggered(demo)
    assert cycle is not None
    with demo.ws.state.read() as tx:
        trigger = load_trigger(tx, cycle.trigger or "")
        alerts = find_alerts(tx, model=MODEL)
        baselines = find_baselines(tx, model=MODEL)
    for alert in alerts:
        demo.screen.say(f"        alert {alert.rule}: {alert.reason}")
    for name in ("accuracy", "edit_rate", "vocabulary_drift", "input_drift"):
        demo.screen.say(f"        {name}: {_course(demo, name)}")
    demo.screen.say(f"        trigger {trigger.reason} opened cycle {cycle.number}: {cycle.why}")
    return {
        "traffic": demo.add(crowd),
        "accuracy": verdict_figures(crowd.tally.right, crowd.tally.answered),
        "suite_answers_changed": changed,
        "changed_at": changed_at,
        "baseline": {"n": baselines[-1].n, "values": baselines[-1].values} if baselines else None,
        "signals": signal_figures(demo),
        "alerts": [_alert(each) for each in alerts],
        "trigger": _trigger(trigger),
        "cycle": cycle.id,
    }


def cycle(demo: Demo) -> dict[str, Any]:
    """Corrections become dataset 2, the adapter is trained on, the exam is taken against the champion."""
    opened = _triggered(demo)
    assert opened is not None
    now = follow(demo, opened.id, until="approve")
    if now.state != "open":
        raise OutsideError(f"cycle {now.number} closed as {now.state}: {now.closed_why}", fix="tunekeeper status")
    with demo.ws.state.read() as tx:
        dataset = load_dataset(tx, now.records["data"])
    difference = data_room.diff(demo.ws, dataset.parent or "", dataset.id)
    counts = difference.counts
    words = ", ".join(difference.new_words[:8]) or "none"
    demo.screen.say(f"        {dataset.parent} → {dataset.id}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    demo.screen.say(f"        words that are new in it: {words}; {now.notes.get('data', '')}")
    exam = exam_figures(demo, now)
    return {
        "cycle": now.id,
        "dataset": dataset.id,
        "diff": counts,
        "new_words": list(difference.new_words),
        "notes": now.notes,
        "train": run_figures(demo, now),
        "export": artifact_figures(demo, now),
        "exam": exam,
    }


def canary(demo: Demo) -> dict[str, Any]:
    """Traffic moves in steps while users are served; nothing but the evidence decides."""
    opened = _triggered(demo)
    assert opened is not None
    follow(demo, opened.id, until="rollout")
    crowd = demo.crowd(WORLD_2, RATE, seed=3)
    crowd.start()
    try:
        with demo.pace(CANARY_FACTOR):
            closed = follow(demo, opened.id, meanwhile=demo.expert)
    finally:
        crowd.stop()
    rollout = rollout_of(demo, closed)
    assert rollout is not None
    figures = rollout_figures(rollout)
    for line in figures["steps"]:
        demo.screen.say(f"        {line}")
    if closed.state != "promoted":
        raise OutsideError(f"cycle {closed.number} closed as {closed.state}: {closed.closed_why}", fix="tunekeeper status")
    return {"traffic": demo.add(crowd), "rollout": figures, "cycle": closed.id, "state": closed.state}


def _course(demo: Demo, name: str) -> str:
    """How a measured number moved, first to last."""
    seen = [each for each in signal_figures(demo) if each["name"] == name and each["value"] is not None and each["n"] >= 15]
    picked = seen[:: max(len(seen) // 6, 1)]
    return " → ".join(f"{each['value']:.3f} (n={each['n']})" for each in picked) or "not measured"


def _triggered(demo: Demo) -> Cycle | None:
    with demo.ws.state.read() as tx:
        return next((each for each in find_cycles(tx, model=MODEL) if each.reason == "trigger"), None)


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "rule": alert.rule,
        "state": alert.state,
        "severity": alert.severity,
        "reason": alert.reason,
        "since": alert.since.isoformat() if alert.since else None,
        "samples": list(alert.samples),
    }


def _trigger(trigger: Trigger) -> dict[str, Any]:
    return {"id": trigger.id, "reason": trigger.reason, "summary": trigger.summary, "evidence": list(trigger.evidence)}
