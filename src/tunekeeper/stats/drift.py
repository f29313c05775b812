"""How far has a distribution moved? Effect sizes first, p-values to rank.

p-values alone fire on everything at scale and on nothing in small windows; fixed cuts ignore n. So: an effect size (JS distance,
W1 in standard deviations, share of novel rows) above a floor *and* above what the reference shows against itself in splits of the
same size taken by user or day (`split_threshold`).

Sources: Sokal, Rohlf, "Biometry" (G test); Lin, IEEE Trans. Inf. Theory 1991 (Jensen-Shannon); Gretton et al., JMLR 2012 (MMD);
Rahimi, Recht, NIPS 2007 (random Fourier features); Yurdakul, Naranjo, J. Risk Model Validation 2020 (bias of PSI).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tunekeeper.stats.intervals import wilson
from tunekeeper.stats.special import chi2_tail

Array = npt.NDArray[np.float64]
T = TypeVar("T")
MIN_EXPECTED = 5.0
POOLED = "(rare)"
QUANTILES = 1023


@dataclass(frozen=True, kw_only=True, slots=True)
class GTest:
    """A two-sample test of category counts."""

    statistic: float
    """G, at least 0."""
    degrees: int
    """Categories after pooling, less one."""
    p: float | None
    """P(G this large | same distribution); None when fewer than two categories remain."""
    pooled: tuple[str, ...]
    """Categories too rare to stand alone."""


def g_test(reference: Mapping[str, float], current: Mapping[str, float]) -> GTest:
    """Whether two tables of *counts* come from one distribution; both samples count as samples.

    Categories expected fewer than 5 times in either sample are pooled first. A category unseen in one sample is no special case.
    """
    n, m = sum(reference.values()), sum(current.values())
    names = sorted(set(reference) | set(current))
    if n <= 0 or m <= 0:
        return GTest(statistic=0.0, degrees=0, p=None, pooled=())
    share = min(n, m) / (n + m)
    rare = tuple(c for c in names if (reference.get(c, 0) + current.get(c, 0)) * share < MIN_EXPECTED)
    rows = [(reference.get(c, 0.0), current.get(c, 0.0)) for c in names if c not in rare]
    if rare:
        rows.append((sum(reference.get(c, 0.0) for c in rare), sum(current.get(c, 0.0) for c in rare)))
    statistic = 0.0
    for a, b in rows:
        total = a + b
        for observed, size in ((a, n), (b, m)):
            if observed > 0:
                statistic += 2 * observed * math.log(observed * (n + m) / (total * size))
    degrees = len(rows) - 1
    statistic = max(0.0, statistic)
    return GTest(statistic=statistic, degrees=degrees, p=chi2_tail(statistic, degrees) if degrees > 0 else None, pooled=rare)


def js_distance(reference: Mapping[str, float], current: Mapping[str, float]) -> float | None:
    """Jensen-Shannon distance (root of the divergence in bits) of two tables of counts: 0 same, 1 disjoint. None: one empty."""
    n, m = sum(reference.values()), sum(current.values())
    if n <= 0 or m <= 0:
        return None
    names = set(reference) | set(current)
    return _js([reference.get(c, 0.0) / n for c in names], [current.get(c, 0.0) / m for c in names])


def _js(p: Sequence[float], q: Sequence[float]) -> float:
    total = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        total += (a * math.log2(a / middle) if a > 0 else 0.0) + (b * math.log2(b / middle) if b > 0 else 0.0)
    return math.sqrt(min(1.0, max(0.0, total / 2)))


def psi(reference: Mapping[str, float], current: Mapping[str, float]) -> float | None:
    """Population stability index of two tables of counts; half a count is added to each cell so that no cell is infinite.

    Without any change it is about `psi_bias`: never compare it with 0.1 or 0.2 below a thousand rows. None when one is empty.
    """
    n, m = sum(reference.values()), sum(current.values())
    names = set(reference) | set(current)
    if n <= 0 or m <= 0:
        return None
    half = 0.5 * len(names)
    total = 0.0
    for c in names:
        a, b = (reference.get(c, 0.0) + 0.5) / (n + half), (current.get(c, 0.0) + 0.5) / (m + half)
        total += (b - a) * math.log(b / a)
    return total


def psi_bias(bins: int, n: int, m: int) -> float:
    """What PSI is on average when nothing changed: (bins - 1)(1/n + 1/m); n and m at least 1."""
    return (bins - 1) * (1 / n + 1 / m)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unseen:
    """Categories that the reference never showed."""

    share: float
    """Share of current rows that carry one."""
    low: float
    """Lower Wilson bound of the share."""
    high: float
    """Upper Wilson bound."""
    names: tuple[str, ...]
    """The categories, most frequent first."""


def unseen(reference: Mapping[str, float], current: Mapping[str, float], confidence: float = 0.95) -> Unseen | None:
    """The share of current rows whose category the reference lacks (new words, a new label). None when current is empty."""
    m = sum(current.values())
    if m <= 0:
        return None
    new = {c: k for c, k in current.items() if k > 0 and reference.get(c, 0) <= 0}
    k = sum(new.values())
    low, high = wilson(k, m, confidence)
    return Unseen(share=k / m, low=low, high=high, names=tuple(sorted(new, key=lambda c: (-new[c], c))))


def profile(values: Sequence[float]) -> dict[str, Any]:
    """What to keep of a numeric reference: {quantiles: [..], mean, sd, n}, as JSON values. Raises ValueError when empty.

    At most 1,023 quantiles at levels i/(len+1); a small sample is kept whole.
    """
    x = np.sort(np.asarray(values, float))
    if x.size == 0:
        raise ValueError("a profile needs at least one value")
    if x.size > QUANTILES:
        kept = np.quantile(x, np.arange(1, QUANTILES + 1) / (QUANTILES + 1))
    else:
        kept = x
    return {"quantiles": [float(v) for v in kept], "mean": float(x.mean()), "sd": float(x.std()), "n": int(x.size)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """How far a numeric column moved."""

    ks: float
    """Largest gap of the two distribution functions, 0 to 1."""
    w1_sd: float
    """Wasserstein-1 distance in standard deviations of the reference (in units where those are 0)."""
    js: float
    """Jensen-Shannon distance over 20 bins of equal reference mass."""
    psi: float
    """Population stability index over the same bins."""
    psi_bias: float
    """What the index is on average without change."""
    n: int
    """Current rows."""


def shift(reference: Mapping[str, Any], current: Sequence[float], bins: int = 20) -> Shift | None:
    """Compare current values with a stored `profile`; exact for small references, to 1/1,024 for large ones. None when empty."""
    x = np.sort(np.asarray(current, float))
    q = np.asarray(reference["quantiles"], float)
    if x.size == 0:
        return None
    both = np.concatenate([q, x])
    both.sort()
    f = np.searchsorted(q, both, side="right") / q.size
    g = np.searchsorted(x, both, side="right") / x.size
    w1 = float(np.sum(np.abs(f - g)[:-1] * np.diff(both)))
    sd = float(reference["sd"])
    edges = np.unique(np.quantile(q, np.arange(1, bins) / bins))
    a, b = _histogram(q, edges), _histogram(x, edges)
    n = int(reference["n"])
    stored = {str(i): v * n / q.size for i, v in enumerate(a)}
    index = psi(stored, {str(i): v for i, v in enumerate(b)})
    return Shift(
        ks=float(np.max(np.abs(f - g))),
        w1_sd=w1 / sd if sd > 0 else w1,
        js=_js([v / q.size for v in a], [v / x.size for v in b]),
        psi=index if index is not None else 0.0,
        psi_bias=psi_bias(len(edges) + 1, n, x.size),
        n=int(x.size),
    )


def _histogram(values: Array, edges: Array) -> list[float]:
    return [float(c) for c in np.bincount(np.searchsorted(edges, values, side="right"), minlength=edges.size + 1)]


def split_threshold(
    rows: Sequence[T],
    blocks: Sequence[str],
    size: int,
    distance: Callable[[list[T], list[T]], float | None],
    *,
    seed: int,
    splits: int = 200,
    level: float = 0.99,
) -> float | None:
    """The `level` quantile of `distance` between two parts of the reference when nothing changed.

    `blocks`: the user or day of each row; a block stays whole, since rows of one user resemble each other. The second part is
    grown block by block to about `size` rows (half of the rows at most). None with fewer than 4 blocks: not enough to calibrate.
    """
    groups: dict[str, list[T]] = {}
    for row, block in zip(rows, blocks, strict=True):
        groups.setdefault(block, []).append(row)
    if len(groups) < 4:
        return None
    rng, names = np.random.default_rng(seed), sorted(groups)
    wanted = min(size, len(rows) // 2)
    seen = []
    for _ in range(splits):
        first: list[T] = []
        second: list[T] = []
        for i in rng.permutation(len(names)):
            (second if len(second) < wanted else first).extend(groups[names[int(i)]])
        value = distance(first, second) if first else None
        if value is not None:
            seen.append(value)
    return float(np.quantile(seen, level)) if seen else None


def fisher_greater(k1: int, n1: int, k0: int, n0: int) -> float:
    """One-sided exact p of "the first sample's rate is not higher": P(K >= k1 | k1 + k0 hits in n1 + n0)."""
    hits = k1 + k0
    top = min(hits, n1)
    base = _log_choose(n1 + n0, hits)
    return min(1.0, math.fsum(math.exp(_log_choose(n1, k) + _log_choose(n0, hits - k) - base) for k in range(k1, top + 1)))


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Novel:
    """Rows unlike anything in the reference."""

    share: float
    """Share of current rows below the similarity limit."""
    expected: float
    """The same share in the reference's own other half (about 1 %)."""
    p: float
    """One-sided Fisher p."""
    rows: tuple[int, ...]
    """Indices of the novel current rows, least similar first."""


