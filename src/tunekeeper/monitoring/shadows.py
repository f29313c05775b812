"""The answers of a shadow slot beside those that users got to the same requests (SHD-01..04): what differs, by how much, where.

A pair is a copy and the request that it copies. What says nothing about the model makes none: a request that its client left or
that our death cut off, and a copy that we ended ourselves. A request whose slot failed counts as a failure of that slot, whoever
answered its user in the end; only an answer of the slot itself is compared with the shadow's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tunekeeper.core.nouns.serving import Inference
from tunekeeper.monitoring.pairs import TRUTHS, Judge, Pair, Regression, tells
from tunekeeper.scoring.scorers import Exact, Scorer
from tunekeeper.stats.intervals import wilson
from tunekeeper.stats.paired import difference, difference_of_scores
from tunekeeper.stats.quantiles import quantile, quantile_interval
from tunekeeper.workspace import Workspace

LEAST = 1000
"""Pairs from which on a comparison says something (SHD-02)."""
SEGMENTS = 50
"""Most segments that are compared each, the largest ones."""
SAMPLES = 20
"""Regressions that are named."""
BATCH = 500
MEASURES = ("errors", "format", "score")
"""What decides whether the shadow is worse; more errors are worse, less of the others is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One measure of both sides, and how far the shadow is from what users got."""

    name: str
    """errors, format and score: shares from 0 to 1; latency_ms, words, completion_tokens, cost_usd: as they are called."""
    champion: float | None = None
    """Of what users got: the share, or the median."""
    shadow: float | None = None
    """Of the copies."""
    difference: float | None = None
    """shadow - champion: of shares, or the median of the pairs' own differences."""
    low: float | None = None
    """Lower end of the difference's interval; None where too few pairs give one."""
    high: float | None = None
    """Upper end."""
    champion_p95: float | None = None
    """95th percentile, of what is no share."""
    shadow_p95: float | None = None
    """As `champion_p95`, of the copies."""
    n: int = 0
    """Pairs behind it."""

    @property
    def worse(self) -> bool:
        """Whether the interval shows a loss."""
        if self.low is None or self.high is None or self.name not in MEASURES:
            return False
        return self.low > 0 if self.name == "errors" else self.high < 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The pairs of one segment, or all of them."""

    pairs: int
    """How many."""
    agreement: float | None
    """Share of the pairs with two answers that say the same: equal JSON, equal text but for white space, equal tool calls."""
    agreement_low: float
    """Lower end of its interval."""
    agreement_high: float
    """Upper end."""
    compared: int
    """Pairs with two answers."""
    differences: tuple[Difference, ...]
    """Every measure that both sides have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What the copies of a window say."""

    model: str
    """The model."""
    versions: tuple[str, ...]
    """Versions that answered copies."""
    copies: int
    """Copies in the log."""
    set_aside: int
    """Copies that make no pair: of requests that were left or cut off, or ended by us."""
    unpaired: int
    """Copies whose request the log does not hold."""
    least: int
    """Pairs that were asked for."""
    verdict: Literal["worse", "not_enough", "no_loss_shown"]
    """worse: some interval of all pairs shows a loss, or one of a segment with the intervals of all segments widened so that
    together they err in 5 % of cases."""
    worse: tuple[str, ...]
    """Where: `errors`, or `plan=pro: format`."""
    all: Group
    """All pairs, 95 % intervals."""
    segments: dict[str, Group]
    """`name=value` → its pairs; the largest ones."""
    segments_left_out: int
    """Segments beyond these."""
    regressions: dict[str, int]
    """Kind → pairs."""
    regressions_by: dict[str, int]
    """`kind, name=value` → pairs, the most frequent ones first (SHD-04)."""
    samples: tuple[Regression, ...]
    """Some of them, oldest first."""


def compare(
    ws: Workspace,
    model: str,
    format_spec: Mapping[str, Any],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    version: str | None = None,
    scorer: Scorer | None = None,
    least: int = LEAST,
) -> Comparison:
    """Compare the copies accepted in `[since, until)`, of one `version` or all, with their requests. `format_spec`: the model's
    `format`. `scorer`: what judges an answer by the true one (None: equality)."""
    judge = Judge(ws.log.feedback(since=since, kind=TRUTHS), format_spec, scorer or Exact())
    pairs: list[Pair] = []
    counts, kinds, places, samples, versions = Counter[str](), Counter[str](), Counter[str](), list[Regression](), set[str]()
    for copy, parent in _both(ws, model, since, until, version):
        counts["copies"] += 1
        if copy.version is not None:
            versions.add(copy.version)
        if parent is None or not tells(parent, copy):
            counts["unpaired" if parent is None else "set_aside"] += 1
            continue
        pair, regression = judge.pair(parent, copy)
        pairs.append(pair)
        if regression is not None:
            kinds[regression.kind] += 1
            places.update(f"{regression.kind}, {name}={value}" for name, value in regression.segments.items())
            samples += [regression] if len(samples) < SAMPLES else []
    parts, left_out = _parts(pairs)
    whole = group(pairs, 0.95)
    groups = {name: group(each, 1 - 0.05 / len(parts)) for name, each in parts.items()}
    worse = [each.name for each in whole.differences if each.worse]
    worse += [f"{name}: {each.name}" for name, found in groups.items() for each in found.differences if each.worse]
    return Comparison(
        model=model,
        versions=tuple(sorted(versions)),
        copies=counts["copies"],
        set_aside=counts["set_aside"],
        unpaired=counts["unpaired"],
        least=least,
        verdict="worse" if worse else "not_enough" if len(pairs) < least else "no_loss_shown",
        worse=tuple(worse),
        all=whole,
        segments=groups,
        segments_left_out=left_out,
        regressions=dict(kinds),
        regressions_by=dict(places.most_common(SEGMENTS)),
        samples=tuple(samples),
    )


def _both(
    ws: Workspace, model: str, since: datetime | None, until: datetime | None, version: str | None
) -> Iterator[tuple[Inference, Inference | None]]:
    """Every copy with its request, a batch at a time."""
    batch: list[Inference] = []
    for copy in ws.log.each(model=model, since=since, until=until, purpose=("shadow",)):
        if version is not None and copy.version != version:
            continue
        batch.append(copy)
        if len(batch) == BATCH:
            yield from _with_parents(ws, batch)
            batch = []
    yield from _with_parents(ws, batch)


def _with_parents(ws: Workspace, copies: Sequence[Inference]) -> Iterator[tuple[Inference, Inference | None]]:
    wanted = [copy.parent_id for copy in copies if copy.parent_id is not None]
    found = {each.request_id: each for each in ws.log.find(request_ids=wanted, purpose=None)} if wanted else {}
    for copy in copies:
        yield copy, found.get(copy.parent_id or "")


def _parts(pairs: Sequence[Pair]) -> tuple[dict[str, list[Pair]], int]:
    """The pairs of the largest segments, and how many more segments there are."""
    sizes = Counter((name, value) for pair in pairs for name, value in pair.segments.items())
    parts: dict[tuple[str, str], list[Pair]] = {key: [] for key, _ in sizes.most_common(SEGMENTS)}
    for pair in pairs:
        for key in pair.segments.items():
            if key in parts:
                parts[key].append(pair)
    return {f"{name}={value}": parts[name, value] for name, value in sorted(parts)}, len(sizes) - len(parts)


def group(pairs: Sequence[Pair], confidence: float) -> Group:
    """The measures of some pairs. Pure. `confidence`: of every interval."""
    same = [pair.same for pair in pairs if pair.same is not None]
    low, high = wilson(sum(same), len(same), confidence)
    found = [
        _rates("errors", [pair.failed for pair in pairs], confidence),
        _rates("format", [pair.formats for pair in pairs if pair.formats is not None], confidence),
        _scored([pair.scores for pair in pairs if pair.scores is not None], confidence),
    ]
    for name in ("latency_ms", "words", "completion_tokens", "cost_usd"):
        found.append(_spread(name, [pair.sizes[name] for pair in pairs if name in pair.sizes], confidence))
    return Group(
        pairs=len(pairs),
        agreement=sum(same) / len(same) if same else None,
        agreement_low=low,
        agreement_high=high,
        compared=len(same),
        differences=tuple(each for each in found if each.n),
    )


def _rates(name: str, values: Sequence[tuple[bool, bool]], confidence: float) -> Difference:
    n = len(values)
    if not n:
        return Difference(name=name)
    table = Counter(values)
    low, high = difference(table[True, True], table[False, True], table[True, False], table[False, False], confidence)
    old, new = sum(each[0] for each in values) / n, sum(each[1] for each in values) / n
    return Difference(name=name, champion=old, shadow=new, difference=new - old, low=low, high=high, n=n)


def _scored(values: Sequence[tuple[float, float]], confidence: float) -> Difference:
    n = len(values)
    if not n:
        return Difference(name="score")
    olds, news = [each[0] for each in values], [each[1] for each in values]
    low, high = difference_of_scores(news, olds, confidence)
    old, new = sum(olds) / n, sum(news) / n
    return Difference(name="score", champion=old, shadow=new, difference=new - old, low=low, high=high, n=n)


def _spread(name: str, values: Sequence[tuple[float, float]], confidence: float) -> Difference:
    if not values:
        return Difference(name=name)
    olds, news, apart = (
        sorted(old for old, _ in values),
        sorted(new for _, new in values),
        sorted(new - old for old, new in values),
    )
    low, high = quantile_interval(apart, 0.5, confidence) or (None, None)
    return Difference(
        name=name,
        champion=quantile(olds, 0.5),
        shadow=quantile(news, 0.5),
        difference=quantile(apart, 0.5),
        low=low,
        high=high,
        champion_p95=quantile(olds, 0.95),
        shadow_p95=quantile(news, 0.95),
        n=len(values),
    )
