"""Slots: which artifact is loaded where, what is wanted of it and what the supervisor saw. This room alone writes them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from tunekeeper.core.errors import ArtifactError, NotFound, OutsideError, UpstreamUnavailable, UserError
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.serving import Route, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.layout import BASE_FILE, files_of
from tunekeeper.deployment.publish import link_or_copy
from tunekeeper.engines.engine import MAPPED, MODEL_DIGEST, api_key_of
from tunekeeper.store.ledgers.routes import load_route, load_route_table
from tunekeeper.store.ledgers.slots import find_slots, load_slot, save_slot
from tunekeeper.store.published import publish
from tunekeeper.store.transactions import Read, Write
from tunekeeper.workspace import Workspace

Observed = Literal["absent", "starting", "ready", "failed", "stopped"]
TELLING_SECONDS = 30.0
"""How long a server of somebody else may take to load what a slot asks for before that is left to later."""
OBSERVING_SECONDS = 2.0
"""How long writing down what was seen may wait for another writer: who saw it has children to look after, and sees it again."""
LORA_PATH = "lora_path"
"""Option of a vLLM's slot: the adapter's folder as the server names it."""
LOAD_SECONDS = "load_seconds"
"""Option of a slot: how long its server took to load it, the last time that was seen."""
ASKED_AT = "asked_at"
"""Option of a slot: when its file was asked for again, so that it is not idle the moment it is there."""
BASE, BASE_DIGEST = "base", "base_digest"
"""Options of a vLLM's slot: where the server has its base from, and the digest of the weights that its version was trained on."""
TOLD = ("ollama", "vllm")
"""Engines whose servers run already and are told what to load."""
COLOURS = ("blue", "green", "next")


def in_use(route: Route | None) -> set[str]:
    """Slots that a route may send requests to now, or must be able to go back to."""
    if route is None:
        return set()
    named = (route.champion, route.previous, route.challenger, route.shadow)
    return {name for name in (*named, *(s.slot for s in route.shares), *(f.slot for f in route.fallback)) if name}


def free_slot(model: str, used: set[str]) -> str:
    """The standby: blue or green, whichever serves nothing; `next` when both hold live versions. Pure."""
    names = [f"{model}-{colour}" for colour in COLOURS] + [f"{model}-next-{number}" for number in range(2, 10)]
    found = next((name for name in names if name not in used), None)
    if found is None:
        raise UserError(f"all slots of {model} are in use", fix=f"tunekeeper route show {model}")
    return found


def arm(ws: Workspace, section: Config, version: Version, artifact: Artifact, *, gated: bool) -> Slot:
    """Have `artifact` loaded in the standby slot; found again where it is already. The file gets the version's own name.

    `gated`: whether its exam passed (or a person let it through). Raises NotFound when the artifact has no file.
    """
    if artifact.digest is None:
        raise NotFound(f"artifact {artifact.id} has no file to load", fix=f"tunekeeper export gguf {version.name} --out FILE")
    files = files_of(artifact, version.name)
    for name, digest in files.values():
        link_or_copy(ws.blobs.path(digest), ws.path(name))
    with ws.control.write(by="deployment") as tx:
        slots = {slot.id: slot for slot in find_slots(tx, model=version.model)}
        held = next((s for s in slots.values() if s.artifact == artifact.id and s.digest == artifact.digest), None)
        name = held.id if held else free_slot(version.model, in_use(_route(tx, version.model)))
        wanted = Slot(
            id=name,
            model=version.model,
            version=version.name,
            engine=artifact.engine,
            artifact=artifact.id,
            digest=artifact.digest,
            files={role: name for role, (name, _) in files.items()},
            system=version.system,
            messages=version.messages,
            price_in=section.price_in,
            price_out=section.price_out,
            price_hour=section.price_hour,
            options={"parallel": section.parallel, "context": section.context, "threads": section.threads}
            | ({MAPPED: True} if BASE_FILE in artifact.metadata else {})
            | ({MODEL_DIGEST: artifact.base} if artifact.base else {}),
            gated=gated or bool(held and held.gated),
        )
        saved = _place(held or slots.get(name), wanted)
        if saved is held:
            return saved
        saved = save_slot(tx, saved)
    _publish(ws)
    return saved