def novel_share(reference: npt.ArrayLike, current: npt.ArrayLike, *, seed: int, level: float = 0.01) -> Novel | None:
    """Share of current embeddings (rows, any scale; cosine similarity) with no near neighbour in half of the reference.

    The limit is the `level` quantile of the other half's similarities. None with fewer than 20 reference rows or no current row.
    """
    ref, cur = _unit(reference), _unit(current)
    if len(ref) < 20 or len(cur) == 0:
        return None
    order = np.random.default_rng(seed).permutation(len(ref))
    known, other = ref[order[: len(ref) // 2]], ref[order[len(ref) // 2 :]]
    own, now = _nearest(other, known), _nearest(cur, known)
    limit = float(np.quantile(own, level))
    below = int((own < limit).sum())
    rows = np.flatnonzero(now < limit)
    return Novel(
        share=len(rows) / len(cur),
        expected=below / len(own),
        p=fisher_greater(len(rows), len(cur), below, len(own)),
        rows=tuple(int(i) for i in rows[np.argsort(now[rows])]),
    )


def _unit(rows: npt.ArrayLike) -> Array:
    x = np.atleast_2d(np.asarray(rows, float))
    made: Array = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return made


def _nearest(rows: Array, known: Array, piece: int = 1024) -> Array:
    return np.concatenate([(rows[i : i + piece] @ known.T).max(axis=1) for i in range(0, len(rows), piece)])


def mmd(
    reference: npt.ArrayLike,
    current: npt.ArrayLike,
    *,
    seed: int,
    frequencies: int = 256,
    blocks: int = 50,
    permutations: int = 500,
) -> tuple[float, float] | None:
    """Unbiased squared maximum mean discrepancy by random Fourier features, and its sign-permutation p. None below 2 blocks.

    Gaussian kernel, gamma = 1/median squared distance. Rows are dealt into blocks; under no change each block difference is as
    likely to have either sign. p >= 1/(permutations + 1).
    """
    x, y = np.atleast_2d(np.asarray(reference, float)), np.atleast_2d(np.asarray(current, float))
    blocks = min(blocks, len(x), len(y))
    if blocks < 2:
        return None
    rng = np.random.default_rng(seed)
    waves = rng.normal(0.0, math.sqrt(2 * _gamma(x, y, rng)), (x.shape[1], frequencies))
    difference = _block_means(x, waves, blocks, rng) - _block_means(y, waves, blocks, rng)
    gram = difference @ difference.T
    np.fill_diagonal(gram, 0.0)
    statistic = float(gram.sum()) / (blocks * (blocks - 1))
    signs = rng.choice([-1.0, 1.0], (permutations, blocks))
    null = np.einsum("pi,ij,pj->p", signs, gram, signs, optimize=True) / (blocks * (blocks - 1))
    return statistic, float((1 + (null >= statistic).sum()) / (permutations + 1))


def _gamma(x: Array, y: Array, rng: np.random.Generator) -> float:
    pool = np.concatenate([x, y])
    some = pool[rng.permutation(len(pool))[:400]]
    squares = (some**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * some @ some.T
    median = float(np.median(distances[np.triu_indices(len(some), 1)]))
    return 1 / median if median > 1e-12 else 1.0


def _block_means(rows: Array, waves: Array, blocks: int, rng: np.random.Generator) -> Array:
    phase = rows[rng.permutation(len(rows))] @ waves
    features = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) / math.sqrt(waves.shape[1])
    return np.stack([part.mean(axis=0) for part in np.array_split(features, blocks)])
