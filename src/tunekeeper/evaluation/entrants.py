"""Who sits the exam: the candidate's artifact, and what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.engines.engine import MODEL_DIGEST
from tunekeeper.evaluation.config import Config
from tunekeeper.store.ledgers.artifacts import find_artifacts, load_artifact
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.slots import find_slots, load_slot
from tunekeeper.store.ledgers.versions import find_versions, load_version
from tunekeeper.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrant:
    """One that answers the cases."""

    version: str
    """Version id."""
    slot: Slot
    """What to serve for it, or where it answers."""
    artifact: str | None
    """Artifact id; None for a hosted model."""
    digest: str | None
    """Digest of its file."""


def candidate(ws: Workspace, artifact: Artifact, section: Config) -> Entrant:
    """The artifact itself, as it would be served: same file, prompt and engine. Raises NotFound for a hosted one without slot."""
    with ws.state.read() as tx:
        version = load_version(tx, artifact.version)
    if artifact.digest is None:
        return Entrant(version=version.id, slot=_hosted(ws, artifact), artifact=artifact.id, digest=None)
    slot = Slot(
        id=f"exam-{artifact.id}",
        model=artifact.model,
        version=version.name,
        engine=artifact.engine,
        artifact=artifact.id,
        digest=artifact.digest,
        files=_files(ws, artifact),
        system=version.system,
        messages=version.messages,
        options=_options(section) | ({MODEL_DIGEST: artifact.base} if artifact.base else {}),
    )
    return Entrant(version=version.id, slot=slot, artifact=artifact.id, digest=artifact.digest)


def _files(ws: Workspace, artifact: Artifact) -> dict[str, str]:
    """What its server loads: an adapter beside its base, or a whole model."""
    roles = {"model": artifact.base, "lora": artifact.digest} if artifact.base else {"model": artifact.digest}
    return {role: str(ws.blobs.path(digest).relative_to(ws.root)) for role, digest in roles.items() if digest}


def entrant_of(ws: Workspace, model: str, name: str, section: Config) -> Entrant:
    """The entrant of a version: by id or by name, through its newest artifact, else through the slot that holds it.

    `@champion` and `@previous` are what the route says. Raises NotFound.
    """
    if name.rpartition("@")[2] in ("champion", "previous"):
        return _of_slot(_route_slot(ws, model, name.rpartition("@")[2]), section)
    version = _version(ws, model, name)
    with ws.state.read() as tx:
        made = [a for a in find_artifacts(tx, model=model, newest_first=True) if a.version == version.id]
    if made:
        return candidate(ws, made[0], section)
    with ws.control.read() as tx:
        loaded = [s for s in find_slots(tx, model=model, newest_first=True) if s.version == version.name]
    if not loaded:
        raise NotFound(
            f"version {version.name} has no artifact to examine", fix=f"tunekeeper export gguf {version.name} --out FILE"
        )
    return _of_slot(loaded[0], section)


def rival(ws: Workspace, model: str, version: str, section: Config) -> Entrant | None:
    """What `version` is compared with: the champion; before the first, the prompted base where there is one; None: nothing."""
    try:
        found = _of_slot(_route_slot(ws, model, "champion"), section)
    except NotFound:
        return _prompted_base(ws, model, version, section)
    return None if found.version == version else found


def _prompted_base(ws: Workspace, model: str, version: str, section: Config) -> Entrant | None:
    with ws.state.read() as tx:
        known = find_versions(tx, model=model)
        trained = (v for v in known if v.adapter or v.checkpoint or v.metadata.get("hosted"))
        bases = {v.id for v in known} - {v.id for v in trained} - {version}
        made = [a for a in find_artifacts(tx, model=model, newest_first=True) if a.version in bases]
    return candidate(ws, made[0], section) if made else None


def _of_slot(slot: Slot, section: Config) -> Entrant:
    version = f"{slot.model}@{slot.version}" if slot.version and "@" not in slot.version else slot.version or slot.id
    return Entrant(version=version, slot=_apart(slot, section), artifact=slot.artifact, digest=slot.digest)


def _apart(slot: Slot, section: Config) -> Slot:
    """A slot that takes no traffic: a server of ours is started a second time, so that no user waits for an exam."""
    if not slot.files:
        return slot
    return replace(
        slot,
        id=f"exam-{slot.artifact or slot.id}",
        endpoint=None,
        api_key_env=None,
        observed="absent",
        pid=None,
        reason=None,
        options={**slot.options, **_options(section)},
        created=None,
        rev=0,
    )


def _hosted(ws: Workspace, artifact: Artifact) -> Slot:
    with ws.control.read() as tx:
        found = [s for s in find_slots(tx, model=artifact.model, newest_first=True) if s.artifact == artifact.id and s.endpoint]
    if not found:
        raise NotFound(
            f"artifact {artifact.id} is hosted and no slot says where it answers", fix=f"tunekeeper route show {artifact.model}"
        )
    return found[0]


def _route_slot(ws: Workspace, model: str, role: str) -> Slot:
    with ws.control.read() as tx:
        route = load_route(tx, model)
        slot = route.champion if role == "champion" else route.previous
        if slot is None:
            raise NotFound(f"model {model} has no {role}", fix=f"tunekeeper route show {model}")
        return load_slot(tx, slot)


def _version(ws: Workspace, model: str, name: str) -> Version:
    with ws.state.read() as tx:
        known = find_versions(tx, model=model)
    for version in known:
        if name in (version.id, version.name):
            return version
    raise NotFound(f"model {model} has no version {name!r}", fix="tunekeeper model ls")


def artifact_of(ws: Workspace, id: str) -> Artifact:
    """The artifact with this id. Raises NotFound."""
    with ws.state.read() as tx:
        return load_artifact(tx, id)


def _options(section: Config) -> dict[str, int]:
    return {"parallel": section.concurrency, "context": section.context, "threads": section.threads}
