"""How fast one entrant answered beside another. The two are asked one after the other, so that a machine that was busier in one
of the two exams must not be taken for a slower model: a fixed piece of work is timed beside every case."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

from tunekeeper.core.nouns.evaluation import Estimate
from tunekeeper.evaluation.results import Result, p95, pace_p95

PIECE = bytes(2 << 20)
"""What is hashed: some milliseconds of one core."""


def piece_ms(now: Callable[[], float] = time.perf_counter) -> float:
    """Real milliseconds that the fixed piece of work takes now. `now`: seconds of a steady clock."""
    began = now()
    hashlib.sha256(PIECE).digest()
    return (now() - began) * 1000


def compare(own: Sequence[Result], other: Sequence[Result]) -> dict[str, Estimate]:
    """`latency_ratio`: p95 of `own` over that of `other`; `latency_p95_ms` of `own`; and `latency_pace`, the ratio of the fixed
    piece of work, where both exams timed it: 2 says that the machine was half as fast for `own`. Empty without times. Pure."""
    mine, theirs = p95(own), p95(other)
    if mine is None or not theirs:
        return {}
    found = {"latency_ratio": Estimate(value=mine / theirs, n=len(own)), "latency_p95_ms": Estimate(value=mine, n=len(own))}
    pace, their_pace = pace_p95(own), pace_p95(other)
    return found | ({"latency_pace": Estimate(value=pace / their_pace, n=len(own))} if pace and their_pace else {})
