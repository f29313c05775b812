"""Traffic moves: one commit in `control.db`, published, obeyed by every live worker before the call returns.

Going back reads `control.db` alone: no configuration, no approval, no metric, no other database (design promise 2).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tunekeeper.core.errors import GateFailed, NotFound, UpstreamUnavailable, UserError
from tunekeeper.core.nouns.evaluation import Verdict
from tunekeeper.core.nouns.rollout import Incident, Rollout
from tunekeeper.core.nouns.serving import Promotion, Route, Slot
from tunekeeper.rollout.routes import (
    RouteSeed,
    all_to,
    answers,
    heaviest,
    holding,
    must_load,
    seeded,
    under,
    way_back,
    with_weights,
)
from tunekeeper.store.database import Read, Write
from tunekeeper.store.ledgers.incidents import save_incident
from tunekeeper.store.ledgers.promotions import append_promotion, find_promotions
from tunekeeper.store.ledgers.rollouts import find_rollouts, save_rollout
from tunekeeper.store.ledgers.routes import find_routes, load_route, load_route_table, save_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.published import barrier
from tunekeeper.store.publishing import publish_newest as publish_committed
from tunekeeper.store.reserve import make_room
from tunekeeper.text.redaction import said
from tunekeeper.workspace import Workspace

BY_FILE = "configuration file"
"""Reason of a route that a configuration file set."""
BREAK_AFTER = 0.3  # seconds that going back waits for another process's lock before it breaks it


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """What a change of route did."""

    model: str
    """The model."""
    before: str | None
    """Version (or slot) that had most traffic."""
    after: str | None
    """Version (or slot) that has most traffic now."""
    route_version: int
    """Generation of the new route."""
    acknowledged_by: tuple[str, ...]
    """Workers that obey it."""
    pending: tuple[tuple[int, str], ...]
    """Workers that have not said so within the barrier, with the reason; they cannot serve an old route."""
    ms: float
    """Real milliseconds from the call to its return."""

    def as_json(self) -> dict[str, object]:
        """The shape of section 4 of the interfaces."""
        return {
            "model": self.model,
            "from": self.before,
            "to": self.after,
            "route_version": self.route_version,
            "acknowledged_by": list(self.acknowledged_by),
            "pending": [list(each) for each in self.pending],
            "ms": round(self.ms, 3),
        }


def rollback(ws: Workspace, model: str, *, to: str | None = None, by: str, reason: str = "rollback") -> Move:
    """Go back at once. `to`: a version or slot that is loaded; None chooses (see `way_back`).

    Ends the active rollout and opens an incident in the same transaction. Raises UpstreamUnavailable (exit 4) when nothing to go
    back to is loaded, UserError for a static route, GateFailed for a named version that was never live and passed no gate.
    """
    started = time.perf_counter()
    make_room(ws.root)
    with ws.control.write(by=by, break_after=BREAK_AFTER) as tx:
        route, slots, target = _aim(tx, model, to)
        saved = back_in(tx, ws, route, target, slots, reason=said(reason), by=by)
    return _published(ws, _leaving(route), saved.champion, saved, slots, started)


def _aim(tx: Read, model: str, to: str | None) -> tuple[Route, dict[str, Slot], str]:
    """The route, its slots and the one to go back to; raises as `rollback` does when there is none."""
    route = _committed(tx, model)
    if to is not None and not to.strip():
        raise UserError("what to go back to is empty", fix=f"tunekeeper route show {model}; or leave out --to: the previous one")
    slots = {slot.id: slot for slot in find_slots(tx, model=model)}
    history = find_promotions(tx, model=model)
    target = holding(to, slots.values()) if to else way_back(route, history, slots)
    if target is not None:
        if to:
            _must_have_served(tx, route, slots[target])
        return route, slots, target
    what, fix = f"no earlier version of {model} is loaded", f"name one that is: tunekeeper rollback {model} --to VERSION"
    if to:
        what = f"{to!r} is not loaded"
    asleep = must_load(route, history, slots, to)
    if asleep is not None:
        what = f"{asleep.version} in slot {asleep.id} was unloaded and must load first ({load_time(asleep)})"
        fix = f"tunekeeper rollback {model} --load"
    raise UpstreamUnavailable(f"cannot go back: {what}", fix=fix)


def _must_have_served(tx: Read, route: Route, slot: Slot) -> None:
    """Going back is to what users had: a slot that passed no gate, answers nobody and never did is no way round the gate."""
    served = {(each.champion, each.version) for each in find_promotions(tx, model=route.model)}
    if not slot.gated and slot.id not in {share.slot for share in route.shares} and (slot.id, slot.version) not in served:
        raise GateFailed(
            f"cannot go back to {slot.version}: it was never live, and passed no gate",
            fix=f"tunekeeper route set {route.model} {slot.id}=10000 --override REASON",
        )


def to_load(ws: Workspace, model: str, to: str | None = None) -> Slot | None:
    """The slot that `rollback` would go to were it loaded; None where nothing has to be loaded first."""
    with ws.control.read() as tx:
        slots = {slot.id: slot for slot in find_slots(tx, model=model)}
        return must_load(load_route(tx, model), find_promotions(tx, model=model), slots, to)


def load_time(slot: Slot) -> str:
    """How long a slot took to load the last time, in words."""
    seconds = slot.options.get("load_seconds")
    return "how long that takes is not known" if seconds is None else f"{seconds:g} s the last time"


def halt(ws: Workspace, model: str, *, by: str, reason: str) -> Move:
    """End the active rollout: everything to the champion, at once. Raises NotFound when none is under way; then nothing moves."""
    champion, _ = would_halt(ws, model)
    return rollback(ws, model, to=champion, by=by, reason=reason)


def would_halt(ws: Workspace, model: str) -> tuple[str, Rollout]:
    """The slot that all would go to and the rollout that `halt` would end; changes nothing, and raises where `halt` would."""
    with ws.control.read() as tx:
        champion = load_route(tx, model).champion
        active = find_rollouts(tx, model=model, state=("loading", "running"))
    if not active or champion is None:
        raise NotFound(f"{model} has no rollout under way", fix=f"tunekeeper deploy status {model}")
    return champion, active[-1]


def would_go_back_to(ws: Workspace, model: str, to: str | None = None) -> str:
    """The slot that `rollback` would choose now; changes nothing, and raises where `rollback` would."""
    with ws.control.read() as tx:
        return _aim(tx, model, to)[2]


def back_in(
    tx: Write,
    ws: Workspace,
    route: Route,
    target: str,
    slots: Mapping[str, Slot],
    *,
    reason: str,
    by: str,
    incident: Incident | None = None,
) -> Route:
    """Within a transaction: give `target` everything, end the active rollout, open the incident, note the history."""
    left = _leaving(route)
    rollout = next(iter(find_rollouts(tx, model=route.model, state=("loading", "running"))), None)
    saved = save_route(tx, replace(all_to(route, target, salt=_salt(ws)), by=by, reason=reason, created=None))
    now = ws.clock.utc()
    version = slots[left].version if left is not None and left in slots else None
    made = incident or Incident(
        id=ws.new_id("inc"),
        model=route.model,
        version=f"{route.model}@{version}" if version else (left or ""),
        rollout=rollout.id if rollout else None,
        reason=reason,
        due=now + timedelta(hours=24),
    )
    if left is not None and left != target:
        save_incident(tx, made)
        append_promotion(tx, _line(ws, saved, route, slots, kind="rollback", left=left))
    if rollout is not None:
        verdict = rollout.verdict or Verdict(outcome="fail", reasons=(reason,), subject=rollout.version)
        save_rollout(tx, replace(rollout, state="rolled_back", due=None, verdict=verdict, incident=made.id))
    return saved


def set_route(
    ws: Workspace,
    model: str,
    weights: Mapping[str, int],
    *,
    by: str,
    reason: str = "set by hand",
    override: str | None = None,
    experiment: str | None = None,
) -> Move:
    """Share a model's traffic among slots, in ten-thousandths that add up to 10,000.

    Ends an active rollout in the same transaction. `experiment`: as of `routes.under`; over when one slot has everything. Raises
    UserError on unknown slots or wrong sums, GateFailed for a slot whose version passed no gate unless `override` gives a reason.
    """
    started = time.perf_counter()
    make_room(ws.root)
    with ws.control.write(by=by) as tx:
        route, slots = _allowed(tx, model, weights, override)
        _end_rollouts(tx, model, f"route set by {by}")
        # Who was champion stays it while anything is left to it, however little: `rollback` then goes back there.
        kept = route.champion if weights.get(route.champion or "", 0) > 0 else None
        champion = kept or heaviest(weights)
        others = {slot: weight for slot, weight in weights.items() if slot != champion and weight > 0}
        previous = route.champion if route.champion != champion else route.previous
        base = under(route, experiment if others else None)
        wanted = replace(with_weights(base, others, champion, next(iter(others), None)), previous=previous)
        text = said(reason if override is None else f"{reason}; override: {override}")
        saved = save_route(tx, replace(wanted, by=by, reason=text, created=None))
        if champion != route.champion:
            append_promotion(tx, _line(ws, saved, route, slots))
    return _published(ws, route.champion, saved.champion, saved, slots, started)


def may_set_route(ws: Workspace, model: str, weights: Mapping[str, int], *, override: str | None = None) -> None:
    """Raise where `set_route` would; changes nothing."""
    with ws.control.read() as tx:
        _allowed(tx, model, weights, override)


def _allowed(tx: Read, model: str, weights: Mapping[str, int], override: str | None) -> tuple[Route, dict[str, Slot]]:
    """The route and its slots, when the weights may be set."""
    route = _committed(tx, model)
    if (total := sum(weights.values())) != 10_000 or any(weight < 0 for weight in weights.values()):
        champion = route.champion
        beside = champion is not None and champion not in weights and total < 10_000
        meant = {f"{champion}": 10_000 - total, **weights} if beside else {"S": 9_000, "T": 1_000}
        words = " ".join(f"{slot}={weight}" for slot, weight in meant.items())
        raise UserError(f"weights of {model} add up to {total}, not 10000", fix=f"tunekeeper route set {model} {words}")
    if override is not None and not override.strip():
        raise UserError("an override without a reason lets nothing pass", fix="--override REASON")
    slots = {slot.id: slot for slot in find_slots(tx, model=model)}
    for slot in weights:
        _may_serve(slot, slots, model, override)
    return route, slots


def promote(ws: Workspace, model: str, slot: str, *, by: str, reason: str) -> Move:
    """Give `slot` all of a model's traffic: the blue-green switch, the end of a canary, the first route."""
    started = time.perf_counter()
    with ws.control.write(by=by) as tx:
        slots = {each.id: each for each in find_slots(tx, model=model)}
        route = find_route(tx, model) or Route(model=model)
        saved = promote_in(tx, ws, route, slot, slots, by=by, reason=said(reason))
    return _published(ws, route.champion, saved.champion, saved, slots, started)


