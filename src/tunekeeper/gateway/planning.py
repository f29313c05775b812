"""Where a request may go, in which order. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tunekeeper.core.nouns.serving import Attempt, Route
from tunekeeper.gateway.config import Durability
from tunekeeper.gateway.health import Health
from tunekeeper.gateway.routing import Choice
from tunekeeper.gateway.tables import Obeyed, Target

Candidate = tuple[Target, str | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a request may go: the assigned slot first."""

    route: Route
    """The route that chose."""
    candidates: tuple[Candidate, ...]
    """Target and the variant it answers as, in the order they are asked."""
    power: bool
    """Whether the record is synced before the last byte."""


def plan_of(obeyed: Obeyed, route: Route, choice: Choice, durability: Durability, *, pinned: bool) -> Plan:
    """The assigned slot, then the route's fallbacks; worked out once for each table. `durability`: the gateway's own, where the
    route says nothing. `pinned`: the slot was asked for by name, so no other may answer in its place."""
    kind = (route.model, choice.slot, choice.variant, pinned)
    plan = obeyed.plans.get(kind)
    if plan is None:
        first = obeyed.targets[choice.slot]
        others = () if pinned else obeyed.fallbacks.get(route.model, ())
        rest = [(target, "fallback") for target in others if target.fallback or target.slot != choice.slot]
        plan = Plan(route, ((first, choice.variant), *rest), (route.durability or durability) == "power")
        obeyed.plans[kind] = plan
    return plan


def reachable(candidates: tuple[Candidate, ...], start: int) -> bool:
    """Whether any candidate from number `start` on has an address to connect to."""
    return any(target.address is not None for target, _ in candidates[start:])


def following(
    candidates: tuple[Candidate, ...], start: int, health: Health, now: float, *, spare: bool
) -> tuple[int, list[Attempt]]:
    """Number of the candidate to ask next, from `start` on (their count: none), and the attempts that were not made on the way.

    A slot that rests is passed over while a later one could answer: never the last that can. `spare`: whether an extra call is
    left; without one, a slot that has just failed is passed over as well, because nothing could be asked after it.
    """
    passed: list[Attempt] = []
    for number in range(start, len(candidates)):
        target = candidates[number][0]
        if target.address is None:
            passed.append(Attempt(slot=target.slot, error="slot_unavailable"))
            continue
        rests = health.resting(target.slot, now)
        if not rests and (spare or not health.shaky(target.slot)):
            return number, passed
        if not willing(candidates, number + 1, health, now, steady=not rests):
            return number, passed
        passed.append(Attempt(slot=target.slot, error="asked_to_wait" if health.waiting(target.slot, now) else "ejected"))
    return len(candidates), passed


def willing(candidates: tuple[Candidate, ...], start: int, health: Health, now: float, *, steady: bool = False) -> bool:
    """Whether any candidate from number `start` on can be asked and does not rest; `steady`: nor has just failed."""
    return any(
        target.address is not None and not health.resting(target.slot, now) and not (steady and health.shaky(target.slot))
        for target, _ in candidates[start:]
    )
