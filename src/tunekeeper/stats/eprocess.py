"""Comparisons that may be looked at any time: e-processes for two arms of a live split and for pairs.

An e-process E starts at 1 and, while nothing is wrong, is a fair or losing bet: P(ever E >= 1/alpha) <= alpha (Ville). So
whoever looks every 15 minutes and stops at the first E >= 1/alpha errs with probability alpha at most. Two sides are run
apart: `harm` collects evidence that the new one is worse (roll back), `safe` that it is not worse than the margin (promote);
neither is reached: hold.

Sources: Gruenwald, de Heide, Koolen, "Safe testing", JRSS-B 2024 (reverse information projection); Turner, Ly, Gruenwald,
JSPI 2024, doi 10.1016/j.jspi.2023.106116 (two samples); Kaufmann, Cappe, Garivier, JMLR 2016 (the lower bound).
"""

from __future__ import annotations

import math
from typing import Any, Literal

from tunekeeper.stats.special import kl_bernoulli, log_mean_exp

Side = Literal["harm", "safe"]
HARM_RATIOS = (1.5, 2.0, 3.0, 6.0, 15.0)
SAFE_RATIOS = (1.0, 0.6)
PRIOR_REQUESTS = 200.0
# Mean stopping time over the bound below, measured by simulation at 2-10 % failures (1.38-1.71).
OVERHEAD = {"harm": 1.65, "safe": 1.5}
HARM_BETS = (0.6, 0.7, 0.8, 0.95)
SAFE_BETS = (0.15, 0.4, 1.0, 2.5)


def project(p0: float, p1: float, w: float, a: float = 0.0, b: float = 1.0) -> tuple[float, float]:
    """The point (q0, q1) of the line q1 = a + b q0 nearest to the failure rates (p0, p1).

    Nearest in w KL(p1||q1) + (1-w) KL(p0||q0), w in (0, 1) the share of the new arm; rates in (0, 1), b > 0. Against this
    point the likelihood ratio is an e-value for the whole half-plane on the line's far side (reverse information projection).
    """
    if a == 0.0 and b == 1.0:
        q = w * p1 + (1 - w) * p0
        return q, q
    low = max(0.0, -a / b) + 1e-12
    high = min(1.0, (1 - a) / b) - 1e-12
    q0 = min(max(p0 + w * (p1 - p0 - a) / b, low + 1e-6), high - 1e-6)
    for _ in range(60):  # Newton, with bisection whenever a step leaves the bracket
        slope, curve = _derivatives(q0, p0, p1, w, a, b)
        low, high = (q0, high) if slope < 0 else (low, q0)
        step = q0 - slope / curve if curve > 0 else low
        if not low < step < high:
            step = 0.5 * (low + high)
        if abs(step - q0) < 1e-12:
            break
        q0 = step
    return q0, min(max(a + b * q0, 1e-12), 1 - 1e-12)


def _derivatives(q0: float, p0: float, p1: float, w: float, a: float, b: float) -> tuple[float, float]:
    q1 = min(max(a + b * q0, 1e-12), 1 - 1e-12)
    v0, v1 = q0 * (1 - q0), q1 * (1 - q1)
    d0, d1 = q0 - p0, q1 - p1
    slope = w * b * d1 / v1 + (1 - w) * d0 / v0
    curve = w * b * b * (1 / v1 - d1 * (1 - 2 * q1) / (v1 * v1)) + (1 - w) * (1 / v0 - d0 * (1 - 2 * q0) / (v0 * v0))
    return slope, curve


