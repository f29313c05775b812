"""Pure changes of a route: values in, the next route out. `moves.py` commits them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.serving import FallbackEntry, Promotion, Route, Share, Slot, Timeouts, Variant
from tunekeeper.rollout.buckets import reallocate

EXPERIMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE)
"""What an experiment can be called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RouteSeed:
    """What a configuration file says about one model's route."""

    model: str
    """The model."""
    weights: Mapping[str, int]
    """Slot → ten-thousandths, together 10,000; empty where the file leaves the shares to rollouts."""
    block: str | None
    """Digest of the file's `route` block alone: only its change moves traffic again. None: it has none."""
    assign_by: str = "user"
    """What assignment sticks to."""
    fallback: tuple[FallbackEntry, ...] = ()
    """Ordered fallbacks."""
    shadow: str | None = None
    """Slot that gets copies."""
    shadow_share: int = 0
    """Ten-thousandths of requests that are copied."""
    timeouts: Timeouts = Timeouts()
    """Deadlines."""
    confidence_floor: float | None = None
    """As `Route.confidence_floor`."""
    durability: Literal["process", "power"] | None = None
    """`process` or `power`; None takes the gateway's."""
    static: str | None = None
    """Path of the routing file that alone decides."""


def held(route: Route) -> dict[str, tuple[tuple[int, int], ...]]:
    """Slot → ranges."""
    return {share.slot: share.ranges for share in route.shares}


def with_weights(route: Route, weights: Mapping[str, int], champion: str, challenger: str | None) -> Route:
    """The route after giving every slot but the champion its weight; the champion keeps the rest."""
    ranges = reallocate(held(route), weights, champion)
    order = sorted((slot for slot in ranges if ranges[slot]), key=lambda slot: slot != champion)
    shares = tuple(Share(slot=slot, variant=_variant(slot, champion), ranges=ranges[slot]) for slot in order)
    return replace(route, shares=shares, champion=champion, challenger=challenger, withdrawn=False)


def under(route: Route, experiment: str | None) -> Route:
    """The route as an experiment needs it before its shares are set (AB-01): its id goes into the assignment's hash, so that the
    same id always assigns the same units, and is noted with every request. None ends the one that is under way; nobody moves.

    Raises UserError for an id that is none, and while several slots share the traffic: their users would change sides.
    """
    if experiment is None or route.rollout == experiment:
        return replace(route, rollout=experiment)
    if EXPERIMENT.fullmatch(experiment) is None or experiment.startswith("rol_"):
        raise UserError(f"{experiment[:80]!r} cannot name an experiment", fix="use 1 to 64 of a-z 0-9 . _ - (not rol_…)")
    if len(route.shares) > 1:
        now = f"experiment {route.rollout}" if route.rollout else "another assignment"
        fix = f"tunekeeper route set {route.model} {route.champion}=10000"
        raise UserError(f"{route.model} is under {now}: its users would change sides", fix=fix)
    return replace(route, salt=experiment, rollout=experiment)


def all_to(route: Route, slot: str, *, salt: str) -> Route:
    """The route after one slot got everything: the only moment at which the salt may change."""
    previous = route.champion if route.champion != slot else route.previous
    bare = replace(route, shares=(), salt=salt, rollout=None)
    return replace(with_weights(bare, {}, slot, None), previous=previous, shadow=None if route.shadow == slot else route.shadow)


def seeded(current: Route | None, seed: RouteSeed, salt: str) -> Route | None:
    """The route a configuration file asks for; None when what is committed says the same already.

    The committed shares win over the file's, unless the file's `route` block itself changed since it was applied; so do those of
    a model that files did not name for a while. A seed without
    weights leaves them alone; while nobody has a share, what it says waits in a route without any. What assignment sticks to does
    not change under a rollout, whose evidence is counted by it.
    """
    base = current if current is not None else Route(model=seed.model, salt=salt if seed.weights else "")
    wanted = base
    if seed.weights and (current is None or current.seed != seed.block or seed.static is not None):
        champion = heaviest(seed.weights)
        others = {slot: weight for slot, weight in seed.weights.items() if slot != champion}
        moved = with_weights(base, others, champion, next(iter(others), None))
        wanted = replace(moved, rollout=None, previous=base.previous if base.champion in (None, champion) else base.champion)
    assign_by = seed.assign_by if wanted.rollout is None else wanted.assign_by
    if current is None and not seed.weights:
        base = replace(base, assign_by=assign_by)  # by itself no reason for a row: each rollout sets it as it begins
    wanted = replace(
        wanted,
        assign_by=assign_by,
        fallback=seed.fallback,
        shadow=seed.shadow,
        shadow_share=seed.shadow_share,
        timeouts=seed.timeouts,
        confidence_floor=seed.confidence_floor,
        durability=seed.durability,
        static=seed.static,
        withdrawn=False,
        seed=seed.block,
    )
    return None if wanted == base else wanted