def restore_files(ws: Workspace, slot: Slot, *, doubted: bool = False) -> None:
    """Put back the slot's files that were deleted, or that another file of another size stands for, where they are stored.

    `doubted`: a server refused them, so that a file of the right size may be damaged too.
    """
    whole = slot.options.get(MODEL_DIGEST) if "lora" in slot.files else slot.digest
    for role, digest in (("model", whole), ("lora", slot.digest)):
        name = slot.files.get(role)
        if name is None or digest is None:
            continue
        stored, path = ws.blobs.path(digest), ws.path(name)
        if stored.is_file() and (doubted or not (path.is_file() and path.stat().st_size == stored.stat().st_size)):
            link_or_copy(stored, path)


def _place(before: Slot | None, wanted: Slot) -> Slot:
    """`wanted` as the next state of the slot; the very same value when nothing changes."""
    if before is None:
        return wanted
    wanted = replace(wanted, created=before.created, rev=before.rev)
    kept = ("endpoint", "observed", "pid", "reason")
    if before.artifact == wanted.artifact and before.digest == wanted.digest:
        wanted = replace(wanted, **{name: getattr(before, name) for name in kept})
        if LOAD_SECONDS in before.options:
            wanted = replace(wanted, options={**wanted.options, LOAD_SECONDS: before.options[LOAD_SECONDS]})
    return before if wanted == before else wanted


def observe_slot(
    ws: Workspace,
    slot_id: str,
    observed: Observed,
    *,
    endpoint: str | None = None,
    pid: int | None = None,
    reason: str | None = None,
    digest: str | None = None,
    seconds: float | None = None,
) -> Slot:
    """Write down what the supervisor saw of a slot's server, and publish it to the gateways; nothing when nothing changed.

    `endpoint`: base address with `/v1`, None leaves the address as it is. `digest`: what the observed server had loaded; when
    the slot holds another file by now, the observation is old and is dropped. `seconds`: how long loading took, where that was
    seen. Raises NotFound, and Busy soon when another process holds the lock.
    """
    with ws.control.write(by="supervisor", wait=OBSERVING_SECONDS) as tx:
        slot = load_slot(tx, slot_id)
        if digest is not None and slot.digest is not None and digest != slot.digest:
            return slot
        alive = observed in ("ready", "starting")
        seen = replace(
            slot,
            observed=observed,
            endpoint=endpoint or slot.endpoint,
            pid=pid if pid is not None or not alive else slot.pid,
            reason=reason,
            options=slot.options if seconds is None else {**slot.options, LOAD_SECONDS: round(seconds, 1)},
        )
        if seen == slot:
            return slot
        saved = save_slot(tx, seen)
    _publish(ws, wait=OBSERVING_SECONDS)
    return saved


def unload(ws: Workspace, slot_id: str, *, by: str = "deployment") -> Slot:
    """Ask for a slot's server to be ended, or one of somebody else to give its memory back; file and record stay (BG-08).

    Raises UserError while a route uses it.
    """
    with ws.control.write(by=by) as tx:
        slot = load_slot(tx, slot_id)
        if slot_id in in_use(_route(tx, slot.model)):
            raise UserError(
                f"slot {slot_id} is in use or is what {slot.model} would go back to", fix=f"tunekeeper route show {slot.model}"
            )
        if slot.wanted == "unloaded":
            return slot
        saved = _unloaded(tx, slot)
    _publish(ws)
    tell(saved)
    return saved


def unload_idle(ws: Workspace, model: str, chosen: Callable[[Read, Route, Sequence[Slot]], Sequence[Slot]]) -> list[Slot]:
    """Unload the slots of a model that `chosen` names, also the one it would go back to. Servers of somebody else are not told.

    `chosen` sees the route and the slots of the transaction that it decides for. Nothing is written where it names none.
    """
    with ws.control.read() as tx:
        route = _route(tx, model)
        if route is None or not chosen(tx, route, find_slots(tx, model=model)):
            return []
    with ws.control.write(by="deployment") as tx:
        route = _route(tx, model)
        idle = [] if route is None else chosen(tx, route, find_slots(tx, model=model))
        saved = [_unloaded(tx, slot) for slot in idle]
    _publish(ws)
    return saved


def _unloaded(tx: Write, slot: Slot) -> Slot:
    observed: Observed = "stopped" if slot.engine in TOLD else slot.observed
    return save_slot(tx, replace(slot, wanted="unloaded", observed=observed))