class TwoSample:
    """E-process of two arms of a randomised split, failures counted as yes/no per request or per unit.

    `harm` rejects H0: q1 <= a + b q0, `safe` rejects H0: q1 >= a + b q0 (q1 the new arm's failure rate, q0 production's). Valid
    under day and night cycles, shared incidents and a changing share, because each batch is scored with the share `w` it was
    collected under. State: four counts and one log-wealth per alternative.
    """

    def __init__(
        self,
        side: Side,
        margin: float = 0.0,
        *,
        ratio: float = 1.0,
        prior_rate: float = 0.05,
        prior_requests: float = PRIOR_REQUESTS,
        carried: float = 0.0,
    ) -> None:
        """`margin`: a, absolute, -1 < a < 1. `ratio`: b > 0. `prior_rate`: production's failure rate from before (0 to 1),
        worth `prior_requests` requests: it steers the bets, a wrong one costs time and never validity. `carried`: log e of an
        earlier, finished comparison of the same two models (replay), so that one error budget is spent over both."""
        if side not in ("harm", "safe") or not -1 < margin < 1 or ratio <= 0:
            raise ValueError(f"side {side!r}, margin {margin}, ratio {ratio}: want harm or safe, -1 < margin < 1, ratio > 0")
        self.side: Side = side
        self.margin, self.ratio, self.carried = margin, ratio, carried
        self.prior_failures = prior_rate * prior_requests
        self.prior_requests = prior_requests
        self.n0 = self.k0 = self.n1 = self.k1 = 0.0
        self.wealth = [0.0] * (len(self._ratios) + 1)

    @property
    def _ratios(self) -> tuple[float, ...]:
        return HARM_RATIOS if self.side == "harm" else SAFE_RATIOS

    def _alternatives(self) -> list[tuple[float, float]]:
        """The rates (p0, p1) to bet on, from past counts only: that is what makes each factor fair."""
        failures, requests = self.k0 + self.prior_failures, self.n0 + self.prior_requests
        p0 = failures / requests if requests else 0.05
        pairs = []
        for r in self._ratios:
            pooled = (failures + self.k1) / (requests + r * self.n1) if requests + self.n1 else p0
            pairs.append((_clip(pooled, 0.95), _clip(r * pooled, 0.97)))
        guess = 2 * p0 * (2.0 if self.side == "harm" else 1.0)
        pairs.append((_clip(p0, 0.95), _clip((self.k1 + guess) / (self.n1 + 2), 0.97)))
        return pairs

    def update(self, n1: float, k1: float, n0: float, k0: float, w: float) -> None:
        """Add a batch: `k1` failures of `n1` requests of the new arm, `k0` of `n0` of production, collected while the new arm
        had the share `w` of traffic (0 to 1). Raises ValueError when failures exceed requests."""
        if not (0 <= k1 <= n1 and 0 <= k0 <= n0):
            raise ValueError(f"{k1} failures of {n1} and {k0} of {n0}: failures cannot exceed requests")
        w = min(max(w, 1e-6), 1 - 1e-6)
        for j, (p0, p1) in enumerate(self._alternatives()):
            bound = self.margin + self.ratio * p0
            if (p1 <= bound) if self.side == "harm" else (p1 >= bound):
                continue  # this alternative lies inside the null: it does not bet
            q0, q1 = project(p0, p1, w, self.margin, self.ratio)
            self.wealth[j] += _log_ratio(n1, k1, p1, q1) + _log_ratio(n0, k0, p0, q0)
        self.n1, self.k1, self.n0, self.k0 = self.n1 + n1, self.k1 + k1, self.n0 + n0, self.k0 + k0

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value so far; 0 before any data (plus what was carried)."""
        return self.carried + log_mean_exp(self.wealth)

    def shown(self, alpha: float = 0.05, tests: int = 1) -> bool:
        """Whether the evidence suffices at error `alpha`, split over `tests` guardrails of which any one may act."""
        return self.log_e >= math.log(tests / alpha)

    def to_dict(self) -> dict[str, Any]:
        """The whole state as JSON values."""
        return {
            "side": self.side,
            "margin": self.margin,
            "ratio": self.ratio,
            "carried": self.carried,
            "prior": [self.prior_failures, self.prior_requests],
            "counts": [self.n1, self.k1, self.n0, self.k0],
            "wealth": list(self.wealth),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> TwoSample:
        """The e-process that `to_dict` described."""
        made = cls(state["side"], state["margin"], ratio=state["ratio"], carried=state["carried"])
        made.prior_failures, made.prior_requests = state["prior"]
        made.n1, made.k1, made.n0, made.k0 = state["counts"]
        made.wealth = list(state["wealth"])
        return made


class Paired:
    """E-process of pairs: both models answered the same request (replay, shadow).

    D = fails(new) - fails(old). `harm`, H0: P(only new fails) <= P(only old fails): McNemar as a betting game on discordant
    pairs. `safe`, H0: E[D] >= margin: wealth prod(1 - L (D - margin)) over a grid of L.
    """

    def __init__(self, side: Side, margin: float = 0.0, *, carried: float = 0.0) -> None:
        """`margin`: for `safe` only, absolute, 0 <= margin < 1. `carried`: log e of an earlier comparison."""
        if side not in ("harm", "safe") or not 0 <= margin < 1:
            raise ValueError(f"side {side!r}, margin {margin}: want harm or safe and 0 <= margin < 1")
        self.side: Side = side
        self.margin, self.carried = margin, carried
        self.only_new = self.only_old = self.same = 0.0

    def update(self, only_new: float, only_old: float, same: float) -> None:
        """Add pairs: those where only the new one failed, only the old one, and those where both did alike. Raises ValueError on
        negative counts."""
        if min(only_new, only_old, same) < 0:
            raise ValueError("counts of pairs cannot be negative")
        self.only_new, self.only_old, self.same = self.only_new + only_new, self.only_old + only_old, self.same + same

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value so far."""
        if self.side == "harm":
            wealth = [self.only_new * math.log(2 * q) + self.only_old * math.log(2 * (1 - q)) for q in HARM_BETS]
        else:
            wealth = [self._safe_wealth(bet) for bet in SAFE_BETS]
        return self.carried + log_mean_exp(wealth)

    def _safe_wealth(self, bet: float) -> float:
        m = self.margin
        stake = min(bet, 0.9 / (1 - m))
        return (
            self.only_new * math.log1p(-stake * (1 - m))
            + self.only_old * math.log1p(stake * (1 + m))
            + self.same * math.log1p(stake * m)
        )

    def shown(self, alpha: float = 0.05, tests: int = 1) -> bool:
        """Whether the evidence suffices at error `alpha`, split over `tests` guardrails of which any one may act."""
        return self.log_e >= math.log(tests / alpha)

    def to_dict(self) -> dict[str, Any]:
        """The whole state as JSON values."""
        return {
            "side": self.side,
            "margin": self.margin,
            "carried": self.carried,
            "counts": [self.only_new, self.only_old, self.same],
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Paired:
        """The e-process that `to_dict` described."""
        made = cls(state["side"], state["margin"], carried=state["carried"])
        made.update(*state["counts"])
        return made


def requests_bound(
    p0: float, p1: float, w: float, *, margin: float = 0.0, ratio: float = 1.0, alpha: float = 0.05, beta: float = 0.1
) -> float:
    """Fewest requests (both arms together) that any test with error `alpha` and power 1-`beta` needs on average.

    kl(1-beta, alpha) / I with I the information per request (change of measure). Infinite when (p0, p1) lies on the line.
    """
    q0, q1 = project(_clip(p0, 0.999), _clip(p1, 0.999), w, margin, ratio)
    information = w * kl_bernoulli(p1, q1) + (1 - w) * kl_bernoulli(p0, q0)
    return kl_bernoulli(1 - beta, alpha) / information if information > 1e-15 else math.inf


def requests_needed(
    side: Side, p0: float, p1: float, w: float, *, margin: float = 0.0, ratio: float = 1.0, alpha: float = 0.05, beta: float = 0.1
) -> float:
    """Requests (both arms) after which `TwoSample` is expected to decide when the true rates are p0 and p1.

    The bound times the measured overhead of this e-process; infinite when the rates lie on the wrong side of the line.
    """
    inside = p1 <= margin + ratio * p0 if side == "harm" else p1 >= margin + ratio * p0
    if inside:
        return math.inf
    return OVERHEAD[side] * requests_bound(p0, p1, w, margin=margin, ratio=ratio, alpha=alpha, beta=beta)


def _clip(p: float, high: float) -> float:
    return min(max(p, 1e-5), high)


def _log_ratio(n: float, k: float, p: float, q: float) -> float:
    return k * math.log(p / q) + (n - k) * math.log((1 - p) / (1 - q))
