"""From the product's records to the figures of demo.json. Nothing here is made up: what was not measured is None."""

from __future__ import annotations

import math
from typing import Any

from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.demo.cast import MODEL, Demo
from tunekeeper.stats.intervals import wilson
from tunekeeper.store.ledgers.artifacts import load_artifact
from tunekeeper.store.ledgers.exams import load_exam
from tunekeeper.store.ledgers.runs import load_run
from tunekeeper.store.ledgers.signals import find_signals
from tunekeeper.store.ledgers.versions import load_version


def verdict_figures(right: int, n: int) -> dict[str, Any]:
    """A share with its 95 % interval."""
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = wilson(right, n)
    return {"value": right / n, "low": low, "high": high, "n": n}


def run_figures(demo: Demo, cycle: Cycle) -> dict[str, Any]:
    """What training cost and how its loss fell."""
    with demo.ws.state.read() as tx:
        version = load_version(tx, cycle.records["train"])
        run = load_run(tx, version.run or "")
    demo.screen.say(
        f"        {version.name}: loss {run.loss[0]:.3f} → {run.final_loss or math.nan:.3f}, {run.cpu_seconds or 0:.1f} CPU-s, "
        f"{run.tokens_per_second or 0:.0f} tokens/s"
    )
    return {
        "version": version.id,
        "run": run.id,
        "parent": run.parent,
        "dataset": run.dataset,
        "loss": list(run.loss),
        "seconds": run.seconds,
        "cpu_seconds": run.cpu_seconds,
        "tokens_per_second": run.tokens_per_second,
        "cost_usd": run.cost_usd,
    }


def artifact_figures(demo: Demo, cycle: Cycle) -> dict[str, Any]:
    """What will be served, and whether it answers as training did."""
    with demo.ws.state.read() as tx:
        artifact = load_artifact(tx, cycle.records["export"])
    parity = artifact.parity
    demo.screen.say(
        f"        {artifact.quantization}, {(artifact.bytes or 0) / 1e6:.2f} MB, parity: {parity.verdict if parity else 'none'}"
    )
    checks = (
        [{"layer": c.layer, "ok": c.ok, "detail": c.detail, "value": c.value, "limit": c.limit, "n": c.n} for c in parity.checks]
        if parity
        else []
    )
    return {
        "artifact": artifact.id,
        "digest": artifact.digest,
        "bytes": artifact.bytes,
        "quantization": artifact.quantization,
        "fallback_tensors": list(artifact.fallback_tensors),
        "parity": {"verdict": parity.verdict, "layer": parity.layer, "checks": checks} if parity else None,
    }


def exam_figures(demo: Demo, cycle: Cycle) -> dict[str, Any]:
    """The exam of a cycle and of what it was compared with."""
    with demo.ws.state.read() as tx:
        exam = load_exam(tx, cycle.records["evaluate"])
        other = load_exam(tx, exam.champion_exam) if exam.champion_exam else None
    figures = {"candidate": _exam(exam), "compared_with": _exam(other) if other is not None else None}
    for name, taken in figures.items():
        if taken is not None:
            metrics = ", ".join(
                _line(metric, each)
                for metric, each in taken["metrics"].items()
                if each["value"] is not None and not metric.startswith("latency")
            )
            demo.screen.say(f"        {name.replace('_', ' ')} {taken['version']}: {metrics}")
    if exam.verdict is not None:
        demo.screen.say(f"        verdict: {exam.verdict.outcome}: {'; '.join(exam.verdict.reasons)[:160]}")
    return figures


def signal_figures(demo: Demo) -> list[dict[str, Any]]:
    """Every measured number so far, oldest first."""
    with demo.ws.state.read() as tx:
        signals = find_signals(tx, model=MODEL)
    kept = [each for each in signals if each.segment == ""]
    return [
        {
            "name": s.name,
            "until": s.until.isoformat(),
            "value": s.value,
            "low": s.low,
            "high": s.high,
            "n": s.n,
            "detail": s.detail,
        }
        for s in kept
    ]


def rollout_figures(rollout: Rollout) -> dict[str, Any]:
    """Every look at a rollout's evidence, the counts behind its end, and a few lines to read."""
    last = rollout.checks[-1] if rollout.checks else None
    turns = [check for check in rollout.checks if check.action != "hold"]
    return {
        "id": rollout.id,
        "version": rollout.version,
        "strategy": rollout.strategy,
        "state": rollout.state,
        "phases": [{"percent": phase.weight / 100, "hours": phase.seconds / 3600} for phase in rollout.phases],
        "alpha": rollout.alpha,
        "margins": {"errors": rollout.margins.errors, "corrections": rollout.margins.corrections},
        "requests": {
            name: {k: v for k, v in m.items() if not k.startswith("log_")} for name, m in (last.metrics if last else {}).items()
        },
        "checks": [
            {"at": c.at.isoformat(), "phase": c.phase, "action": c.action, "reason": c.reason, "metrics": c.metrics}
            for c in rollout.checks
        ],
        "verdict": {"outcome": rollout.verdict.outcome, "reasons": list(rollout.verdict.reasons)} if rollout.verdict else None,
        "steps": [f"{check.action.replace('_', ' ')}: {check.reason}" for check in turns],
    }


def _exam(exam: Exam) -> dict[str, Any]:
    measured = exam.verdict.measured if exam.verdict is not None else {}
    return {
        "exam": exam.id,
        "version": exam.version,
        "suite": exam.suite,
        "suite_digest": exam.suite_digest,
        "cases": exam.cases,
        "verdict": exam.verdict.outcome if exam.verdict else None,
        "reasons": list(exam.verdict.reasons) if exam.verdict else [],
        "rules": list(exam.verdict.rules) if exam.verdict else [],
        "metrics": {name: {"value": e.value, "low": e.low, "high": e.high, "n": e.n} for name, e in measured.items()},
        "seconds": exam.seconds,
    }


def _line(metric: str, each: dict[str, Any]) -> str:
    interval = f" [{100 * each['low']:.1f}, {100 * each['high']:.1f}]" if each["low"] is not None else ""
    return f"{metric} {100 * each['value']:.1f} %{interval} n={each['n']}"
