"""How long a run takes by the speed of earlier runs, what it took beside that, and a word where it is far off its usual. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.tradeoffs import FULL_TIMES

ALIKE = ("rank", "targets", "batch", "max_tokens", "dtype", "accumulation", "checkpointing", "packing", "dora", "objective")
ALSO = ("method", "qlora", "threads", "backend")
"""Recipe values that change the speed, and who trained."""
FEWEST, MOST = 3, 10
"""Earlier runs that make a usual speed, and how many of the newest count."""
FAR = 3.0
"""How many times off its usual speed a run is worth a word; what else a machine does often makes it twice as slow."""


def measured_speed(runs: Iterable[TrainingRun], base_digest: str, method: str) -> TrainingRun | None:
    """The newest finished run of this base that knows its speed, one of this method where there is one; `runs` newest first."""
    known = [run for run in runs if run.base_digest == base_digest and run.tokens_per_second]
    return next((run for run in known if method_of(run) == method), known[0] if known else None)


def loop_seconds(speed: TrainingRun, tokens: int, method: str) -> float:
    """Seconds of learning so many tokens by `method`, at the speed of a run that `measured_speed` found."""
    lora = tokens / (speed.tokens_per_second or 1) / (FULL_TIMES if method_of(speed) == "full" else 1)
    return lora * (FULL_TIMES if method == "full" else 1)


def beside_loop(run: TrainingRun) -> float:
    """Seconds that a run took beside its loop: loading, answering, the transcript; 0 of a run that does not say."""
    return max(0.0, (run.whole_seconds or 0.0) - (run.seconds or 0.0))


def method_of(run: TrainingRun) -> str:
    """lora or full; what was trained before there was a choice is a LoRA."""
    return str(run.recipe.get("method", "lora"))


def expected(run: TrainingRun, tokens: int | None, before: Iterable[TrainingRun]) -> float | None:
    """The seconds that a plan would have said of these tokens; None where no earlier run told the speed. `before`: finished runs,
    newest first, of which those of the same trainer count."""
    same = (each for each in before if each.id != run.id and each.recipe.get("backend") == run.recipe.get("backend"))
    speed = measured_speed(same, run.base_digest, method_of(run))
    return None if speed is None or tokens is None else loop_seconds(speed, tokens, method_of(run))


def beside_estimate(run: TrainingRun) -> str | None:
    """What a finished run took beside what was estimated, in one line; None where neither time nor memory was."""
    found = []
    if run.estimated_seconds and run.seconds is not None:
        took = f"{run.seconds:.1f} s where {run.estimated_seconds:.1f} s were estimated"
        found.append(f"{took} ({run.seconds / run.estimated_seconds - 1:+.0%})")
    peak, estimated = run.memory.get("peak"), run.memory.get("estimated")
    if peak and estimated:
        took = f"{peak / 1e6:,.0f} MB of memory where the formula says {estimated / 1e6:,.0f} MB"
        found.append(f"{took} ({peak / estimated - 1:+.0%})")
    return f"took {', '.join(found)}; the next plan of this base goes by it" if found else None


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
