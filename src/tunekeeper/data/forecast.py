"""How many more examples would help, and where: a learning curve through the exams on record. Pure, and trains nothing.

The error of a model over the size n of what it learned falls as a power law towards a floor, err(n) = a * n^-b + c, over many
tasks and sizes (Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically"; its exponents lie between 0.07 and
0.35 for large sets, 0.5 is the usual bound of theory; the floor is what no data removes, such as wrong labels). The interval
comes from drawing the cases anew (all sizes answered the same ones, so a hard case is hard for every size) and from how far the
exams lie from the curve.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tunekeeper.core.nouns.evaluation import Estimate
from tunekeeper.stats.special import t_quantile

if TYPE_CHECKING:
    import numpy as np

LEAST_SIZES = 3
"""Different sizes below which no curve is drawn: it has three unknowns."""
LEAST_SPAN = 1.5
"""Largest size over smallest, below which the sizes say too little."""
LEAST_CASES = 20
"""Cases that every exam asked, below which nothing is estimated."""
STEEPEST = 1.0
"""Largest exponent; a steeper fall is noise."""
FAR = 0.05
"""Distance from the curve, in error, beyond which a point counts less."""
ROUNDS = 4
"""How often the weights of far points are worked out anew."""
DRAWS = 400
"""How often the cases are drawn anew."""
RUN_NOISE = 0.01
"""Standard deviation of the error, 0 to 1, between two runs of one recipe on the same rows with other seeds."""
RUNS_KNOWN = 3
"""Exams that this is worth beside those there are."""
SEED = 20_170
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Sitting:
    """One exam of a model that learned from a dataset version."""

    dataset: str
    """The version."""
    size: int
    """Rows it has to learn from."""
    topics: dict[str, int]
    """Topic → rows of them."""
    exam: str
    """The exam."""
    values: dict[str, float]
    """Case → what it scored, 0 to 1."""
    categories: dict[str, str]
    """Case → its topic; empty where it has none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """err(n) = a * n^-b + c, all three at least 0."""

    a: float
    """Error above the floor at n = 1."""
    b: float
    """How steeply it falls, 0 to `STEEPEST`."""
    c: float
    """What no amount of data removes."""

    def error(self, n: float) -> float:
        """The error at `n` examples, at most 1."""
        return min(1.0, float(self.a * max(n, 1.0) ** -self.b + self.c))


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What was measured at one size."""

    dataset: str
    """The version."""
    size: int
    """Rows it has to learn from."""
    value: float
    """Mean score of the cases that all exams asked, 0 to 1."""
    cases: int
    """How many those are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """What more examples of a topic would bring."""

    topic: str | None
    """The topic; None for the set as it is mixed today."""
    examples: int
    """Rows of it that the newest version learns from."""
    cases: int
    """Cases about it."""
    value: float | None
    """Mean score of the newest exam on them."""
    points: Estimate
    """Points of a hundred, over all cases, that the asked number of examples more would bring; no value where it is unknown."""
    weight: float
    """Part of all errors that are in this topic, 0 to 1, for its number of rows: by it topics are ranked that have no curve."""
    why: str = ""
    """Why there is no curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What more examples would bring."""

    verdict: Literal["estimated", "inconclusive"]
    """Whether there is a curve for the whole set."""
    why: str
    """Why not, naming what is missing; empty when there is."""
    metric: str
    """What was measured."""
    more: int
    """Examples more that are asked about."""
    points: tuple[Point, ...]
    """What was measured, by size."""
    curve: Curve | None
    """The curve for the whole set."""
    floor: Estimate
    """Points of a hundred that no amount of data removes; no value without a curve."""
    overall: Gain | None
    """What the examples would bring, mixed as they are today."""
    next_point: int | None
    """Examples more that bring one point of a hundred; None without a curve, or when no number does."""
    next_low: int | None
    """How many those are at least; None without a curve, or when it is sure that no number does."""
    next_high: int | None
    """How many those are at most; None without a curve, or when it may be that no number does."""
    topics: tuple[Gain, ...]
    """The same per topic, the most promising first."""


