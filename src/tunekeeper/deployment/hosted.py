"""Models that stay at the provider that trained them: an artifact without a file, and a slot that is the provider's endpoint."""

from __future__ import annotations

from dataclasses import replace

from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.store.ledgers.artifacts import find_artifacts, save_artifact
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.workspace import Workspace


def is_hosted(version: Version) -> bool:
    """Whether a version is the name of a model that somebody else serves."""
    return bool(version.metadata.get("hosted"))


def declare(ws: Workspace, section: Config, version: Version) -> Artifact:
    """The artifact of a hosted version and the slot that answers for it, made once. It has no digest and no parity: what the
    provider serves under the name can be examined, not compared with training."""
    with ws.state.write(by="deployment") as tx:
        made = next((a for a in find_artifacts(tx, model=version.model) if a.version == version.id), None)
        made = made or save_artifact(
            tx,
            Artifact(
                id=ws.new_id("art"),
                model=version.model,
                version=version.id,
                engine="openai",
                hosted=str(version.metadata["hosted"]),
                metadata={"notes": [f"served by {version.metadata['trained_by']}: not compared with training"]},
            ),
        )
    slot_of(ws, section, version, made)
    return made


def slot_of(ws: Workspace, section: Config, version: Version, artifact: Artifact, *, gated: bool = False) -> Slot:
    """The slot of a hosted artifact; `gated` says that its exam passed, which stays said."""
    wanted = Slot(
        id=f"{version.model}-hosted-v{version.major}.{version.minor}",
        model=version.model,
        version=version.name,
        engine="openai",
        endpoint=str(version.metadata["endpoint"]),
        upstream_model=artifact.hosted,
        artifact=artifact.id,
        system=version.system,
        messages=version.messages,
        api_key_env=version.metadata.get("api_key_env"),
        price_in=section.price_in,
        price_out=section.price_out,
        price_hour=section.price_hour,
    )
    with ws.control.read() as tx:
        before = next((slot for slot in find_slots(tx, model=version.model) if slot.id == wanted.id), None)
    kept = gated or (before is not None and before.gated)
    (slot,) = declare_slots(ws, [replace(wanted, gated=kept)], vouched=False)
    return slot