def promote_in(tx: Write, ws: Workspace, route: Route, slot: str, slots: Mapping[str, Slot], *, by: str, reason: str) -> Route:
    """Within a transaction: everything to `slot`, noted in the history. Doing it twice changes nothing."""
    if route.champion == slot and len(route.shares) == 1 and route.generation and not route.withdrawn:
        return route
    saved = save_route(tx, replace(all_to(route, slot, salt=_salt(ws)), by=by, reason=reason, created=None))
    append_promotion(tx, _line(ws, saved, route, slots))
    return saved


def seed_routes(ws: Workspace, seeds: Sequence[RouteSeed], *, by: str) -> list[Route]:
    """Commit and publish what a configuration file asks for, where it differs from what is committed. Returns every route now."""
    routes = []
    with ws.control.write(by=by) as tx:
        for seed in seeds:
            current = find_route(tx, seed.model)
            wanted = seeded(current, seed, _salt(ws))
            if wanted is not None and current is not None and wanted.shares != current.shares:
                _end_rollouts(tx, seed.model, "route set by the configuration file")
            routes.append(save_route(tx, replace(wanted, by=by, reason=BY_FILE, created=None)) if wanted else current)
            before = current or Route(model=seed.model)
            if wanted is not None and wanted.champion != before.champion:
                slots = {each.id: each for each in find_slots(tx, model=seed.model)}
                append_promotion(tx, _line(ws, routes[-1] or wanted, before, slots))
    publish_newest(ws)
    return [route for route in routes if route is not None]


