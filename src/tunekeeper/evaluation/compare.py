"""Two exams on the same cases: what was fixed, what was broken. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.evaluation import Case, Estimate, Suite
from tunekeeper.evaluation.results import Result, estimate, judged, primary, values
from tunekeeper.stats.paired import difference_of_scores, mcnemar


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """One case whose answer changed from wrong to right or back."""

    case: str
    """Case id."""
    category: str
    """Slice."""
    before: str
    """The old answer."""
    after: str
    """The new answer."""
    reason: str
    """Why the wrong one is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The paired comparison of two exams."""

    difference: Estimate
    """Accuracy new - old, two-sided 95 %."""
    p: float
    """McNemar mid-p."""
    fixed: tuple[Flip, ...]
    """Wrong before, right now."""
    broken: tuple[Flip, ...]
    """Right before, wrong now."""
    slices: dict[str, tuple[Estimate, Estimate]]
    """Category → accuracy before and now."""
    changed: tuple[str, ...] = ()
    """Cases that the two were asked in other words or with another expectation; they are not compared."""


def exams(suite: Suite, new: Sequence[Result], old: Sequence[Result], earlier: Suite | None = None) -> Comparison:
    """Compare accuracy on the cases that both exams judged. `earlier`: the suite of the old exam, where it may be another
    edition; cases that it asked otherwise are left out."""
    scorer, changed = primary(suite), set() if earlier is None else changed_cases(suite, earlier)
    new, old = ([r for r in results if r.case not in changed] for results in (new, old))
    mine, theirs = values(new, "accuracy", scorer), values(old, "accuracy", scorer)
    both = [case for case, a in mine.items() if a is not None and theirs.get(case) is not None]
    after, before = {r.case: r for r in new}, {r.case: r for r in old}
    a, b = [mine[c] or 0.0 for c in both], [theirs[c] or 0.0 for c in both]
    fixed = [_flip(before[c], after[c], before[c], scorer) for c, x, y in zip(both, a, b, strict=True) if x > y]
    broken = [_flip(before[c], after[c], after[c], scorer) for c, x, y in zip(both, a, b, strict=True) if x < y]
    low, high = difference_of_scores(a, b)
    value = (sum(a) - sum(b)) / len(both) if both else None
    return Comparison(
        difference=Estimate(value=value, low=low if both else None, high=high if both else None, n=len(both)),
        p=mcnemar(len(fixed), len(broken)),
        fixed=tuple(fixed),
        broken=tuple(broken),
        slices=slices(old, new, scorer),
        changed=tuple(sorted(changed)),
    )


def changed_cases(suite: Suite, earlier: Suite) -> set[str]:
    """Ids of the cases that two editions of a suite share by name and not by what they ask or expect."""
    before = {case.id: content_of(case) for case in earlier.cases}
    return {case.id for case in suite.cases if before.get(case.id, content_of(case)) != content_of(case)}


def content_of(case: Case) -> str:
    """What makes two cases the same question with the same expectation."""
    return digest_json([list(case.messages), case.expected])


def slices(old: Sequence[Result], new: Sequence[Result], scorer: str) -> dict[str, tuple[Estimate, Estimate]]:
    """Accuracy per category, before and now; cases without a category are left out."""
    names = sorted({r.category for r in (*old, *new) if r.category})
    return {name: (_accuracy(old, name, scorer), _accuracy(new, name, scorer)) for name in names}


def _accuracy(results: Sequence[Result], category: str, scorer: str) -> Estimate:
    return estimate(judged(values([r for r in results if r.category == category], "accuracy", scorer)))


def _flip(before: Result, after: Result, wrong: Result, scorer: str) -> Flip:
    return Flip(
        case=after.case,
        category=after.category,
        before=before.answer or "",
        after=after.answer or "",
        reason=wrong.scores[scorer][1] if scorer in wrong.scores else wrong.error or "",
    )
