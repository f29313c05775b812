"""Parity at the endpoint that will answer users, kept on the artifact: what the gate before a deployment asks for.

The file was compared where it was made. This compares what a loaded server makes of it: its template, its tokens, its ends, its
log-probabilities, its own settings. vLLM and Ollama are compared while a version is loaded into them; llama.cpp here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.deployment import Artifact, Parity, ParityCheck
from tunekeeper.core.nouns.retraining import Model, Stop, Wait
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.compare import measure_endpoint
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.job import Context
from tunekeeper.deployment.measure import together
from tunekeeper.deployment.parity import Compared, Limits, decide_live
from tunekeeper.deployment.reference import base_folder, transcript_of
from tunekeeper.deployment.remoteparity import compare_remote
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.verbs import limits_of, parity_of
from tunekeeper.engines import ChatClient
from tunekeeper.engines.engine import api_key_of, engine_of, option
from tunekeeper.store.ledgers.artifacts import load_artifact, save_artifact
from tunekeeper.text.tokenizers import read_tokenizer
from tunekeeper.workspace import Workspace

KEY = "live"
"""Where it stands among an artifact's metadata."""
MEASURED_HERE = ("llamacpp",)
"""Engines whose slots are compared here while they are loaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Live:
    """What was found at an endpoint."""

    parity: Parity
    """The verdict, layer by layer."""
    endpoint: str
    """Address with `/v1`."""
    name: str
    """Model name that was asked for there."""
    at: datetime
    """When, UTC, in workspace time."""


def live_of(artifact: Artifact) -> Live | None:
    """What was found at the endpoint that serves an artifact; None when it was not measured."""
    told = artifact.metadata.get(KEY)
    if told is None:
        return None
    at = datetime.fromisoformat(told["at"])
    return Live(parity=parity_of(told), endpoint=told["endpoint"], name=told["name"], at=at)


def keep(ws: Workspace, artifact: str, found: Parity, *, endpoint: str, name: str) -> Artifact:
    """Put what was found at an endpoint beside an artifact; nothing is written when it says so already."""
    told = {**dataclasses.asdict(found), "endpoint": endpoint, "name": name}
    told["checks"] = [dict(check) for check in told["checks"]]
    with ws.state.write(by="deployment") as tx:
        known = load_artifact(tx, artifact)
        before = {key: value for key, value in (known.metadata.get(KEY) or {}).items() if key != "at"}
        if before == told:
            return known
        fresh = {KEY: {**told, "at": ws.clock.utc().isoformat()}}
        return save_artifact(tx, dataclasses.replace(known, metadata={**known.metadata, **fresh}))


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Compare one slot's endpoint with training. `input`: what `described` says. Returns the fields of `Parity`."""
    context.progress(0.1, note="comparing the endpoint with training")
    slot = Slot(**{**input["slot"], "messages": ()})
    return dataclasses.asdict(_measured(slot, input))


def poke_live(
    ws: Workspace, task: Model, section: Config, version: Version, artifact: Artifact, slot: Slot
) -> Wait | Stop | None:
    """Compare a loaded slot with training, once for each server that holds it; None once it passed or nothing is due.

    A block stops the cycle and names the layer; so does a comparison without evidence.
    """
    if slot.engine not in MEASURED_HERE:
        return None
    env = (slot.api_key_env,) if slot.api_key_env else ()
    asked = described(ws, section, version, artifact, slot)
    job = jobs.ensure(ws, "live-parity", asked, model=task.name, env=env)
    if job.state == "failed" and job.error_kind == "UpstreamUnavailable":
        # The server went away meanwhile; a slot that is not ready is waited for before this is asked again.
        jobs.ensure(ws, "live-parity", asked, model=task.name, env=env, again=True)
        return Wait(why=f"parity of {slot.id}: {job.error}")
    if job.state in ("failed", "cancelled"):
        return Stop(why=f"parity of {slot.id}: {job.error or 'the comparison was cancelled'}")
    if job.state != "done" or job.output is None:
        return Wait(why=f"comparing {slot.id} with training", progress=job.progress)
    found = parity_of(job.output)
    keep(ws, artifact.id, found, endpoint=slot.endpoint or "", name=_name(slot))
    if found.verdict == "pass":
        return None
    check = next((check for check in found.checks if check.layer == found.layer), None)
    why = f"parity of {slot.id} {found.verdict} at {found.layer}: {check.detail if check else 'nothing was compared'}"
    return Stop(why=why, outcome="blocked" if found.verdict == "block" else "inconclusive")


