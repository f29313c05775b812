"""People look at a new version without being asked to: the first answers it gave enter the review queue once it is promoted.

They are spread as `sampling` says, as soon as there are enough of them to choose from, or after a day. Whoever watches the
notifiers is told once that they wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.data import review
from tunekeeper.data.config import Config
from tunekeeper.notify import queue
from tunekeeper.store.ledgers.reviews import find_reviews, save_review
from tunekeeper.store.ledgers.rollouts import find_rollouts
from tunekeeper.workspace import Workspace

UPDATE = "update"
"""Why such an item was chosen."""
CHOICE = 5
"""Answers for each one that is asked for, from which on the choice is not put off."""
SOON = timedelta(days=1)
"""How long the choice is put off at most where there are fewer."""
LONGEST = timedelta(days=14)
"""How long after its promotion a version counts as new."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What people said of the first answers of one version."""

    version: str
    """Name of the version."""
    queued: int
    """Answers that people were asked to judge."""
    judged: int
    """Those of them that they judged."""
    verdicts: dict[str, int]
    """Verdict (good, edited, bad, excluded) → how many."""
    good: float | None
    """Share of the judged ones that were good as they were, 0 to 1, without the excluded; None while there is none."""


def tend(ws: Workspace, model: str, section: Config) -> list[ReviewItem]:
    """Queue answers of the version that was promoted last, until people were asked for `update_reviews` of them. Asking again
    queues nothing more. Returns the new items."""
    now = ws.clock.utc()
    with ws.state.read() as tx:
        asked = [item for item in find_reviews(tx, model=model) if item.why == UPDATE]
    with ws.control.read() as tx:
        newest = next(iter(find_rollouts(tx, model=model, state="promoted", newest_first=True, limit=1)), None)
    begun = None if newest is None else newest.started_at or newest.created
    if newest is None or begun is None or now - begun > LONGEST:
        return []
    missing = section.update_reviews - sum(item.shown.get("rollout") == newest.id for item in asked)
    if missing <= 0 or not _enough(ws, newest, begun, now, CHOICE * section.update_reviews):
        return []
    version = name_of(newest)
    chosen = review.fill(ws, model, begun, now, missing, version=version, dry_run=True)
    first = f"{version} is new: people look at its first answers"
    shown = {"version": version, "rollout": newest.id}
    return _saved(ws, newest, [replace(each, why=UPDATE, reasons=(first, *each.reasons), shown=shown) for each in chosen])


def name_of(rollout: Rollout) -> str:
    """The name that the log has for the version of a rollout."""
    return rollout.version.rpartition("@")[2]


def looked(ws: Workspace, model: str) -> list[Looked]:
    """What people said of the first answers of each version, the newest first."""
    with ws.state.read() as tx:
        items = [item for item in find_reviews(tx, model=model) if item.why == UPDATE]
    versions = dict.fromkeys(str(item.shown.get("version")) for item in reversed(items))
    return [_looked(version, [item for item in items if item.shown.get("version") == version]) for version in versions]


def as_text(each: Looked) -> str:
    """The same as one line."""
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in sorted(each.verdicts.items()))
    good = "" if each.good is None else f"; {each.good:.0%} good as they were"
    return f"first answers of {each.version}: {each.judged} of {each.queued} judged{f': {verdicts}' if verdicts else ''}{good}"


def _looked(version: str, items: Sequence[ReviewItem]) -> Looked:
    verdicts = Counter(item.verdict for item in items if item.verdict is not None)
    counted = sum(n for verdict, n in verdicts.items() if verdict != "excluded")
    return Looked(
        version=version,
        queued=len(items),
        judged=sum(verdicts.values()),
        verdicts={str(verdict): n for verdict, n in verdicts.items()},
        good=verdicts["good"] / counted if counted else None,
    )


def _enough(ws: Workspace, rollout: Rollout, since: datetime, now: datetime, wanted: int) -> bool:
    """Whether there is something to choose from, or no more time to wait for it."""
    if now - since >= SOON:
        return True
    found = ws.log.find(
        model=rollout.model, since=since, version=name_of(rollout), status="ok", limit=wanted, bodies=False, newest_first=True
    )
    return len(found) >= wanted


def _saved(ws: Workspace, rollout: Rollout, items: Sequence[ReviewItem]) -> list[ReviewItem]:
    """Save the items that nobody saved meanwhile, and tell of them in the same transaction."""
    if not items:
        return []
    with ws.state.write(by="data") as tx:
        known = {item.id for item in find_reviews(tx, model=rollout.model)}
        saved = [save_review(tx, item) for item in items if item.id not in known]
        queue(
            tx,
            id=f"update:{rollout.id}",
            kind="review",
            model=rollout.model,
            subject=f"{rollout.model}: people are asked to look at the first answers of {name_of(rollout)}",
            text=f"{len(saved)} wait: tunekeeper data review --model {rollout.model} --kind {UPDATE}",
            data={"rollout": rollout.id, "version": rollout.version, "items": len(saved)},
        )
    return saved
