"""When a number is an alarm, and when an alarm is a reason to retrain. Pure.

A number with too few samples behind it is neither an alarm nor an all-clear: an alert that fired stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tunekeeper.core.nouns.monitoring import Signal
from tunekeeper.monitoring.config import Config

Holds = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One alarm line."""

    id: str
    """Requirement id."""
    signal: str
    """Name of the signal it looks at."""
    direction: Literal["above", "below"]
    """Which side of the limit is bad."""
    limit: float
    """The line, in the signal's own unit."""
    enough: int
    """Samples below which it says nothing."""
    severity: Literal["warning", "critical"] = "warning"
    """How bad."""
    unit: str = "%"
    """How the number is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one rule says of one window."""

    rule: Rule
    """The rule."""
    holds: Holds
    """yes, no, or unknown for want of data."""
    reason: str
    """One sentence with the number, its count and the line."""
    signal: Signal | None
    """The signal it looked at."""
    certain: bool = False
    """Whether the interval alone excludes the line."""


def rules_of(config: Config, baseline: Mapping[str, float]) -> tuple[Rule, ...]:
    """The rules of a model. `baseline`: day-one values; a rule relative to one that is missing is left out."""
    limits = config.limits
    # Effect size and calibration: a drift must pass the line and day one's own noise.
    terms = max(limits.vocabulary, baseline.get("vocabulary_drift_noise", 0.0))
    distance = max(limits.input, baseline.get("input_drift_noise", 0.0))
    fixed = (
        Rule(id="MON-01", signal="accuracy", direction="below", limit=limits.accuracy_alarm, enough=config.min_reviewed),
        Rule(id="MON-02", signal="format", direction="below", limit=limits.format, enough=config.min_samples),
        Rule(id="MON-03", signal="edit_rate", direction="above", limit=limits.edit_rate, enough=config.min_samples),
        Rule(
            id="RBK-13",
            signal="error_rate",
            direction="above",
            limit=limits.error_rate,
            enough=config.min_samples,
            severity="critical",
        ),
        Rule(id="DRIFT-06", signal="vocabulary_drift", direction="above", limit=terms, enough=config.min_samples),
        Rule(id="DRIFT-01", signal="input_drift", direction="above", limit=distance, enough=config.min_samples, unit=""),
    )
    return (*fixed, *_relative(config, baseline))


def _relative(config: Config, baseline: Mapping[str, float]) -> list[Rule]:
    limits, found = config.limits, []
    sure = baseline.get("confidence")
    if sure:
        line = (1 - limits.confidence_drop) * sure
        found.append(Rule(id="MON-04", signal="confidence", direction="below", limit=line, enough=config.min_samples, unit=""))
    p95 = baseline.get("latency_p95")
    if p95:
        line = max(limits.latency_ratio * p95, limits.latency_floor_ms)
        found.append(Rule(id="MON-05", signal="latency_p95", direction="above", limit=line, enough=config.min_samples, unit="ms"))
    return found


def look(rule: Rule, signal: Signal | None) -> Finding:
    """What `rule` says of `signal`."""
    if signal is None or signal.value is None or signal.n < rule.enough:
        n = signal.n if signal is not None else 0
        return Finding(
            rule=rule, holds="unknown", reason=f"{rule.signal}: {n} of {rule.enough} samples: not enough data", signal=signal
        )
    bad = signal.value > rule.limit if rule.direction == "above" else signal.value < rule.limit
    bound = signal.low if rule.direction == "above" else signal.high
    certain = bad and bound is not None and (bound > rule.limit if rule.direction == "above" else bound < rule.limit)
    reason = f"{rule.signal} is {_shown(signal.value, rule.unit)} (n={signal.n}), line {_shown(rule.limit, rule.unit)}"
    return Finding(rule=rule, holds="yes" if bad else "no", reason=reason, signal=signal, certain=certain)


def reason_to_retrain(latest: Sequence[Finding], streaks: Mapping[str, int], config: Config) -> tuple[str, str] | None:
    """The rule id of section 18 and one sentence, when the evidence is a reason to open a cycle; else None.

    `streaks`: signal → windows in a row on which its rule held, this one included. Outcomes (accuracy, edits) decide; drift alone
    is shown and never retrains (DRIFT-09). An outcome must be confirmed by a second window, or by an interval that
    excludes the line.
    """
    by_signal = {finding.rule.signal: finding for finding in latest}
    accuracy, edits = by_signal.get("accuracy"), by_signal.get("edit_rate")
    drifted = [f for name in ("vocabulary_drift", "input_drift") if (f := by_signal.get(name)) is not None and f.holds == "yes"]
    tail = "; " + "; ".join(f.reason for f in drifted) if drifted else ""
    if accuracy is not None and accuracy.holds == "yes" and _confirmed(accuracy, streaks, config):
        return "RETR-01", accuracy.reason + (f"; {edits.reason}" if edits is not None and edits.holds == "yes" else "") + tail
    if edits is not None and edits.holds == "yes" and _confirmed(edits, streaks, config):
        return ("RETR-02" if drifted else "RETR-06"), edits.reason + tail
    return None


def _confirmed(finding: Finding, streaks: Mapping[str, int], config: Config) -> bool:
    if finding.certain or streaks.get(finding.rule.signal, 0) >= config.confirm_windows:
        return True
    value = finding.signal.value if finding.signal is not None else None
    return finding.rule.signal == "accuracy" and value is not None and value < config.limits.accuracy_trigger


def _shown(value: float, unit: str) -> str:
    if unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.0f} {unit}" if unit else f"{value:.3f}"
