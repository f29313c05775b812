"""The cycle's way into Ollama: a push is long work, so a job does it; what it leaves is armed in the standby slot."""

from __future__ import annotations

import dataclasses
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.retraining import Model, Stop, Wait
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.job import Context
from tunekeeper.deployment.ollamapush import Verified, push
from tunekeeper.deployment.ollamaslots import arm, naming
from tunekeeper.deployment.ollamaverbs import described, packed
from tunekeeper.engines.ollama import OllamaServer, default_endpoint
from tunekeeper.workspace import Workspace

PASSING = ("UpstreamUnavailable", "Busy")
"""Errors that may be over at the next look."""


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Push and verify one version.

    `input`: what `described` says, endpoint, guarded. Returns the fields of `Pushed`. Raises as `push`.
    """
    context.progress(0.1, note="reading the file")
    server = OllamaServer(input["endpoint"])
    pushed = push(server, packed(input), guarded=input["guarded"], told=lambda line: context.progress(0.5, note=line))
    return dataclasses.asdict(pushed)


def poke_push(
    ws: Workspace, task: Model, section: Config, version: Version, artifact: Artifact, *, gated: bool
) -> Slot | Wait | Stop:
    """The slot of the version once its server has it; Wait while it is pushed, Stop when it failed.

    Raises as `described`, and UpstreamUnavailable while the server is away: then the next look begins anew.
    """
    endpoint = section.endpoint or default_endpoint()
    asked = described(ws, task, section, version, artifact) | {"endpoint": endpoint}
    asked["guarded"] = naming(ws, asked["name"])[1]
    job = jobs.ensure(ws, "ollama-push", asked, model=task.name)
    if job.state == "failed" and job.error_kind in PASSING:
        OllamaServer(endpoint).check()  # no child is started while nobody would answer it
        jobs.ensure(ws, "ollama-push", asked, model=task.name, again=True)
        return Wait(why=f"Ollama: {job.error}")
    if job.state in ("failed", "cancelled"):
        return Stop(why=f"Ollama: {job.error or 'the push was cancelled'}")
    if job.state != "done" or job.output is None:
        note = (job.detail or {}).get("note", "waiting for its turn")
        return Wait(why=f"Ollama: {note}", progress=job.progress)
    seen = Verified(**job.output["verified"])
    return arm(
        ws, section, version, artifact, endpoint=job.output["endpoint"], name=job.output["name"], seen=seen, gated=gated
    )  # fmt: skip