def heaviest(weights: Mapping[str, int]) -> str:
    """The slot with most traffic, the first named among equals."""
    return max(weights, key=lambda slot: weights[slot])


def way_back(route: Route, history: Sequence[Promotion], slots: Mapping[str, Slot]) -> str | None:
    """The slot a rollback goes to; None when nothing earlier is loaded.

    During a canary it is the champion. After a promotion it is the newest earlier champion that was not itself gone back from,
    unless it was promoted again since, and that still holds the version it held then: going back never bounces.
    """
    if route.challenger is not None and any(share.slot == route.challenger for share in route.shares):
        return route.champion
    left = _gone_back_from(history)
    for entry in sorted(history, key=lambda each: each.generation, reverse=True):
        slot = slots.get(entry.champion)
        if entry.champion == route.champion or slot is None or (entry.champion, entry.version) in left:
            continue
        if slot.version == entry.version and answers(slot):
            return entry.champion
    return None


def answers(slot: Slot) -> bool:
    """Whether a slot can take traffic now: a server we supervise must be ready, an outside endpoint is taken at its word, and one
    that was asked to give its memory back has nothing loaded."""
    return slot.wanted == "loaded" and slot.endpoint is not None and (slot.observed == "ready" or not slot.files)


def must_load(route: Route, history: Sequence[Promotion], slots: Mapping[str, Slot], to: str | None = None) -> Slot | None:
    """The slot that a rollback would go to if its file, which was unloaded, were loaded; None where none is in the way. Pure.

    `to`: a version or slot that was asked for.
    """
    if to is not None:
        if holding(to, slots.values()) is not None:
            return None
        return next(filter(_asleep, _called(to, slots.values())), None)
    awake = {
        name: replace(slot, wanted="loaded", observed="ready", endpoint=slot.endpoint or "its own") if _asleep(slot) else slot
        for name, slot in slots.items()
    }
    target = way_back(route, history, awake)
    return slots[target] if target is not None and _asleep(slots[target]) else None


def _asleep(slot: Slot) -> bool:
    return slot.wanted == "unloaded"


def holding(version: str, slots: Iterable[Slot]) -> str | None:
    """The slot that holds `version` (its name, its id `<model>@<name>`, or a beginning such as `v1.0` that no other shares) and
    answers.
    """
    return next((slot.id for slot in _called(version, slots) if answers(slot)), None)


def _called(version: str, slots: Iterable[Slot]) -> list[Slot]:
    """The slots that hold a version of that name or are called so themselves, else the one whose version's name begins so."""
    held = [(slot, slot.version, f"{slot.model}@{slot.version}") for slot in slots if slot.version is not None]
    exact = [slot for slot, name, id in held if version in (name, id, slot.id)]
    begins = f"{version}-"
    near = [(slot, name) for slot, name, id in held if name.startswith(begins) or id.startswith(begins)]
    return exact or ([slot for slot, _ in near] if len({name for _, name in near}) == 1 else [])


def _variant(slot: str, champion: str) -> Variant:
    return "champion" if slot == champion else "challenger"


def _gone_back_from(history: Sequence[Promotion]) -> set[tuple[str | None, str | None]]:
    """Slots, with the version they held, that a rollback has left and nobody has put back since."""
    held: dict[str | None, str | None] = {}
    left: set[tuple[str | None, str | None]] = set()
    for entry in sorted(history, key=lambda each: each.generation):
        if entry.kind == "rollback":
            left.add((entry.left, held.get(entry.left)))
        held[entry.champion] = entry.version
        left.discard((entry.champion, entry.version))
    return left