def withdraw(ws: Workspace, kept: Collection[str], *, by: str) -> list[str]:
    """Commit that the models which earlier files of `by` declared, and which are not among `kept`, answer nobody; the caller
    publishes. Returns them.

    Their routes stay as they were set, and count again when a file names the model again. Models of which versions are deployed
    are left alone: no file of `by` says who answers them.
    """
    with ws.control.read() as tx:
        gone = [route for model, route in load_route_table(tx).routes.items() if model not in kept and _declared(tx, route, by)]
    if not gone:
        return []
    reason = "the configuration file names the model no more"
    with ws.control.write(by=by) as tx:
        for route in gone:
            _end_rollouts(tx, route.model, reason)
            save_route(tx, replace(load_route(tx, route.model), withdrawn=True, by=by, reason=reason, created=None))
    return [route.model for route in gone]


def _declared(tx: Read, route: Route, by: str) -> bool:
    """Whether files of `by` alone say who answers a model: none of its slots was filled by deployment."""
    said = next((each.by for each in find_routes(tx, route.model) if each.reason == BY_FILE), None)
    return said == by and all(slot.artifact is None for slot in find_slots(tx, model=route.model))


def find_route(tx: Read, model: str) -> Route | None:
    """The committed route of a model, None when it never had one."""
    try:
        return load_route(tx, model)
    except NotFound:
        return None


