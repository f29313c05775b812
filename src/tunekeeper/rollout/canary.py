"""One small step of a rollout: look, decide, write once, return (design rule 2).

The worker calls `tick` for every rollout that is due. Each step is one control transaction guarded by the row's `rev` and the
controller's lease; its effect is "set the weight to X", never "advance", so a step that is repeated after a kill changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tunekeeper.core.nouns.monitoring import Baseline
from tunekeeper.core.nouns.rollout import Rollout, RolloutCheck
from tunekeeper.core.nouns.serving import Route, Slot
from tunekeeper.notify import queue
from tunekeeper.rollout.config import Config
from tunekeeper.rollout.decision import Action, decide
from tunekeeper.rollout.evidence import Looks, failing, gather
from tunekeeper.rollout.incidents import born
from tunekeeper.rollout.moves import back_in, find_route, promote_in, publish_newest
from tunekeeper.rollout.routes import answers, with_weights
from tunekeeper.store.database import Lease, Write
from tunekeeper.store.ledgers.baselines import find_baselines
from tunekeeper.store.ledgers.rollouts import load_rollout, save_rollout
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.workspace import Workspace

MACHINE = "rollout"
KEPT_CHECKS = 200


def tick(
    ws: Workspace,
    rollout_id: str,
    config: Config,
    format_spec: Mapping[str, Any],
    *,
    lease: Lease | None = None,
    looks: Looks | None = None,
) -> Rollout:
    """Take the next step of a rollout and return it as it is now. `looks`: what earlier steps of this process counted, so that a
    look reads only what is new. Raises Conflict or LeaseLost when another was faster."""
    with ws.control.read() as tx:
        rollout = load_rollout(tx, rollout_id)
        slot = next((each for each in find_slots(tx, model=rollout.model) if each.id == rollout.slot), None)
    if rollout.state == "loading":
        saved = _begin(ws, rollout, slot, lease)
    elif rollout.state == "running" and (rollout.due is None or ws.clock.steady() >= rollout.due):
        rollout = _by_this_clock(ws, rollout)
        ready = slot is not None and answers(slot)
        digest = slot.digest if slot else None
        evidence = gather(ws, rollout, format_spec, slot_ready=ready, digest=digest, looks=looks)
        action = decide(rollout, evidence, ws.clock.steady(), min_requests=config.min_requests, prior=_prior(ws, rollout.model))
        saved = _apply(ws, rollout, action, config, format_spec, lease)
    else:
        return rollout
    publish_newest(ws)
    return saved


def _by_this_clock(ws: Workspace, rollout: Rollout) -> Rollout:
    """A rollout that began in what is the future now, because the clock was set back since, is counted anew from now on: else
    nothing would be seen of it until that moment comes. How long a phase lasts is not told by this clock."""
    now = ws.clock.utc()
    if rollout.started_at is None or rollout.started_at <= now:
        return rollout
    return replace(rollout, started_at=now, phase_since=now)


def _begin(ws: Workspace, rollout: Rollout, slot: Slot | None, lease: Lease | None) -> Rollout:
    if slot is None or not answers(slot):
        return rollout
    now, steady = ws.clock.utc(), ws.clock.steady()
    with ws.control.write(by=MACHINE, lease=lease) as tx:
        fresh = load_rollout(tx, rollout.id)
        if fresh.rev != rollout.rev:
            return fresh
        slots = {each.id: each for each in find_slots(tx, model=rollout.model)}
        # One slot has everything now: the only moment at which what assignment sticks to may change.
        route = replace(find_route(tx, rollout.model) or Route(model=rollout.model), assign_by=rollout.assign_by)
        if rollout.strategy == "blue-green" or route.champion is None:
            promote_in(tx, ws, route, rollout.slot, slots, by=MACHINE, reason=f"{rollout.id}: blue-green switch")
            _tell(tx, rollout, "promoted", "blue-green switch")
            return save_rollout(tx, replace(rollout, state="promoted", due=None, started_at=now))
        _move(tx, rollout, route, rollout.phases[0].weight)
        _tell(tx, rollout, f"{rollout.phases[0].weight / 100:g} % of traffic", "canary begins")
        begun = replace(rollout, state="running", phase=0, phase_started=steady, phase_since=now, started_at=now)
        return save_rollout(tx, replace(begun, due=steady + rollout.check_every))


def _apply(
    ws: Workspace, rollout: Rollout, action: Action, config: Config, format_spec: Mapping[str, Any], lease: Lease | None
) -> Rollout:
    now, steady = ws.clock.utc(), ws.clock.steady()
    check = RolloutCheck(at=now, phase=rollout.phase, action=action.kind, reason=action.reason, metrics=dict(action.metrics))
    looked = replace(
        rollout, checks=(*rollout.checks, check)[-KEPT_CHECKS:], verdict=action.verdict, due=steady + rollout.check_every
    )
    failed = failing(ws, rollout, format_spec) if action.kind == "go_back" else ([], {})
    with ws.control.write(by=MACHINE, lease=lease) as tx:
        fresh = load_rollout(tx, rollout.id)
        if fresh.rev != rollout.rev:
            return fresh
        if action.kind == "hold":
            return save_rollout(tx, looked)
        slots = {each.id: each for each in find_slots(tx, model=rollout.model)}
        route = find_route(tx, rollout.model) or Route(model=rollout.model)
        if action.kind == "advance":
            phase = rollout.phase + 1
            _move(tx, rollout, route, rollout.phases[phase].weight)
            _tell(tx, rollout, f"{rollout.phases[phase].weight / 100:g} % of traffic", action.reason)
            return save_rollout(tx, replace(looked, phase=phase, phase_started=steady, phase_since=now))
        if action.kind == "promote":
            promote_in(tx, ws, route, rollout.slot, slots, by=MACHINE, reason=f"{rollout.id}: {action.reason}")
            _tell(tx, rollout, "promoted", action.reason)
            return save_rollout(tx, replace(looked, state="promoted", due=None))
        incident = born(ws.new_id("inc"), rollout, action.reason, *failed, now, config.incident_cases)
        looked = save_rollout(tx, looked)
        back_in(tx, ws, route, route.champion or rollout.slot, slots, reason=action.reason, by=MACHINE, incident=incident)
        _tell(tx, rollout, "gone back", action.reason)
        return load_rollout(tx, rollout.id)


def _move(tx: Write, rollout: Rollout, route: Route, weight: int) -> None:
    from tunekeeper.store.ledgers.routes import save_route

    champion = route.champion or rollout.slot
    wanted = with_weights(route, {rollout.slot: weight}, champion, rollout.slot)
    save_route(tx, replace(wanted, rollout=rollout.id, by=MACHINE, reason=f"{rollout.id}: {weight / 100:g} %", created=None))


def _prior(ws: Workspace, model: str) -> dict[str, float]:
    with ws.state.read() as tx:
        newest: list[Baseline] = find_baselines(tx, model=model, newest_first=True, limit=1)
    values = newest[0].values if newest else {}
    return {"errors": values.get("error_rate", 0.02), "corrections": values.get("edit_rate", 0.05)}


def _tell(tx: Write, rollout: Rollout, what: str, why: str) -> None:
    queue(tx, kind="rollout", subject=f"{rollout.model}: {rollout.version} {what}", text=why, id=f"{rollout.id}/{what}")
