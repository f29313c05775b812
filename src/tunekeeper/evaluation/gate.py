"""The gate: criteria, a candidate's results and the champion's on the same cases in, a verdict out. Pure.

Three answers. pass: every blocking criterion is shown to hold. fail: one is shown not to. inconclusive: neither; the reason says
how many cases would do. A regression case that fails, fails the gate. No evidence is never a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunekeeper.core.nouns.evaluation import Criterion, Estimate, Outcome, Suite, Verdict
from tunekeeper.evaluation import latency
from tunekeeper.evaluation.config import Config
from tunekeeper.evaluation.results import REGRESSION, Result, estimate, judged, passes, primary, values
from tunekeeper.stats.paired import difference_of_scores, mcnemar, non_inferior
from tunekeeper.stats.power import cases_to_show

RULES = {"accuracy": "EVAL-07", "format": "EVAL-08"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What one rule says."""

    rule: str
    """Requirement id."""
    outcome: Outcome
    """Its answer."""
    reason: str
    """One sentence with numbers."""
    blocking: bool = True
    """Whether it can stop a version."""


def judge(suite: Suite, own: Sequence[Result], other: Sequence[Result] | None, section: Config, *, subject: str = "") -> Verdict:
    """Judge `own` results by the suite's criteria; `other`: the champion's or prompted base's on the same cases."""
    scorer = primary(suite)
    plain = [r for r in own if REGRESSION not in r.tags]
    theirs = None if other is None else [r for r in other if REGRESSION not in r.tags]
    lines = [*_enough(suite, plain, section)]
    silent = [r for r in plain if r.answer is None]
    if len(silent) > section.unanswered * len(plain):
        # A server that was away says nothing about the model: its silence is no wrong answer, and no pass either.
        lines.append(_silence(silent, len(plain)))
        plain = [r for r in plain if r.answer is not None]
    measured = measure(suite, plain)
    for criterion in suite.criteria:
        if criterion.margin is not None:
            line, found = _paired(criterion, plain, theirs, scorer, section)
            measured |= found
            lines.append(line)
        if criterion.at_least is not None or criterion.at_most is not None:
            lines.append(_absolute(criterion, judged(values(plain, criterion.metric, scorer)), section))
    line, found = _regression(suite, own, scorer)
    lines.append(line)
    measured |= found
    lines += _learned(plain)
    measured |= _unseen(plain, scorer)
    if theirs is not None:
        measured |= latency.compare(plain, theirs)
    return _verdict(lines, measured, subject)


def measure(suite: Suite, results: Sequence[Result]) -> dict[str, Estimate]:
    """Accuracy, format and every scorer's mean, with two-sided 95 % intervals."""
    scorer = primary(suite)
    names = dict.fromkeys(("accuracy", *(name for r in results for name in r.scores)))
    return {name: estimate(judged(values(results, name, scorer))) for name in names}


def _verdict(lines: Sequence[Line], measured: dict[str, Estimate], subject: str) -> Verdict:
    stops = [line for line in lines if line.blocking]
    outcome: Outcome = "pass"
    if any(line.outcome == "inconclusive" for line in stops):
        outcome = "inconclusive"
    if any(line.outcome == "fail" for line in stops):
        outcome = "fail"
    if not any(line.outcome == "pass" for line in stops):
        outcome = "inconclusive" if outcome == "pass" else outcome
    decided = [line for line in stops if line.outcome == outcome]
    order = [*decided, *(line for line in lines if line not in decided)]
    return Verdict(
        outcome=outcome,
        reasons=tuple(line.reason if line.blocking else f"{line.reason} (not blocking)" for line in order),
        rules=tuple(dict.fromkeys(line.rule for line in decided)),
        measured=measured,
        subject=subject,
    )


def _enough(suite: Suite, plain: Sequence[Result], section: Config) -> list[Line]:
    """Lines that only exist when evidence is missing."""
    lines = []
    n = len(plain)
    if n < section.min_cases:
        lines.append(Line(rule="EVAL-01", outcome="inconclusive", reason=f"{n} cases of at least {section.min_cases}"))
    if not suite.criteria:
        lines.append(Line(rule="EVAL-05", outcome="inconclusive", reason="no criteria were locked"))
    broken = [r for r in plain if any(value is None for value, _ in r.scores.values())]
    if len(broken) > section.unanswered * n:
        why = next(reason for value, reason in broken[0].scores.values() if value is None)
        lines.append(
            Line(rule="GATE-03", outcome="inconclusive", reason=f"{len(broken)} of {n} answers could not be judged: {why}")
        )
    return lines


def _silence(silent: Sequence[Result], n: int) -> Line:
    why = silent[0].error or "no answer"
    return Line(rule="GATE-03", outcome="inconclusive", reason=f"{len(silent)} of {n} cases got no answer: {why}")


