"""The cycle's way into vLLM: digests and the comparison take their time, so a job does them; what it leaves is armed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.retraining import Cycle, Model, Stop, Wait
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment import vllmwhole
from tunekeeper.deployment.adapter import folder_digest
from tunekeeper.deployment.checkpoint import read_json
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.job import Context
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.pruning import shared_folder
from tunekeeper.deployment.reference import base_folder, transcript_of
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.deployment.verbs import limits_of, parity_of
from tunekeeper.deployment.vllmadapter import Wanted, adapter_name, named_there, read_base
from tunekeeper.deployment.vllmkeeper import ASKING_SECONDS, restore
from tunekeeper.deployment.vllmload import Served, load
from tunekeeper.deployment.vllmslots import arm, pointed_at
from tunekeeper.deployment.vllmwhole import why_merged
from tunekeeper.engines.engine import key_of
from tunekeeper.engines.vllm import DEFAULT_ENDPOINT, VllmServer
from tunekeeper.workspace import Workspace

PASSING = ("UpstreamUnavailable", "Busy")
"""Errors that may be over at the next look."""


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Load and verify one version.

    `input`: what `described` says, endpoint, guarded. Returns the fields of `Served`. Raises as `load`.
    """
    context.progress(0.1, note="reading the base")
    wanted, references = wanted_of(input)
    served = load(
        VllmServer(input["endpoint"], key_of(input["api_key_env"])),
        wanted,
        references,
        Limits(**input["limits"]),
        answers=input["own"],
        guarded=input["guarded"],
        told=lambda line: context.progress(0.5, note=line),
    )
    return dataclasses.asdict(served)


def described(
    ws: Workspace, section: Config, version: Version, *, endpoint: str | None = None, merged: bool = False
) -> dict[str, Any]:
    """What a version's loading needs to know, as JSON for a job; its files are put where the server sees them.

    `endpoint`: None takes the section's. `merged`: as a whole model, even where vLLM could put the adapter on. Raises
    ConfigError when the base is gone.
    """
    learned = version.checkpoint or version.adapter
    folder, there = _shared(ws, section, learned) if learned else (None, None)
    why = None
    if version.adapter and folder is not None:
        asked_for = "asked for" if merged or section.merged else None
        why = asked_for or why_merged(read_json(folder / "adapter_config.json"))
    whole = folder if version.checkpoint else None
    if why and folder is not None:
        whole = folder.with_name(f"{folder.name}-merged-{section.merged_dtype or 'own'}")
        there = named_there(whole, folder.parent, section.adapters_there)
    transcript, own = transcript_of(ws, version)
    return {
        "name": adapter_name(f"{version.model}:{version.name}", version.adapter) if version.adapter and not why else None,
        "folder": str(folder) if version.adapter else None,
        "there": there,
        "digest": version.adapter,
        "whole": str(whole) if whole else None,
        "merge": {"folder": str(whole), "dtype": section.merged_dtype, "why": why} if why else None,
        "base": str(base_folder(ws, version)),
        "weights": None if version.checkpoint else version.base_digest,
        "tokenizer": version.tokenizer_digest,
        "template": version.template_digest,
        "transcript": str(transcript) if transcript else None,
        "own": own,
        "prompts": section.parity_prompts,
        "limits": dataclasses.asdict(limits_of(section)),
        "endpoint": endpoint or section.endpoint or DEFAULT_ENDPOINT,
        "api_key_env": section.api_key_env,
    }


def endpoints_of(section: Config, endpoint: str | None = None) -> list[str]:
    """Where a whole model may be served: `endpoint` alone when it is given, else the section's servers."""
    if endpoint is not None:
        return [endpoint]
    return [each for each in (section.endpoint or DEFAULT_ENDPOINT, section.standby_endpoint) if each]


def _shared(ws: Workspace, section: Config, digest: str) -> tuple[Path, str]:
    """What was learned, in a folder below the one that the server shares, and as the server names it."""
    shared = shared_folder(ws, section)
    folder = ws.blobs.checkout_folder(digest, shared / digest.removeprefix("sha256:")[:24])
    return folder, named_there(folder, shared, section.adapters_there)


