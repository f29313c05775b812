"""Slots that a vLLM answers: a verified adapter in the model's standby slot, beside the one that serves."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from tunekeeper.core.errors import NotFound, TunekeeperError
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.liveparity import keep
from tunekeeper.deployment.slots import BASE, BASE_DIGEST, LORA_PATH, declare_slots, free_slot, in_use
from tunekeeper.deployment.vllmload import Served
from tunekeeper.engines.engine import api_key_of
from tunekeeper.engines.vllm import VllmServer
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.transactions import Read
from tunekeeper.workspace import Workspace


def pointed_at(ws: Workspace, name: str | None) -> bool:
    """Whether a route uses a slot that asks a vLLM for this name."""
    with ws.control.read() as tx:
        slots = [slot for slot in find_slots(tx) if slot.engine == "vllm" and slot.upstream_model == name]
        return any(slot.id in _used(tx, slot.model) for slot in slots)


def arm(
    ws: Workspace, section: Config, version: Version, artifact: Artifact | None, served: Served, *, gated: bool = False
) -> Slot:
    """Put a verified version into the slot that serves nobody; found again where it is already. What that slot held is unloaded.

    `artifact`: the file that its exams run, None when there is none. It counts as gated when `gated` says so (a person let it
    through), or an exam of that very file passed.
    """
    with ws.control.read() as tx:
        slots = find_slots(tx, model=version.model)
        asked = (served.endpoint, served.name, version.name)
        held = next((slot for slot in slots if (slot.endpoint, slot.upstream_model, slot.version) == asked), None)
        place = held.id if held else free_slot(version.model, _used(tx, version.model))
    before = next((slot for slot in slots if slot.id == place), None)
    slot = Slot(
        id=place,
        model=version.model,
        version=version.name,
        engine="vllm",
        endpoint=served.endpoint,
        upstream_model=served.name,
        artifact=artifact.id if artifact else None,
        digest=artifact.digest if artifact else None,
        system=version.system,
        messages=version.messages,
        api_key_env=section.api_key_env,
        price_in=section.price_in,
        price_out=section.price_out,
        price_hour=section.price_hour,
        options={BASE: served.root, BASE_DIGEST: version.base_digest} | ({LORA_PATH: served.path} if served.path else {}),
        gated=gated or _passed(ws, version, artifact) or bool(held and held.gated),
    )
    armed = declare_slots(ws, [slot], vouched=False)[0]
    if artifact is not None and served.parity is not None:
        keep(ws, artifact.id, served.parity, endpoint=served.endpoint, name=served.name)
    _retire(before, [each for each in slots if each.id != place] + [armed])
    return armed


def _passed(ws: Workspace, version: Version, artifact: Artifact | None) -> bool:
    if artifact is None or artifact.digest is None:
        return False
    with ws.state.read() as tx:
        exams = [exam for exam in find_exams(tx, model=version.model) if exam.artifact_digest == artifact.digest]
    return any(exam.verdict is not None and exam.verdict.outcome == "pass" for exam in exams)


def _retire(before: Slot | None, kept: Sequence[Slot]) -> None:
    """Unload the adapter that a slot held until now, unless another slot asks for it; a server that is away holds none."""
    if before is None or before.engine != "vllm" or before.endpoint is None or LORA_PATH not in before.options:
        return
    if any((slot.endpoint, slot.upstream_model) == (before.endpoint, before.upstream_model) for slot in kept):
        return
    with contextlib.suppress(TunekeeperError):
        VllmServer(before.endpoint, api_key_of(before)).unload(before.upstream_model or "")


def _used(tx: Read, model: str) -> set[str]:
    try:
        return in_use(load_route(tx, model))
    except NotFound:
        return set()