def _absolute(criterion: Criterion, found: Sequence[float], section: Config) -> Line:
    rule = RULES.get(criterion.metric, "GATE-08")
    if not found:
        return Line(rule=rule, outcome="inconclusive", reason=f"{criterion.metric} was not measured", blocking=criterion.blocking)
    both = estimate(found, 2 * section.confidence - 1)
    assert both.value is not None
    low, high = both.low or 0.0, 1.0 if both.high is None else both.high
    said = f"{criterion.metric} {both.value:.1%} of {both.n} (one-sided {section.confidence:.0%} bounds {low:.1%} to {high:.1%})"
    outcome: Outcome = "pass"
    wanted = []
    for target, upward in ((criterion.at_least, True), (criterion.at_most, False)):
        if target is None:
            continue
        answer, asked = _against(target, upward, both.value, low, high, section)
        wanted.append(asked)
        if outcome == "pass" or (outcome == "inconclusive" and answer == "fail"):
            outcome = answer
    more = _how_many(criterion, both.value, section) if outcome == "inconclusive" else ""
    return Line(rule=rule, outcome=outcome, reason=f"{said}, asked {' and '.join(wanted)}{more}", blocking=criterion.blocking)


def _against(target: float, upward: bool, value: float, low: float, high: float, section: Config) -> tuple[Outcome, str]:
    asked = f"at {'least' if upward else 'most'} {target:.1%}"
    if section.judged_by == "estimate":
        return ("pass" if (value >= target if upward else value <= target) else "fail"), asked
    if low >= target if upward else high <= target:
        return "pass", asked
    return ("fail" if (high < target if upward else low > target) else "inconclusive"), asked


def _how_many(criterion: Criterion, value: float, section: Config) -> str:
    up = criterion.at_least is not None
    target = criterion.at_least if criterion.at_least is not None else criterion.at_most
    assert target is not None
    needed = cases_to_show(value if up else 1 - value, target if up else 1 - target, 2 * section.confidence - 1)
    return f"; at this rate {needed} cases would show it" if needed else "; more cases are needed"


def _paired(
    criterion: Criterion, own: Sequence[Result], other: Sequence[Result] | None, scorer: str, section: Config
) -> tuple[Line, dict[str, Estimate]]:
    metric, margin = criterion.metric, criterion.margin or 0.0
    if other is None:
        return Line(rule="GATE-01", outcome="pass", reason=f"{metric}: nothing live to compare with", blocking=False), {}
    mine, theirs = values(own, metric, scorer), values(other, metric, scorer)
    pairs = [(a, b) for case, a in mine.items() if a is not None and (b := theirs.get(case)) is not None]
    if len(pairs) < section.min_cases:
        said = f"{metric}: {len(pairs)} pairs with the champion of at least {section.min_cases}"
        return Line(rule="GATE-01", outcome="inconclusive", reason=said, blocking=criterion.blocking), {}
    new, old = [a for a, _ in pairs], [b for _, b in pairs]
    low, high = difference_of_scores(new, old, 2 * section.confidence - 1)
    value = sum(new) / len(new) - sum(old) / len(old)
    fixed, lost = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    said = (
        f"{metric} {value:+.1%} against the champion on {len(pairs)} same cases (bounds {low:+.1%} to {high:+.1%}; "
        f"{fixed} fixed, {lost} broken, p {mcnemar(fixed, lost):.3f}), margin {margin:.1%}"
    )
    line = Line(rule="GATE-01", outcome=non_inferior(low, high, margin), reason=said, blocking=criterion.blocking)
    return line, {f"{metric}_vs_champion": Estimate(value=value, low=low, high=high, n=len(pairs))}


def _regression(suite: Suite, own: Sequence[Result], scorer: str) -> tuple[Line, dict[str, Estimate]]:
    wanted = [case.id for case in suite.cases if REGRESSION in case.tags]
    if not wanted:
        return Line(rule="GATE-04", outcome="pass", reason="no regression cases yet", blocking=False), {}
    by_id = {r.case: r for r in own}
    bad = [case for case in wanted if case not in by_id or not passes(by_id[case], scorer)]
    found = {REGRESSION: estimate([0.0] * len(bad) + [1.0] * (len(wanted) - len(bad)))}
    said = f"{len(wanted) - len(bad)} of {len(wanted)} regression cases pass" + (
        f"; first failing: {', '.join(bad[:3])}" if bad else ""
    )
    outcome: Outcome = "pass"
    if bad:
        answered = any(case in by_id and by_id[case].answer is not None for case in bad)
        outcome = "fail" if answered else "inconclusive"
    return Line(rule="GATE-04", outcome=outcome, reason=said), found


def _learned(plain: Sequence[Result]) -> list[Line]:
    """A line where cases were learned: it decides nothing, and says what the figures are worth."""
    learned = [r.case for r in plain if r.learned]
    if not learned:
        return []
    said = f"{len(learned)} of {len(plain)} cases stand among the rows it learned, first {', '.join(learned[:3])}"
    return [Line(rule="EVAL-34", outcome="inconclusive", reason=f"{said}: see accuracy_unseen", blocking=False)]


def _unseen(plain: Sequence[Result], scorer: str) -> dict[str, Estimate]:
    """Accuracy on the cases that were held out, where others were learned."""
    held = [r for r in plain if not r.learned]
    return {} if len(held) == len(plain) else {"accuracy_unseen": estimate(judged(values(held, "accuracy", scorer)))}
