"""Which version is live, and when it was last evaluated: always answerable, from the ledgers alone (DEPL-08)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.evaluation import Exam
from tunekeeper.core.nouns.serving import Route, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.artifacts import find_artifacts
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One version as the registry knows it."""

    version: str
    """Its name."""
    aliases: tuple[str, ...] = ()
    """champion, challenger, previous, shadow: what it is on the route now."""
    weight: int = 0
    """Ten-thousandths of traffic it answers now."""
    slot: str | None = None
    """Slot that holds it."""
    loaded: bool = False
    """Whether that slot answers."""
    artifacts: tuple[str, ...] = ()
    """Ids of its artifacts, newest first."""
    digest: str | None = None
    """Digest of the newest artifact's file."""
    parity: str | None = None
    """pass, block or inconclusive; None when it was not compared."""
    dataset: str | None = None
    """Dataset version it learned."""
    evaluated_at: datetime | None = None
    """When it was last examined; None: never."""
    verdict: str | None = None
    """What that exam said."""
    created: datetime | None = None
    """When it was made."""
    smoke: dict[str, Any] | None = None
    """Numbers of its smoke test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """The answer to: which version is in production, and when was it last evaluated?"""

    model: str
    """The model."""
    version: str | None
    """Version of the champion; None when nothing is live."""
    since: datetime | None
    """When it became champion."""
    evaluated_at: datetime | None
    """When it was last examined."""
    verdict: str | None
    """What that exam said."""
    deployments: int
    """Promotions so far (DEPL-17)."""


def entries(ws: Workspace, model: str) -> list[Entry]:
    """Every version of a model, newest first."""
    with ws.state.read() as tx:
        versions = find_versions(tx, model=model, newest_first=True)
        artifacts = find_artifacts(tx, model=model, newest_first=True)
        exams = find_exams(tx, model=model, newest_first=True)
    with ws.control.read() as tx:
        slots = find_slots(tx, model=model)
        route = _route(ws, model)
    return [_entry(version, artifacts, exams, slots, route) for version in versions]


def live(ws: Workspace, model: str) -> Live:
    """What answers users of a model now."""
    with ws.control.read() as tx:
        history = find_promotions(tx, model=model)
    found = next((entry for entry in entries(ws, model) if "champion" in entry.aliases), None)
    last = history[-1] if history else None
    return Live(
        model=model,
        version=found.version if found else (last.version if last else None),
        since=last.created if last else None,
        evaluated_at=found.evaluated_at if found else None,
        verdict=found.verdict if found else None,
        deployments=sum(promotion.kind == "promotion" for promotion in history),
    )


def _entry(version: Version, artifacts: list[Artifact], exams: list[Exam], slots: list[Slot], route: Route | None) -> Entry:
    made = [artifact for artifact in artifacts if artifact.version == version.id]
    exam = next((exam for exam in exams if exam.version == version.id and exam.verdict is not None), None)
    held = [slot for slot in slots if slot.version == version.name]
    slot = next((s for s in held if _aliases(s.id, route)), held[0] if held else None)
    return Entry(
        version=version.name,
        aliases=_aliases(slot.id, route) if slot else (),
        weight=sum(share.weight for share in route.shares if slot and share.slot == slot.id) if route else 0,
        slot=slot.id if slot else None,
        loaded=slot is not None and slot.observed == "ready",
        artifacts=tuple(artifact.id for artifact in made),
        digest=made[0].digest if made else None,
        parity=made[0].parity.verdict if made and made[0].parity else None,
        dataset=version.dataset,
        evaluated_at=exam.created if exam else None,
        verdict=exam.verdict.outcome if exam and exam.verdict else None,
        created=version.created,
        smoke=made[0].metadata.get("smoke") if made else None,
    )


def _aliases(slot: str, route: Route | None) -> tuple[str, ...]:
    if route is None:
        return ()
    return tuple(name for name in ("champion", "challenger", "previous", "shadow") if getattr(route, name) == slot)


def _route(ws: Workspace, model: str) -> Route | None:
    try:
        with ws.control.read() as tx:
            return load_route(tx, model)
    except NotFound:
        return None
