"""The `retraining:` section of a model file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """When a cycle may open by itself. A model below maturity level 3 only ever gets a proposal (MAT-03)."""

    cooldown_days: float = 7.0
    """Days after a cycle closed before a trigger may open the next (RETR-07)."""
    min_corrections: int = 50
    """Corrected answers since the last dataset below which there is nothing to learn from."""