def reload(ws: Workspace, slot_id: str, *, by: str = "deployment") -> Slot:
    """Ask for a slot's file to be loaded again as it is recorded, e.g. a version from long ago to go back to (ADP-05)."""
    with ws.control.write(by=by) as tx:
        slot = load_slot(tx, slot_id)
        if slot.wanted == "loaded" and slot.observed != "failed":
            return slot
        observed: Observed = "ready" if slot.engine in TOLD else "absent"
        options = {**slot.options, ASKED_AT: ws.clock.utc().isoformat()}
        saved = save_slot(tx, replace(slot, wanted="loaded", observed=observed, reason=None, options=options))
    _publish(ws)
    tell(saved)
    return saved


def await_ready(ws: Workspace, slot_id: str, seconds: float = 120.0) -> Slot:
    """Wait until a slot's server answers. Raises UpstreamUnavailable when it fails, or after `seconds` real ones."""
    end = time.monotonic() + seconds
    while True:
        with ws.control.read() as tx:
            slot = load_slot(tx, slot_id)
        if slot.observed == "ready":
            return slot
        if slot.observed == "failed" or time.monotonic() > end:
            why = slot.reason or f"it is {slot.observed} after {seconds:g} s"
            raise UpstreamUnavailable(f"slot {slot_id} does not load: {why}", fix="tunekeeper up loads it; see tunekeeper status")
        time.sleep(0.1)


def tell(slot: Slot) -> None:
    """Have a server of somebody else give a slot's memory back, or load it before the first request does; one that is away does
    neither."""
    if slot.engine not in TOLD or slot.endpoint is None or slot.upstream_model is None:
        return
    with contextlib.suppress(OutsideError, ArtifactError):
        if slot.engine == "vllm":
            _tell_vllm(slot, slot.endpoint, slot.upstream_model)
        else:
            _tell_ollama(slot, slot.endpoint, slot.upstream_model)


def _tell_ollama(slot: Slot, endpoint: str, name: str) -> None:
    from tunekeeper.engines.ollama import AT_ONCE, FOREVER, OllamaServer

    keep_alive = AT_ONCE if slot.wanted == "unloaded" else FOREVER
    OllamaServer(endpoint, api_key_of(slot)).load(name, keep_alive, total=TELLING_SECONDS)


def _tell_vllm(slot: Slot, endpoint: str, name: str) -> None:
    from tunekeeper.engines.vllm import VllmServer

    if (path := slot.options.get(LORA_PATH)) is None:
        return  # the base itself, which stays
    server = VllmServer(endpoint, api_key_of(slot))
    if slot.wanted == "unloaded":
        server.unload(name, total=TELLING_SECONDS)
    else:
        server.load(name, str(path), total=TELLING_SECONDS)


def declare_slots(ws: Workspace, slots: Sequence[Slot], *, vouched: bool = True) -> list[Slot]:
    """Make the slots of a configuration file what the ledger says; unchanged ones stay untouched.

    Outside endpoints are taken at their word: they count as ready. `vouched`: and as gated, as those of `serve --config`, which
    nobody here judges; False leaves that to the slots (endpoints of a project, whose versions sit exams).
    """
    with ws.control.write(by="serve") as tx:
        known = {slot.id: slot for slot in find_slots(tx)}
        saved = [_declared(known.get(slot.id), replace(slot, gated=vouched or slot.gated)) for slot in slots]
        changed = any(known.get(slot.id) != slot for slot in saved)
        saved = [slot if known.get(slot.id) == slot else save_slot(tx, slot) for slot in saved]
    if changed:
        _publish(ws)
    return saved


def _declared(before: Slot | None, wanted: Slot) -> Slot:
    wanted = replace(wanted, observed=wanted.observed if wanted.files else "ready")
    return wanted if before is None else replace(wanted, created=before.created, rev=before.rev, **_seen(before, wanted))


def _seen(before: Slot, wanted: Slot) -> dict[str, Any]:
    """What stays known of a supervised server whose files did not change."""
    if not wanted.files or before.files != wanted.files:
        return {}
    return {"observed": before.observed, "endpoint": before.endpoint, "pid": before.pid, "reason": before.reason}


def _publish(ws: Workspace, *, wait: float = 30.0) -> None:
    """Publish the newest routes and slots; under the control lock, so that publishers never overtake one another."""
    with ws.control.write(by="deployment", wait=wait) as tx:
        publish(ws.root, load_route_table(tx))


def _route(tx: Read, model: str) -> Route | None:
    try:
        return load_route(tx, model)
    except NotFound:
        return None