def publish_newest(ws: Workspace, *, break_after: float | None = None) -> int:
    """Publish the newest committed table; returns its generation. Called again it does nothing, so every tick may call it."""
    return publish_committed(ws.control, ws.root, by="publish", break_after=break_after)


def _committed(tx: Read, model: str) -> Route:
    route = load_route(tx, model)
    if route.withdrawn:
        raise NotFound(f"{model} is not served: {route.reason}", fix=f"put {model} into the file again and restart `serve`")
    if route.static is not None:
        raise UserError(f"the route of {model} is static: the file {route.static} alone decides", fix=f"edit {route.static}")
    return route


def _end_rollouts(tx: Write, model: str, why: str) -> None:
    """A person's word about the shares ends what a rollout was doing with them."""
    for rollout in find_rollouts(tx, model=model, state=("loading", "running")):
        verdict = Verdict(outcome="inconclusive", reasons=(why,), subject=rollout.version)
        save_rollout(tx, replace(rollout, state="stopped", due=None, verdict=verdict))


def _may_serve(name: str, slots: Mapping[str, Slot], model: str, override: str | None) -> None:
    slot = slots.get(name)
    if slot is None:
        raise NotFound(
            f"{model} has no slot {name!r}; it has: {', '.join(sorted(slots)) or 'none'}", fix=f"tunekeeper route show {model}"
        )
    if not slot.gated and override is None:
        raise GateFailed(f"slot {name} holds {slot.version or 'nothing'}, which passed no gate", fix="add --override REASON")
    if not answers(slot):
        raise UpstreamUnavailable(f"slot {name} does not answer: {slot.observed}", fix="tunekeeper status")


def _line(
    ws: Workspace, saved: Route, before: Route, slots: Mapping[str, Slot], *, kind: str = "promotion", left: str | None = None
) -> Promotion:
    champion = saved.champion or ""
    return Promotion(
        id=ws.new_id("prm"),
        model=saved.model,
        generation=saved.generation,
        champion=champion,
        version=slots[champion].version if champion in slots else None,
        previous=before.champion,
        kind="rollback" if kind == "rollback" else "promotion",
        left=left,
        created=ws.clock.utc(),
    )


def _published(
    ws: Workspace, before: str | None, after: str | None, saved: Route, slots: Mapping[str, Slot], started: float
) -> Move:
    generation = publish_newest(ws, break_after=BREAK_AFTER)
    acknowledged, pending = barrier(ws.root, generation)
    return Move(
        model=saved.model,
        before=_version(before, slots),
        after=_version(after, slots),
        route_version=saved.generation,
        acknowledged_by=tuple(acknowledged),
        pending=tuple(pending),
        ms=(time.perf_counter() - started) * 1000,
    )


def _leaving(route: Route) -> str | None:
    """The slot that a rollback leaves: the challenger while it has traffic, else the champion."""
    active = route.challenger is not None and any(share.slot == route.challenger for share in route.shares)
    return route.challenger if active else route.champion


def _version(slot: str | None, slots: Mapping[str, Slot]) -> str | None:
    return slots[slot].version or slot if slot is not None and slot in slots else slot


def _salt(ws: Workspace) -> str:
    return ws.new_id("salt")
