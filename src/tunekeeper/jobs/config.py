"""How jobs run; the same for every model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Limits of one job."""

    attempts: int = 3
    """How often a job is started at most; only a death counts, an error of its own is final."""
    output_bytes: int = 10_000_000
    """What is kept of a child's printed output, in bytes; the rest is read and dropped."""
    threads: int = 1
    """OMP and BLAS threads of a child whose input names none."""
    grace: float = 3.0
    """Real seconds between asking a child to end and killing its group."""