def wanted_of(input: dict[str, Any]) -> tuple[Wanted, list[Reference]]:
    """What a description asks for, and the training-time answers. Raises ArtifactError when base, adapter or model changed."""
    references = read_transcript(Path(input["transcript"]), input["prompts"]) if input["transcript"] else []
    if input["whole"]:
        return vllmwhole.wanted_of(input), references
    base = read_base(Path(input["base"]), weights=input["weights"], tokenizer=input["tokenizer"], template=input["template"])
    folder = Path(input["folder"]) if input["folder"] else None
    if folder is not None and folder_digest(folder) != input["digest"]:
        raise ArtifactError(f"{folder}: changed since it was put there for vLLM", fix=f"rm -r {folder}, then run it again")
    return Wanted(base=base, name=input["name"], folder=folder, there=input["there"]), references


def poke_vllm(
    ws: Workspace, task: Model, section: Config, cycle: Cycle, version: Version, artifact: Artifact, *, gated: bool
) -> Slot | Wait | Stop:
    """The slot of the version once its server holds it; Wait while it is loaded and compared, Stop when it failed.

    Each cycle compares anew: what was wrong may have been the server, which a person has started otherwise since.
    Raises as `described`, and UpstreamUnavailable while the server is away: then the next look begins anew.
    """
    asked = described(ws, section, version)
    env = (section.api_key_env,) if section.api_key_env else ()
    if asked["whole"]:
        found = _whole(ws, task, section, asked | {"cycle": cycle.id})
        if not isinstance(found, str):
            return found
        asked |= {"endpoint": found}
    asked |= {"guarded": pointed_at(ws, asked["name"]), "cycle": cycle.id}
    there = _held(asked)  # no child is started while nobody would answer it
    job = jobs.ensure(ws, "vllm-load", asked, model=task.name, env=env)
    if job.state == "failed" and job.error_kind in PASSING:
        jobs.ensure(ws, "vllm-load", asked, model=task.name, env=env, again=True)
        return Wait(why=f"vLLM: {job.error}")
    if job.state in ("failed", "cancelled"):
        return Stop(why=f"vLLM: {job.error or 'the loading was cancelled'}")
    if job.state != "done" or job.output is None:
        note = (job.detail or {}).get("note", "waiting for its turn")
        return Wait(why=f"vLLM: {note}", progress=job.progress)
    slot = arm(ws, section, version, artifact, served_of(job.output), gated=gated)
    try:
        if not there:  # verified once, and forgotten since: retired, or the server began anew
            restore(slot, key_of(section.api_key_env))
    except ArtifactError as error:
        return Stop(why=f"vLLM: {error.message}")
    return slot


def _whole(ws: Workspace, task: Model, section: Config, asked: dict[str, Any]) -> str | Wait | Stop:
    """The endpoint whose server was started with the version's whole model; its folder is made first."""
    if asked["merge"] and not Path(asked["whole"]).exists():
        job = jobs.ensure(ws, "merge", asked, model=task.name)
        if job.state in ("failed", "cancelled"):
            return Stop(why=f"merging: {job.error or 'it was cancelled'}")
        if job.state != "done":
            return Wait(why="merging the adapter into the base", progress=job.progress)
    endpoints = endpoints_of(section)
    found = vllmwhole.server_of(endpoints, asked, key_of(section.api_key_env))
    return found or Wait(why=str(vllmwhole.must_be_started(asked, endpoints)))


def _held(asked: dict[str, Any]) -> bool:
    """Whether the server holds what was asked for. Raises UpstreamUnavailable."""
    holding = VllmServer(asked["endpoint"], key_of(asked["api_key_env"])).holding(total=ASKING_SECONDS)
    return asked["name"] is None or asked["name"] in holding.adapters


def served_of(output: dict[str, Any]) -> Served:
    """The value of a job's JSON."""
    parity = parity_of(output["parity"]) if output["parity"] is not None else None
    return Served(**{**output, "parity": parity, "notes": tuple(output["notes"])})
