"""Where a request may go, in which order. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tunekeeper.core.nouns.serving import Route
from tunekeeper.gateway.config import Durability
from tunekeeper.gateway.routing import Choice
from tunekeeper.gateway.tables import Obeyed, Target


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a request may go: the assigned slot first."""

    route: Route
    """The route that chose."""
    candidates: tuple[tuple[Target, str | None], ...]
    """Target and the variant it answers as, in the order they are asked."""
    power: bool
    """Whether the record is synced before the last byte."""


def plan_of(obeyed: Obeyed, route: Route, choice: Choice, durability: Durability, *, pinned: bool) -> Plan:
    """The assigned slot, then the route's fallbacks. `durability`: the gateway's own, where the route says nothing. `pinned`: the
    slot was asked for by name, so no other may answer in its place."""
    first = obeyed.targets[choice.slot]
    others = () if pinned else obeyed.fallbacks.get(route.model, ())
    rest = [(target, "fallback") for target in others if target.fallback or target.slot != choice.slot]
    return Plan(route, ((first, choice.variant), *rest), (route.durability or durability) == "power")
