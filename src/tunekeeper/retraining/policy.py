"""Whether a reason to retrain opens a cycle now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tunekeeper.core.nouns.monitoring import Trigger
from tunekeeper.retraining.config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known when a trigger is open."""

    trigger: Trigger
    """The reason."""
    cycle_open: bool
    """Whether another cycle of this model is under way."""
    last_closed: datetime | None
    """When the last cycle closed."""
    corrections: int
    """Corrected answers since the last dataset."""
    level: int
    """Maturity level of the model, 1 to 4."""
    now: datetime
    """The moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What to do with a trigger."""

    open: bool
    """Whether a cycle opens."""
    why: str
    """One sentence."""


def choose(facts: Facts, config: Config) -> Choice:
    """One cycle at a time, not below level 3, not within the cool-down, not without anything to learn from."""
    if facts.cycle_open:
        return Choice(open=False, why="a cycle of this model is under way")
    if facts.level < 3:
        return Choice(open=False, why=f"maturity level {facts.level}: a person opens cycles (tunekeeper retrain run)")
    ready = facts.last_closed + timedelta(days=config.cooldown_days) if facts.last_closed is not None else None
    if ready is not None and facts.now < ready:
        return Choice(open=False, why=f"cool-down until {ready:%Y-%m-%d %H:%M} UTC")
    if facts.corrections < config.min_corrections:
        return Choice(
            open=False, why=f"{facts.corrections} of {config.min_corrections} corrections collected: not enough to learn from"
        )
    return Choice(open=True, why=f"{facts.trigger.reason}: {facts.trigger.summary}; {facts.corrections} corrections collected")