def forecast(sittings: Sequence[Sitting], *, metric: str = "accuracy", more: int | None = None, draws: int = DRAWS) -> Forecast:
    """What `more` examples would bring (None: half as many as there are). `sittings`: finished exams of one suite."""
    shared = sorted(set.intersection(*(set(s.values) for s in sittings))) if sittings else []
    by_size = sorted(sittings, key=lambda s: (s.size, s.dataset, s.exam))
    newest = sittings[-1] if sittings else None
    asked = more if more is not None else max(10, (newest.size if newest else 20) // 2)
    points = tuple(
        Point(dataset=s.dataset, size=s.size, value=_mean([s.values[case] for case in shared]), cases=len(shared))
        for s in by_size
        if shared
    )
    sizes, errors = [s.size for s in by_size], _errors(by_size, shared)
    trouble = _missing(sizes, len(shared)) or _rises(sizes, errors)
    drawn = overall = None
    following: tuple[int | None, ...] = (None, None, None)
    if not trouble and newest is not None:
        drawn, size = _drawn(sizes, errors, draws), newest.size
        overall = _gain(None, drawn, size, _mean([newest.values[case] for case in shared]), asked, len(shared))
        enough = drawn.edges(lambda curve: needed(curve, size, 0.01) or math.inf)
        following = (needed(drawn.curve, size, 0.01), *(None if math.isinf(edge) else int(edge) for edge in enough))
    return Forecast(
        verdict="inconclusive" if trouble else "estimated",
        why=trouble,
        metric=metric,
        more=asked,
        points=points,
        curve=None if drawn is None else drawn.curve,
        floor=Estimate(value=None) if drawn is None else drawn.estimate(lambda curve: 100 * curve.c),
        overall=overall,
        next_point=following[0],
        next_low=following[1],
        next_high=following[2],
        topics=_by_topic(by_size, newest, shared, asked, draws),
    )


def fit(sizes: Sequence[int], errors: Sequence[float]) -> Curve:
    """The curve through mean errors at sizes: bounded, under a soft loss, so that one odd exam does not bend it.

    `sizes`: at least 1 each; `errors`: 0 to 1.
    """
    import numpy as np

    a, b, c = (float(each[0]) for each in _fitted(sizes, np.asarray([errors], float)))
    return Curve(a=a, b=b, c=c)


def _fitted(sizes: Sequence[int], errors: np.ndarray[Any, Any]) -> tuple[Any, Any, Any]:
    """a, b and c for each row of `errors` (draws x sizes). For a given exponent the curve is a straight line over n^-b, which has
    one best factor and floor, both at least 0; each exponent of a grid is tried, with weights that make far points count less."""
    import numpy as np

    n = np.asarray(sizes, float)
    exponents = np.linspace(0.01, STEEPEST, 100)
    x = (n[None, :] / n.min()) ** -exponents[:, None]  # exponents x sizes
    y = errors[:, None, :]  # draws x 1 x sizes
    weight = np.ones((errors.shape[0], len(exponents), len(n)))
    for _ in range(ROUNDS):
        total = weight.sum(-1)
        mean_x, mean_y = (weight * x).sum(-1) / total, (weight * y).sum(-1) / total
        spread = (weight * (x - mean_x[..., None]) ** 2).sum(-1)
        slope = (weight * (x - mean_x[..., None]) * (y - mean_y[..., None])).sum(-1) / np.maximum(spread, 1e-300)
        a = np.maximum(slope, 0.0)
        c = mean_y - a * mean_x
        through_zero = (weight * x * y).sum(-1) / (weight * x * x).sum(-1)
        a, c = np.where(c < 0, np.maximum(through_zero, 0.0), a), np.maximum(c, 0.0)
        off = (a[..., None] * x + c[..., None] - y) / FAR
        weight = 1 / np.sqrt(1 + off**2)
    loss = (np.sqrt(1 + off**2) - 1).sum(-1)
    best = loss.argmin(axis=1)
    rows = np.arange(errors.shape[0])
    b = exponents[best]
    return a[rows, best] * n.min() ** b, b, c[rows, best]


def needed(curve: Curve, size: int, fall: float) -> int | None:
    """Examples beyond `size` after which the error has fallen by `fall` (0 to 1); None when it never does, or only beyond a
    thousand times the size."""
    goal = curve.error(size) - fall
    if curve.b <= 1e-6 or goal <= curve.c or curve.a <= 0:
        return None
    exponent = math.log((goal - curve.c) / curve.a) / -curve.b
    if exponent > math.log(1000 * size):
        return None
    return max(1, math.ceil(math.exp(exponent)) - size)


def _missing(sizes: Sequence[int], cases: int) -> str:
    """What is missing for a curve; empty when nothing is."""
    different = sorted(set(sizes))
    if len(different) < LEAST_SIZES:
        known = f" ({', '.join(map(str, different))})" if different else ""
        counted = f"exams of {len(different)} different sizes{known}"
        return f"{counted}, {LEAST_SIZES} are needed: train and examine a smaller or larger version"
    if cases < LEAST_CASES:
        return f"{cases} cases that every exam asked, {LEAST_CASES} are needed: examine the versions with the same suite"
    if different[-1] < LEAST_SPAN * different[0]:
        return (
            f"sizes from {different[0]} to {different[-1]} are too much alike: examine one {LEAST_SPAN:g} times as large or small"
        )
    return ""


def _rises(sizes: Sequence[int], errors: np.ndarray[Any, Any]) -> str:
    """That the error rises with the size, where neither the choice of cases nor how much exams differ anyhow explains it; empty
    else. No curve of ours rises: it would say that more examples bring nothing, where those that came did harm."""
    import numpy as np

    x, means = np.log(sizes), errors.mean(axis=1)
    pull = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    slopes = pull @ errors  # of each case
    slope = float(slopes.mean())
    off = means - means.mean() - slope * (x - x.mean())
    of_cases = 1.96 * float(slopes.std(ddof=1)) / math.sqrt(len(slopes))
    of_exams = t_quantile(0.975, len(sizes) - 2) * math.sqrt(float(off @ off) / (len(sizes) - 2) * float(pull @ pull))
    if slope <= max(of_cases, of_exams):
        return ""
    told = f"from {means[0]:.1%} of {sizes[0]} rows to {means[-1]:.1%} of {sizes[-1]}"
    return f"the error rises with the size, {told}: see with `tunekeeper data diff` what came in"


def _errors(sittings: Sequence[Sitting], cases: Sequence[str]) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.array([[1.0 - s.values[case] for case in cases] for s in sittings])


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A curve, and those that there would be had other cases been asked and other runs been made."""

    curve: Curve
    cases: int
    others: tuple[Curve, ...]

    def estimate(self, of: Callable[[Curve], float]) -> Estimate:
        """What is told of the curve, with its interval."""
        value, low, high = of(self.curve), *self.edges(of)
        return Estimate(value=value, low=min(low, value), high=max(high, value), n=self.cases)

    def edges(self, of: Callable[[Curve], float]) -> tuple[float, float]:
        """Between what lies what is told of the others, but for the outermost; may be infinite."""
        ordered, tail = sorted(map(of, self.others)), (1 - CONFIDENCE) / 2
        return ordered[int(tail * len(ordered))], ordered[math.ceil((1 - tail) * len(ordered)) - 1]


def _drawn(sizes: Sequence[int], errors: np.ndarray[Any, Any], draws: int) -> _Drawn:
    """The curve through the errors (sizes x cases), and `draws` others."""
    import numpy as np

    means, cases = errors.mean(axis=1), errors.shape[1]
    curve = fit(sizes, means.tolist())
    rng = np.random.default_rng(SEED)
    noise = _noise([float(error) - curve.error(n) for error, n in zip(means, sizes, strict=True)])
    picked = rng.multinomial(cases, np.full(cases, 1 / cases), size=draws)  # how often each case is drawn
    drawn = np.clip(picked @ errors.T / cases + rng.normal(0.0, noise, (draws, len(sizes))), 0.0, 1.0)
    others = zip(*(each.tolist() for each in _fitted(sizes, drawn)), strict=True)
    return _Drawn(curve, cases, tuple(Curve(a=a, b=b, c=c) for a, b, c in others))


def _gain(topic: str | None, drawn: _Drawn, size: int, value: float, more: int, total: int) -> Gain:
    """What `more` examples bring on the cases behind the curves, in points over `total` cases. `size`, `value`: rows that the
    newest version learns from, and its mean score on them."""
    share = 100 * drawn.cases / total
    points = drawn.estimate(lambda curve: share * (curve.error(size) - curve.error(size + more)))
    return Gain(topic=topic, examples=size, cases=drawn.cases, value=value, points=points, weight=0.0)


def _noise(off: Sequence[float]) -> float:
    """How far exams lie from a curve that three numbers describe: what they do, and what two runs of one recipe differ by anyhow,
    since a curve goes through three exams whatever they say. Wider where little tells it, as Student's distribution is."""
    freedom = len(off) - 3 + RUNS_KNOWN
    spread = math.sqrt((math.fsum(each**2 for each in off) + RUNS_KNOWN * RUN_NOISE**2) / freedom)
    return spread * t_quantile(0.975, freedom) / 1.96


def _by_topic(
    sittings: Sequence[Sitting], newest: Sitting | None, shared: Sequence[str], more: int, draws: int
) -> tuple[Gain, ...]:
    """A gain per topic that has cases, the largest first, then those that have no curve, by their part of the errors."""
    if newest is None:
        return ()
    cases: dict[str, list[str]] = defaultdict(list)
    for case in newest.values:
        if newest.categories.get(case):
            cases[newest.categories[case]].append(case)
    everything = math.fsum(1 - value for value in newest.values.values())
    found = []
    for topic, mine in cases.items():
        common = [case for case in mine if case in set(shared)]
        sizes = [s.topics.get(topic, 0) for s in sittings]
        trouble = "a version has no row of it" if sittings and min(sizes) < 1 else _missing(sizes, len(common))
        trouble = trouble or _rises(sizes, _errors(sittings, common))
        errors = math.fsum(1 - newest.values[case] for case in mine)
        rows = newest.topics.get(topic, 0)
        if trouble:
            gain = _unknown(topic, rows, [newest.values[case] for case in mine], trouble)
        else:
            value = _mean([newest.values[case] for case in common])
            gain = _gain(topic, _drawn(sizes, _errors(sittings, common), draws), rows, value, more, len(shared))
        found.append((gain, _weight(errors, everything, rows, more)))
    weighed = [_with_weight(gain, weight) for gain, weight in found]
    return tuple(sorted(weighed, key=lambda g: (g.points.value is None, -(g.points.value or 0.0), -g.weight, g.topic or "")))


def _unknown(topic: str, rows: int, values: Sequence[float], why: str) -> Gain:
    return Gain(
        topic=topic, examples=rows, cases=len(values), value=_mean(values), points=Estimate(value=None), weight=0.0, why=why
    )


def _weight(errors: float, everything: float, rows: int, more: int) -> float:
    """A topic's part of all errors, times the part that `more` rows would be of its rows: much to mend, with few rows."""
    return errors / everything * more / (more + rows) if everything > 0 else 0.0


def _with_weight(gain: Gain, weight: float) -> Gain:
    return replace(gain, weight=weight)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def as_text(found: Forecast) -> list[str]:
    """The forecast for a reader: the answer first."""
    lines = []
    if found.overall is not None:
        lines.append(f"{found.more} more examples, mixed as today, would lift {found.metric} {_points(found.overall.points)}")
        lines.append(f"{_next(found)}; errors that no more data removes: {_points(found.floor)}")
    else:
        lines.append(f"inconclusive: {found.why}")
    for gain in found.topics:
        if gain.points.value is not None:
            lines.append(f"{found.more} more examples of `{gain.topic}` would lift {found.metric} {_points(gain.points)}")
    unknown = [gain for gain in found.topics if gain.points.value is None]
    if unknown:
        lines.append("without a curve, the most to mend for its rows first:")
        for gain in unknown:
            score = "unknown" if gain.value is None else f"{gain.value:.1%}"
            lines.append(f"  {gain.topic}: {found.metric} {score} on {gain.cases} cases, {gain.examples} rows ({gain.why})")
    return lines


def _next(found: Forecast) -> str:
    """How many examples bring one point more, and how sure that is."""
    if found.next_point is None:
        sure = "" if found.next_low is None else f", though {found.next_low} might"
        return f"no number of examples like these seems to bring one point{sure}"
    most = f"to {found.next_high}" if found.next_high is not None else "or more, or no number does"
    return f"about {found.next_point} more bring one point ({found.next_low} {most})"


def _points(points: Estimate) -> str:
    value, low, high = points.value or 0.0, points.low or 0.0, points.high or 0.0
    return f"{value:.1f} points ({low:.1f} to {high:.1f})"
