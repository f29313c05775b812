"""The few special functions we need, in one place: cheap ones from the standard library, the others from scipy on first use."""

from __future__ import annotations

import math
from statistics import NormalDist

TINY = 1e-12
_NORMAL = NormalDist()


def normal_quantile(p: float) -> float:
    """z with P(Z <= z) = p for a standard normal Z; p in (0, 1)."""
    return _NORMAL.inv_cdf(p)


def normal_cdf(z: float) -> float:
    """P(Z <= z) for a standard normal Z."""
    return _NORMAL.cdf(z)


def log_mean_exp(values: list[float]) -> float:
    """log of the mean of exp(values), without overflow; `values` is not empty."""
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


def kl_bernoulli(p: float, q: float) -> float:
    """Kullback-Leibler divergence KL(Bernoulli(p) || Bernoulli(q)) in nats; p and q in [0, 1]."""
    q = min(max(q, TINY), 1 - TINY)
    first = p * math.log(p / q) if p > 0 else 0.0
    return first + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)


def chi2_tail(statistic: float, degrees: float) -> float:
    """P(X >= statistic) for a chi-square X with `degrees` > 0 degrees of freedom."""
    from scipy import special

    return float(special.chdtrc(degrees, max(statistic, 0.0)))


def beta_quantile(p: float, a: float, b: float) -> float:
    """x with P(X <= x) = p for X ~ Beta(a, b); p in [0, 1], a and b > 0."""
    from scipy import special

    return float(special.betaincinv(a, b, p))


def t_quantile(p: float, degrees: float) -> float:
    """t with P(T <= t) = p for Student's T with `degrees` > 0 degrees of freedom; p in (0, 1)."""
    from scipy import special

    return float(special.stdtrit(degrees, p))
