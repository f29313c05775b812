"""Whether a run took its usual time: its speed beside that of earlier runs alike, and a word where it is far off. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from tunekeeper.core.nouns.training import TrainingRun

ALIKE = ("rank", "targets", "batch", "max_tokens", "dtype", "accumulation", "checkpointing", "packing", "dora", "objective")
ALSO = ("method", "qlora", "threads", "backend")
"""Recipe values that change the speed, and who trained."""
FEWEST, MOST = 3, 10
"""Earlier runs that make a usual speed, and how many of the newest count."""
FAR = 3.0
"""How many times off its usual speed a run is worth a word; what else a machine does often makes it twice as slow."""


def outlier(run: TrainingRun, before: Iterable[TrainingRun]) -> str | None:
    """What to say of a finished run whose speed is far from usual; None where it is not, or where nothing is usual yet.

    `before`: finished runs, newest first; those of another base, device or kind of work do not count.
    """
    alike = [
        each.tokens_per_second
        for each in before
        if each.id != run.id and each.tokens_per_second is not None and _kind(each) == _kind(run)
    ][:MOST]
    if run.tokens_per_second is None or len(alike) < FEWEST:
        return None
    usual = statistics.median(alike)
    times = usual / max(run.tokens_per_second, 1e-9)
    if 1 / FAR < times < FAR:
        return None
    said = f"{run.tokens_per_second:,.0f} tokens/s, {max(times, 1 / times):.1f} times {'slower' if times > 1 else 'faster'}"
    why = "something else used the machine" if times > 1 else "the machine is another, or had been busy before"
    return f"{said} than the {len(alike)} runs alike before ({usual:,.0f}): perhaps {why}"


def _kind(run: TrainingRun) -> tuple[object, ...]:
    recipe = tuple(repr(run.recipe.get(name)) for name in (*ALIKE, *ALSO))
    return (run.base_digest, run.machine.get("device"), *recipe)
