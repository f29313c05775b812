"""What people read over coffee: one cycle in a few lines, verdict first. Pure."""

from __future__ import annotations

from tunekeeper.core.nouns.monitoring import Trigger
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.deployment.schedule import times


def summary(cycle: Cycle, trigger: Trigger | None) -> str:
    """The text of the summary mail: how it closed, why it opened, what each stage left and how long it took."""
    took = sum(cycle.timings.values())
    lines = [
        f"{cycle.state.upper().replace('_', ' ')}: {cycle.closed_why or cycle.stage}",
        f"opened because: {trigger.summary if trigger else cycle.why}",
    ]
    for stage, record in cycle.records.items():
        note = cycle.notes.get(stage, "")
        seconds = cycle.timings.get(stage)
        lines.append(
            f"  {stage:<9} {note or record}" + (f"  [{seconds:.1f} s{_share(seconds, took)}]" if seconds is not None else "")
        )
    deployed = times(cycle.timings).says()
    lines += [f"deployment: {deployed}"] if deployed else []
    lines.append(f"took {took:.1f} s of real time; next: {_next(cycle)}")
    return "\n".join(lines)


def _next(cycle: Cycle) -> str:
    """The command that shows why it ended as it did, or how the model is."""
    if cycle.state == "blocked" and "evaluate" in cycle.records:
        return f"tunekeeper eval show {cycle.records['evaluate']}"
    if cycle.state == "rolled_back":
        return f"tunekeeper incident ls --model {cycle.model}"
    return "tunekeeper status"


def _share(seconds: float, took: float) -> str:
    """A stage's part of the cycle's time, so that effort that goes into training alone is seen (TRAIN-18)."""
    return f", {seconds / took:.0%}" if took > 0 else ""
