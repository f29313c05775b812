"""A rollback and its 24-hour analysis: what failed becomes tests that the next deployment must pass (POST-01..07)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tunekeeper.core.errors import UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.rollout import Incident, Rollout
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.store.ledgers.incidents import find_incidents, load_incident, save_incident
from tunekeeper.text.redaction import said
from tunekeeper.workspace import Workspace

DUE = timedelta(hours=24)


def cases_from(
    incident: str, inferences: Iterable[Inference], edits: Mapping[str, list[Feedback]], limit: int
) -> tuple[Case, ...]:
    """Regression cases from failing requests whose true answer a user gave; the same question counts once."""
    cases: dict[str, Case] = {}
    for inference in inferences:
        truth = next((edit.value for edit in edits.get(inference.request_id, ()) if isinstance(edit.value, str)), None)
        messages = inference.request.get("messages") if isinstance(inference.request, dict) else None
        if truth is None or not messages:
            continue
        key = digest_json(messages)
        if key in cases or len(cases) >= limit:
            continue
        cases[key] = Case(
            id=f"{incident}-{len(cases) + 1}",
            messages=tuple(messages),
            expected=truth,
            category=inference.segments.get("category", ""),
            tags=("regression",),
            source=f"{incident}:{inference.request_id}",
        )
    return tuple(cases.values())


def born(
    id: str,
    rollout: Rollout,
    reason: str,
    failing: Iterable[Inference],
    edits: Mapping[str, list[Feedback]],
    now: datetime,
    limit: int,
) -> Incident:
    """The incident `id` of a rollout that went back. Pure."""
    found = list(failing)
    return Incident(
        id=id,
        model=rollout.model,
        version=rollout.version,
        rollout=rollout.id,
        reason=said(reason),
        requests=tuple(each.request_id for each in found),
        cases=cases_from(id, found, edits, limit),
        what_failed=_what_failed(found),
        due=now + DUE,
    )


def close(
    ws: Workspace, id: str, *, why_missed: str, what_changes: str, retry_on: datetime, by: str, what_failed: str | None = None
) -> Incident:
    """Close an incident with its analysis. Raises UserError when an answer is missing or it is closed already."""
    if not why_missed.strip() or not what_changes.strip():
        raise UserError(f"incident {id} needs both answers", fix="give --why-missed TEXT and --what-changes TEXT")
    with ws.control.write(by=by) as tx:
        incident = load_incident(tx, id)
        if incident.state == "closed":
            raise UserError(f"incident {id} is closed already")
        return save_incident(
            tx,
            _replace(
                incident,
                state="closed",
                why_missed=said(why_missed),
                what_changes=said(what_changes),
                retry_on=retry_on,
                what_failed=None if what_failed is None else said(what_failed),
            ),
        )


def regression_cases(ws: Workspace, model: str) -> tuple[Case, ...]:
    """Every case born from the model's incidents, oldest first."""
    with ws.control.read() as tx:
        return tuple(case for incident in find_incidents(tx, model=model) for case in incident.cases)


def _what_failed(found: list[Inference]) -> str:
    counts: dict[str, int] = {}
    for each in found:
        name = each.segments.get("category", "all")
        counts[name] = counts.get(name, 0) + 1
    parts = ", ".join(f"{name}: {n}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{len(found)} failing requests" + (f" ({parts})" if parts else "")


def _replace(incident: Incident, **changes: Any) -> Incident:
    from dataclasses import replace

    return replace(incident, **{name: value for name, value in changes.items() if value is not None})
