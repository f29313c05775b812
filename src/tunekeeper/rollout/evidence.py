"""From logged requests to the counts a decision needs: pure, except `read`, which asks the log.

The counts are taken anew from the log at every look, in ticks whose edges are fixed when traffic first moves: nothing has to be
remembered between looks, a controller that died loses no evidence, and every look sees the earlier ticks as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.rollout.decision import Evidence, Tick
from tunekeeper.scoring.formats import check
from tunekeeper.workspace import Workspace

METRICS = ("errors", "corrections")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One request of a rollout, judged."""

    request_id: str
    """The request."""
    at: datetime
    """When it was accepted."""
    arm: str
    """`candidate` or `champion`: the one it was assigned to, whoever answered in the end."""
    weight: int
    """Candidate's ten-thousandths at that moment."""
    unit: str
    """What it counts for once: the unit's digest, or the request id."""
    failed: Mapping[str, bool]
    """Metric → whether it failed."""
    why: str
    """Why it failed, empty when it did not."""


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

    A request counts once it is older than `settle` in both arms alike, and a unit counts once per traffic share (its first
    request): outcomes of one person are not independent evidence.
    """
    if rollout.started_at is None:
        return {metric: [] for metric in METRICS}, 0
    cells: dict[tuple[int, int], list[Judged]] = {}
    seen: set[tuple[str, int]] = set()
    in_phase = 0
    for item in sorted(judged, key=lambda each: (each.at, each.request_id)):
        if item.at > now - timedelta(seconds=rollout.settle) or not 0 < item.weight < 10_000:
            continue
        if (item.unit, item.weight) in seen:
            continue
        seen.add((item.unit, item.weight))
        tick = int((item.at - rollout.started_at).total_seconds() // rollout.check_every)
        cells.setdefault((tick, item.weight), []).append(item)
        if item.arm == "candidate" and rollout.phase_since is not None and item.at >= rollout.phase_since:
            in_phase += 1
    return {metric: [_tick(cells[key], metric, key[1]) for key in sorted(cells)] for metric in METRICS}, in_phase


def read(ws: Workspace, rollout: Rollout, format_spec: Mapping[str, Any]) -> tuple[list[Judged], dict[str, list[Feedback]]]:
    """Every request of the rollout so far, judged, and the edits by request id."""
    since = rollout.started_at
    if since is None:
        return [], {}
    edits: dict[str, list[Feedback]] = {}
    for item in ws.log.feedback(since=since, kind=("edit", "correction")):
        edits.setdefault(item.request_id, []).append(item)
    inferences = ws.log.each(model=rollout.model, since=since, rollout=rollout.id, purpose=("user",))
    judged = [judge(each, edits.get(each.request_id, ()), rollout, format_spec) for each in inferences]
    return [each for each in judged if each is not None], edits


def gather(ws: Workspace, rollout: Rollout, format_spec: Mapping[str, Any], *, slot_ready: bool, digest: str | None) -> Evidence:
    """The evidence of a running rollout as the log has it now."""
    judged, _ = read(ws, rollout, format_spec)
    ticks, in_phase = count(judged, rollout, ws.clock.utc())
    return Evidence(ticks=ticks, phase_requests=in_phase, slot_ready=slot_ready, digest=digest)


def _tick(items: list[Judged], metric: str, weight: int) -> Tick:
    arms = {arm: [item for item in items if item.arm == arm] for arm in ("candidate", "champion")}
    return Tick(
        candidate=len(arms["candidate"]),
        candidate_failed=sum(item.failed[metric] for item in arms["candidate"]),
        champion=len(arms["champion"]),
        champion_failed=sum(item.failed[metric] for item in arms["champion"]),
        share=weight / 10_000,
    )


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