def measure(ws: Workspace, section: Config, version: Version, artifact: Artifact, slot: Slot) -> Live:
    """Compare a slot that answers now and keep what was found. Raises NotFound when it does not answer, UpstreamUnavailable."""
    if slot.endpoint is None or slot.observed != "ready" or slot.engine not in (*MEASURED_HERE, "openai"):
        raise NotFound(
            f"slot {slot.id} ({slot.engine}, {slot.observed}) is no loaded llama.cpp server and no endpoint of somebody else",
            fix="tunekeeper up loads it; export vllm and export ollama compare theirs themselves",
        )
    if slot.engine == "openai":
        found = measure_at(ws, section, version, ChatClient(slot.endpoint, _name(slot), api_key_of(slot)))
    else:
        found = _measured(slot, described(ws, section, version, artifact, slot))
    kept = live_of(keep(ws, artifact.id, found, endpoint=slot.endpoint, name=_name(slot)))
    assert kept is not None
    return kept


def measure_at(ws: Workspace, section: Config, version: Version, client: ChatClient) -> Parity:
    """Compare what any OpenAI-compatible server answers with what a version answered in training. Raises UpstreamUnavailable."""
    transcript, own = transcript_of(ws, version)
    references = read_transcript(transcript, section.parity_prompts) if transcript and own else []
    tokenizer = read_tokenizer(base_folder(ws, version)) if references else None
    return compare_remote(client, tokenizer, references, limits_of(section))


def described(ws: Workspace, section: Config, version: Version, artifact: Artifact, slot: Slot) -> dict[str, Any]:
    """What a comparison needs to know, as JSON for a job. Raises ConfigError when the base is gone."""
    transcript, own = transcript_of(ws, version)
    told = ("id", "model", "version", "engine", "endpoint", "upstream_model", "adapter", "api_key_env")
    file = next((check for check in artifact.parity.checks if check.layer == _layer(artifact)), None) if artifact.parity else None
    return {
        "slot": {name: getattr(slot, name) for name in told},
        "files": dict(slot.files),
        "context": _context(ws, slot),
        "pid": slot.pid,  # another server is another question
        "digest": slot.digest,
        "base": str(base_folder(ws, version)),
        "transcript": str(transcript) if transcript else None,
        "own": own,
        "prompts": section.parity_prompts,
        "limits": dataclasses.asdict(limits_of(section)),
        "quantization": artifact.quantization,
        "stop": list(artifact.stop),
        # Where no answers are known, what was seen of this very file's weights stands for them.
        "file": dataclasses.asdict(file) if file is not None and slot.digest == artifact.digest else None,
    }


def _measured(slot: Slot, asked: dict[str, Any]) -> Parity:
    references = read_transcript(Path(asked["transcript"]), asked["prompts"]) if asked["transcript"] else []
    kind = asked["quantization"]
    plain = kind if kind in ("f32", "f16", "bf16") else None
    client = ChatClient(slot.endpoint or "", _name(slot), api_key_of(slot))
    fields = {name: value for name, value in engine_of(slot).request_fields(slot).items() if name != "model"}
    measured = measure_endpoint(
        client, Path(asked["base"]), tuple(asked["stop"]), references, answers=asked["own"], plain=plain, always=fields
    )
    file = ParityCheck(**asked["file"]) if asked["file"] and not asked["own"] else None
    wrong, short = _held(client, asked["files"], asked["context"])
    if wrong:
        file = ParityCheck(layer="merge" if plain else "quantization", ok=False, detail=wrong, n=1)
    if short:
        measured = replace(measured, sampling=together(measured.sampling, Compared(n=1, differ=1, first=short)))
    return decide_live(measured, Limits(**asked["limits"]), file=file)


def _context(ws: Workspace, slot: Slot) -> int:
    """Tokens that a request to the slot may use: what it says, at most what the model was made for; servers give no more."""
    file, asked = ws.path(slot.files.get("model", "")), option(slot, "context", 0)
    header = read_gguf(file) if file.is_file() else None
    made_for = header.pairs.get(f"{header.architecture}.context_length") if header else None
    return min(asked, made_for) if isinstance(made_for, int) else asked


def _held(client: ChatClient, files: Mapping[str, str], context: int) -> tuple[str, str]:
    """What a llama.cpp server says it holds beside what it should: another file, and a shorter context; each empty where it is as
    it should be. `files`: role → path below the data directory."""
    props, adapters = client.get("/props"), client.get("/lora-adapters")
    wrong = ""
    for role, path in (("model", props.get("model_path")), ("lora", next((each.get("path") for each in adapters), ""))):
        wanted = files.get(role, "")
        if not (path.endswith(wanted) if path and wanted else path == wanted):
            wrong = wrong or f"the server has loaded {path or 'no adapter'}, the slot holds {wanted or 'no adapter'}"
    room = (props.get("default_generation_settings") or {}).get("n_ctx")
    short = isinstance(room, int) and room < context
    return wrong, f"a request may use {room} tokens there, {context} are the slot's" if short else ""


def _layer(artifact: Artifact) -> str:
    return "merge" if artifact.quantization in ("f32", "f16", "bf16") else "quantization"


def _name(slot: Slot) -> str:
    return slot.upstream_model or slot.version or slot.id
