"""From logged requests to the counts a decision needs: pure, except what asks the log.

The counts are those of the log, in ticks whose edges are fixed when traffic first moves. A look that has `Looks` reads only what
is new; one that has none reads everything from the first move on, and counts the same: nothing has to be remembered, and a
controller that died loses no evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from tunekeeper.core.ids import time_of
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.rollout.decision import Evidence, Tick
from tunekeeper.rollout.tally import METRICS, Counted, Judged, Looks, Tally, under
from tunekeeper.scoring.formats import check
from tunekeeper.workspace import Workspace

__all__ = ["Judged", "Looks", "count", "failing", "gather", "judge"]
USERS = ("user",)
EDITS = ("edit", "correction")


def judge(inference: Inference, edits: Iterable[Feedback], rollout: Rollout, format_spec: Mapping[str, Any]) -> Judged | None:
    """The judgement of one request; None when it says nothing about the model (cancelled, interrupted, not assigned)."""
    if inference.status in ("cancelled", "interrupted") or inference.slot_assigned is None or inference.weight is None:
        return None
    candidate = inference.slot_assigned == rollout.slot
    why = _error(inference) or _format(inference, format_spec)
    edited = any(_changes(edit, inference, rollout.settle) for edit in edits)
    return Judged(
        request_id=inference.request_id,
        at=inference.timestamp,
        arm="candidate" if candidate else "champion",
        weight=inference.weight if candidate else 10_000 - inference.weight,
        unit=inference.unit if inference.unit and inference.unit_kind != "request" else inference.request_id,
        failed={"errors": bool(why), "corrections": edited},
        why=why or ("a user edited the answer" if edited else ""),
    )


def count(judged: Iterable[Judged], rollout: Rollout, now: datetime) -> tuple[dict[str, list[Tick]], int]:
    """Metric → ticks in order of time, and the candidate's requests in the current phase.

    A request counts once it is older than `settle`, in both arms alike.
    """
    tally = Tally(rollout)
    for item in sorted(judged, key=lambda each: (each.at, each.request_id)):
        if item.at <= now - timedelta(seconds=rollout.settle):
            tally.add(item)
    return tally.ticks(), tally.in_phase


def gather(
    ws: Workspace,
    rollout: Rollout,
    format_spec: Mapping[str, Any],
    *,
    slot_ready: bool,
    digest: str | None,
    looks: Looks | None = None,
) -> Evidence:
    """The evidence of a running rollout as the log has it now. `looks`: what earlier looks counted; this one is added."""
    if rollout.started_at is None:
        return Evidence(ticks={metric: [] for metric in METRICS}, phase_requests=0, slot_ready=slot_ready, digest=digest)
    looks = looks or Looks()
    settled = _settled(ws, rollout)  # before the log is read: what ends in between is read, and counted at the next look
    counted = looks.of(rollout, format_spec)
    if counted is None or counted.hours != _hours(ws, rollout, counted.upto):
        counted = Counted(under(rollout, format_spec), Tally(rollout), rollout.started_at)
    looks.keep(rollout.model, None)  # half of a look that fails is not remembered
    fresh = _read_on(ws, rollout, format_spec, counted, settled)
    looks.keep(rollout.model, counted)
    return Evidence(ticks=fresh.ticks(), phase_requests=fresh.in_phase, slot_ready=slot_ready, digest=digest)


def failing(ws: Workspace, rollout: Rollout, format_spec: Mapping[str, Any]) -> tuple[list[Inference], dict[str, list[Feedback]]]:
    """The candidate's requests that failed, and every edit by request id."""
    if rollout.started_at is None:
        return [], {}
    edits = _edits(ws, rollout.started_at)
    judged = _judged(ws, rollout, format_spec, rollout.started_at, edits)
    return [each for each, item in judged if item is not None and item.arm == "candidate" and item.why], edits


def _read_on(
    ws: Workspace, rollout: Rollout, format_spec: Mapping[str, Any], counted: Counted, settled: datetime | None
) -> Tally:
    """Add to `counted` what was accepted from its end until `settled` and is final; returns the counts of all that counts now."""
    ripe = ws.clock.utc() - timedelta(seconds=rollout.settle)
    final = counted.upto if settled is None else max(settled, counted.upto)
    counted.tally.enter(rollout.phase_since)
    fresh = Tally(rollout, below=counted.tally)
    for inference, item in _judged(ws, rollout, format_spec, counted.upto, _edits(ws, counted.upto)):
        if inference.timestamp < final:
            counted.hours[inference.timestamp.replace(minute=0, second=0, microsecond=0)] += 1
        if item is not None and item.at <= ripe:
            (counted.tally if item.at < final else fresh).add(item)
    counted.upto = final
    return fresh


def _settled(ws: Workspace, rollout: Rollout) -> datetime | None:
    """What was accepted before has ended, was edited if it will be, and is in the log for long enough to be seen: one interval
    between two looks. None where the log does not say what has not ended."""
    unended = ws.log.unended()
    if unended is None:
        return None
    oldest = time_of(min(unended)) if unended else ws.clock.utc()  # ids sort by their time
    return min(oldest, ws.clock.utc() - timedelta(seconds=rollout.settle)) - timedelta(seconds=rollout.check_every)


def _hours(ws: Workspace, rollout: Rollout, until: datetime) -> dict[datetime, int]:
    return dict(ws.log.hours(model=rollout.model, since=rollout.started_at, until=until, rollout=rollout.id, purpose=USERS))


def _edits(ws: Workspace, since: datetime) -> dict[str, list[Feedback]]:
    edits: dict[str, list[Feedback]] = {}
    for item in ws.log.feedback(since=since, kind=EDITS):
        edits.setdefault(item.request_id, []).append(item)
    return edits


def _judged(
    ws: Workspace, rollout: Rollout, format_spec: Mapping[str, Any], since: datetime, edits: Mapping[str, list[Feedback]]
) -> Iterator[tuple[Inference, Judged | None]]:
    """The rollout's requests accepted from `since` on, oldest first, with the judgement of each."""
    for inference in ws.log.each(model=rollout.model, since=since, rollout=rollout.id, purpose=USERS):
        yield inference, judge(inference, edits.get(inference.request_id, ()), rollout, format_spec)


def _error(inference: Inference) -> str:
    first = inference.attempts[0] if inference.attempts else None
    if first is not None and first.error is not None:
        return f"{first.slot} failed: {first.error}"
    return f"ended as {inference.status}" if inference.status in ("error", "truncated") else ""


def _format(inference: Inference, spec: Mapping[str, Any]) -> str:
    text = inference.answer
    if text is None:
        return "" if inference.response is None else "no answer text"
    ok, why = check(text, dict(spec))
    return "" if ok else f"wrong format: {why}"


def _changes(edit: Feedback, inference: Inference, settle: float) -> bool:
    if edit.timestamp > inference.timestamp + timedelta(seconds=settle):
        return False
    text = inference.answer
    return not (isinstance(edit.value, str) and text is not None and edit.value.strip() == text.strip())
