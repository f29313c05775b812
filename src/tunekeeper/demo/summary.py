"""The whole demo as one document (demo.json) and as one screen."""

from __future__ import annotations

from typing import Any

from tunekeeper.demo.journal import Journal
from tunekeeper.demo.story import STORY


def collect(journal: Journal, *, version: str, seed: int, tickets: int) -> dict[str, Any]:
    """demo.json: every act's figures, and what most readers look for first. `tickets`: how many the users' own record holds."""
    acts = {act.name: journal.figures(act.name) for act in STORY}
    exam_1, exam_2 = acts["evaluate"], acts["cycle"].get("exam", {})
    requests = {
        name: sum(act.get("requests", {}).get(name, 0) for act in acts.values()) for name in ("sent", "answered", "failed")
    }
    simulated = sum((act.get("traffic") or {}).get("sent", 0) for act in acts.values())
    # A demo that was killed left requests in the users' record whose outcome its counts do not hold.
    requests["in_acts_cut_off"] = max(tickets - simulated, 0)
    return {
        "tunekeeper": version,
        "seed": seed,
        "stages": [{"name": name, "title": act.get("title", name), **act.get("spent", {})} for name, act in acts.items()],
        "wall_seconds": round(sum(act.get("spent", {}).get("wall_seconds", 0) for act in acts.values()), 1),
        "cpu_seconds": round(sum(act.get("spent", {}).get("cpu_seconds", 0) for act in acts.values()), 1),
        "accuracy": {
            "base": _accuracy(exam_1.get("compared_with")),
            "v1": _accuracy(exam_1.get("candidate")),
            "v1 live before the change": acts["traffic"].get("accuracy"),
            "v1 live after the change": acts["change"].get("accuracy"),
            "v1 on the new suite": _accuracy(exam_2.get("compared_with")),
            "v2": _accuracy(exam_2.get("candidate")),
        },
        "verdicts": {
            "v1": _verdict(exam_1.get("candidate")),
            "v2": _verdict(exam_2.get("candidate")),
            "canary of v2": acts["canary"].get("rollout", {}).get("verdict"),
            "bad candidate at the gate": _verdict(acts["bad"].get("exam", {}).get("candidate")),
            "bad candidate let through": acts["override"].get("rollout", {}).get("verdict"),
            "bad candidate after its incident": _verdict(acts["regression"].get("exam", {}).get("candidate"), first="regression"),
        },
        "alerts": acts["change"].get("alerts", []),
        "trigger": acts["change"].get("trigger"),
        "traffic": requests,
        "failed_requests": requests["failed"],
        "drill": acts["drill"].get("drill"),
        "acts": acts,
    }


def one_screen(figures: dict[str, Any]) -> list[str]:
    """The summary that fits on one screen; every number was measured in this run."""
    lines = ["", "What happened, in numbers of this run", ""]
    for name, value in figures["accuracy"].items():
        lines.append(f"  accuracy of {name:<26} {_share(value)}")
    lines.append("")
    for name, verdict in figures["verdicts"].items():
        if verdict is not None:
            lines.append(f"  {name:<34} {verdict['outcome'].upper()}: {'; '.join(verdict['reasons'])[:88]}")
    lines += ["", *_alerts(figures), *_drill(figures), ""]
    for stage in figures["stages"]:
        lines.append(
            f"  {stage['title'][:60]:<62} {stage.get('wall_seconds', 0):6.1f} s wall {stage.get('cpu_seconds', 0):7.1f} s CPU"
        )
    lines.append(f"  {'all':<62} {figures['wall_seconds']:6.1f} s wall {figures['cpu_seconds']:7.1f} s CPU")
    return lines


def _alerts(figures: dict[str, Any]) -> list[str]:
    overall = [alert for alert in figures["alerts"] if "[" not in alert["rule"]]
    lines = [f"  alert {alert['rule']}: {alert['reason']}" for alert in overall]
    apart = len(figures["alerts"]) - len(overall)
    lines += [f"  and {apart} alerts of single topics (tunekeeper monitor alerts)"] if apart else []
    trigger = figures["trigger"]
    return [*lines, f"  trigger {trigger['reason']}: {trigger['summary'][:100]}"] if trigger else lines


def _drill(figures: dict[str, Any]) -> list[str]:
    traffic = figures["traffic"]
    lost = f"; {traffic['in_acts_cut_off']} more in acts that were cut off" if traffic["in_acts_cut_off"] else ""
    lines = [f"  {traffic['sent']} requests sent, {traffic['answered']} answered, {traffic['failed']} failed{lost}"]
    drill = figures["drill"]
    if drill:
        lines.append(f"  rollback drill under load: {drill['back_ms']:.1f} ms back, {drill['forth_ms']:.1f} ms forth")
    return lines


def _accuracy(exam: dict[str, Any] | None) -> dict[str, Any] | None:
    return exam["metrics"].get("accuracy") if exam else None


def _verdict(exam: dict[str, Any] | None, first: str = "") -> dict[str, Any] | None:
    """What an exam said; the reasons that speak of `first` come first."""
    if not exam or not exam["verdict"]:
        return None
    return {"outcome": exam["verdict"], "reasons": sorted(exam["reasons"], key=lambda reason: first not in reason)}


def _share(value: dict[str, Any] | None) -> str:
    if value is None or value["value"] is None:
        return "not measured"
    interval = f" [{100 * value['low']:.1f}, {100 * value['high']:.1f}]" if value["low"] is not None else ""
    return f"{100 * value['value']:5.1f} %{interval} n={value['n']}"
