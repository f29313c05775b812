"""Slots that an Ollama answers: a pushed version in the model's standby slot, kept in memory while it is armed."""

from __future__ import annotations

from collections.abc import Callable

from tunekeeper.core.errors import GateFailed, NotFound
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.liveparity import keep
from tunekeeper.deployment.ollamapackage import Package
from tunekeeper.deployment.ollamapush import Pushed, Verified, live_parity, push
from tunekeeper.deployment.slots import declare_slots, free_slot, in_use, observe_slot
from tunekeeper.engines.ollama import OllamaServer
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.transactions import Read
from tunekeeper.workspace import Workspace


def naming(ws: Workspace, name: str) -> tuple[list[Slot], bool]:
    """The slots that ask an Ollama for a name, and whether a route uses one of them."""
    with ws.control.read() as tx:
        slots = [slot for slot in find_slots(tx) if slot.engine == "ollama" and slot.upstream_model == name]
        return slots, any(slot.id in _used(tx, slot.model) for slot in slots)


def push_version(
    ws: Workspace,
    server: OllamaServer,
    package: Package,
    *,
    unload: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> Pushed:
    """`push` of a project's version: one that a route uses stays where it is; a slot that waits with one that failed says so."""
    slots, used = naming(ws, package.name)
    try:
        return push(server, package, guarded=used, unload=unload, told=told)
    except GateFailed as error:
        for slot in slots:
            if not used:
                observe_slot(ws, slot.id, "failed", reason=error.message)
        raise


def arm(
    ws: Workspace,
    section: Config,
    version: Version,
    artifact: Artifact,
    *,
    endpoint: str,
    name: str,
    seen: Verified | None,
    gated: bool = False,
) -> Slot:
    """Put a pushed and verified version into the slot that serves nobody; found again where it is already.

    `endpoint` and `name`: where it is served, with `/v1`, and as what. `seen`: what verifying it there found, kept on the
    artifact. It counts as gated when `gated` says so (a person let it through), or an exam of this very file passed. The prompt
    of a prompted base is kept by the server.
    """
    with ws.state.read() as tx:
        exams = [exam for exam in find_exams(tx, model=version.model) if exam.artifact_digest == artifact.digest]
    with ws.control.read() as tx:
        slots = find_slots(tx, model=version.model)
        held = next((slot for slot in slots if (slot.endpoint, slot.upstream_model) == (endpoint, name)), None)
        place = held.id if held else free_slot(version.model, _used(tx, version.model))
    slot = Slot(
        id=place,
        model=version.model,
        version=version.name,
        engine="ollama",
        endpoint=endpoint,
        upstream_model=name,
        artifact=artifact.id,
        digest=artifact.digest,
        price_in=section.price_in,
        price_out=section.price_out,
        price_hour=section.price_hour,
        gated=gated
        or any(exam.verdict is not None and exam.verdict.outcome == "pass" for exam in exams)
        or bool(held and held.gated),
    )
    if seen is not None:
        quantized = (artifact.quantization or "").startswith("Q")
        keep(ws, artifact.id, live_parity(seen, quantized), endpoint=endpoint, name=name)
    return declare_slots(ws, [slot], vouched=False)[0]


def _used(tx: Read, model: str) -> set[str]:
    try:
        return in_use(load_route(tx, model))
    except NotFound:
        return set()
