"""The verbs of the export stage: a version becomes an artifact, once, with its parity result."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.errors import ConfigError, NotFound
from tunekeeper.core.nouns.deployment import Artifact, Parity, ParityCheck
from tunekeeper.core.nouns.retraining import Answer, Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment import hosted, rules
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.layout import BASE_FILE, base_path
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.publish import link_or_copy
from tunekeeper.deployment.reference import adapter_folder, base_folder, too_large, transcribing, transcript_of
from tunekeeper.jobs.verbs import ENDED
from tunekeeper.store.ledgers.artifacts import find_artifacts, save_artifact
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.ledgers.versions import find_versions, load_version
from tunekeeper.workspace import Workspace


def export_version(
    ws: Workspace,
    task: Model,
    section: Config,
    version: Version,
    *,
    quantization: str | None = None,
    again: bool = False,
    apart: bool = False,
) -> Artifact | jobs.Job:
    """The artifact of a version, or the job that makes it; returns at once and finds again what was asked for before.

    `quantization`: None takes the section's. `again`: begin anew what failed before, as a person does who has mended the cause.
    `apart`: as an adapter to be loaded beside the base's file, where the version is one; else as one merged file.
    Raises what made the job fail (ArtifactError, DiskFull …).
    """
    if hosted.is_hosted(version):
        return hosted.declare(ws, section, version)
    kind = quantization or file_kind(section)
    apart = apart and version.checkpoint is None and section.engine != "fake"
    known = find_artifact(ws, version, file_engine(section), kind, apart=apart)
    if known is not None and not _uncompared(known):
        return known
    if section.engine == "fake":
        return rules.export(ws, version, base_folder(ws, version))
    reference = transcribing(ws, version, again=again)
    if reference is not None and reference.state not in ENDED:
        return reference
    asked = _job_input(ws, section, version, kind) | ({"apart": _base_file(version, kind)} if apart else {})
    job = jobs.ensure(ws, "export", asked, model=task.name, again=again)
    if job.state in ("failed", "cancelled"):
        jobs.reraise(job)
    if job.state != "done" or job.output is None:
        return job
    return _keep(ws, section, version, job)


def file_engine(section: Config) -> str:
    """The engine that a section's files are made for: Ollama runs those of llama.cpp, and what vLLM serves is examined as one."""
    return "llamacpp" if section.engine in ("ollama", "vllm") else section.engine


def file_kind(section: Config) -> str:
    """The type of a section's files: what vLLM serves is not quantized, so the file that is examined for it is not either."""
    return "f16" if section.engine == "vllm" and section.quantization.startswith("Q") else section.quantization


def _base_file(version: Version, kind: str) -> str:
    return base_path(version.model, version.base, version.base_digest, kind)


def find_artifact(ws: Workspace, version: Version, engine: str, kind: str, *, apart: bool = False) -> Artifact | None:
    """The newest artifact of a version for an engine and quantization. `apart`: the one whose base is a file of its own."""
    with ws.state.read() as tx:
        made = find_artifacts(tx, model=version.model, newest_first=True)
    wanted = None if engine == "fake" else kind
    same = [a for a in made if (a.version, a.engine, a.quantization) == (version.id, engine, wanted)]
    return next((a for a in same if (BASE_FILE in a.metadata) == apart), None)


def poke(ws: Workspace, task: Model, section: Config, cycle: Cycle) -> Answer:
    """Stage `export`: the version's artifact, compared with training. A parity block stops the cycle, naming the layer.

    While the model has no champion, the prompted base is made servable as well: it is what the first version is examined against.
    """
    with ws.state.read() as tx:
        version = load_version(tx, cycle.records["train"])
    made = export_version(ws, task, section, version, apart=section.apart)
    base = None if _has_champion(ws, task.name) else prompted_base(ws, task.name)
    baseline = export_version(ws, task, section, base, apart=section.apart) if base is not None else None
    for part in (made, baseline):
        if isinstance(part, jobs.Job):
            note = (part.detail or {}).get("note", "waiting for its turn")
            return Wait(why=f"export: {note}", progress=part.progress)
    assert isinstance(made, Artifact)
    if made.hosted is not None:
        return Done(record=made.id, note=describe(made))
    parity = made.parity
    if parity is None or parity.verdict == "inconclusive":
        why = f"{_why(parity)}{_unknown(ws, version)}"
        return Stop(why=f"parity of {version.name}: {why}", record=made.id, outcome="inconclusive")
    if parity.verdict == "block":
        return Stop(why=f"parity of {version.name} blocks at {parity.layer}: {_why(parity)}", record=made.id, outcome="blocked")
    return Done(record=made.id, note=describe(made))


def _why(parity: Parity | None) -> str:
    if parity is None:
        return "it was not compared with training"
    check = next((check for check in parity.checks if check.layer == parity.layer), None)
    return check.detail if check else "no layer was compared"


def _unknown(ws: Workspace, version: Version) -> str:
    """Why nothing is known to compare with, and what to do, as the end of a line; empty where there is something."""
    if transcript_of(ws, version)[0] is not None:
        return ""
    job = transcribing(ws, version)
    why = too_large(base_folder(ws, version)) if job is None else job.error or job.state
    return f" (its own answers could not be had: {why}; try again: tunekeeper export parity {version.id})"


def _uncompared(artifact: Artifact) -> bool:
    """Whether an artifact was made while nothing was known to compare it with."""
    return (
        artifact.parity is not None
        and artifact.parity.verdict == "inconclusive"
        and not any(c.n for c in artifact.parity.checks if c.layer == "template")
    )


def describe(artifact: Artifact) -> str:
    """An artifact in one sentence with numbers."""
    if artifact.hosted is not None:
        return f"{artifact.hosted} stays where it is: no parity, the exam judges it at its endpoint"
    size = f"{(artifact.bytes or 0) / 1e6:.2f} MB"
    gap = next((c for c in artifact.parity.checks if c.layer == "quantization"), None) if artifact.parity else None
    said = f"parity {artifact.parity.verdict}" if artifact.parity else "not compared"
    return f"{artifact.quantization or artifact.engine}, {size}, {said}" + (f" ({gap.detail})" if gap and gap.detail else "")


def prompted_base(ws: Workspace, model: str) -> Version | None:
    """The newest version without an adapter, which training declared; None when there is none."""
    with ws.state.read() as tx:
        return next(
            (
                v
                for v in find_versions(tx, model=model, newest_first=True)
                if v.adapter is None and v.checkpoint is None and not hosted.is_hosted(v)
            ),
            None,
        )


def _has_champion(ws: Workspace, model: str) -> bool:
    try:
        with ws.control.read() as tx:
            return load_route(tx, model).champion is not None
    except NotFound:
        return False


def _job_input(ws: Workspace, section: Config, version: Version, kind: str) -> dict[str, Any]:
    transcript, own = transcript_of(ws, version)
    return {
        "base": str(base_folder(ws, version)),
        # Of a version that is a whole checkpoint, the digest of its files says what it is.
        "base_digest": version.base_digest if version.checkpoint is None else None,
        "tokenizer_digest": version.tokenizer_digest,
        "template_digest": version.template_digest,
        "adapter": str(adapter_folder(ws, version.adapter)) if version.adapter else None,
        "name": version.name,
        "quantization": kind,
        "transcript": str(transcript) if transcript else None,
        "own": own,
        "rows": _rows(ws, version),
        "prompts": section.parity_prompts,
        "limits": dataclasses.asdict(limits_of(section)),
        "metadata": {"version": version.id, "dataset": version.dataset or "", "run": version.run or ""},
        "threads": section.threads,
    }


def _rows(ws: Workspace, version: Version) -> str | None:
    """Manifest of the rows that a version learned; None for one that learned none of ours, or whose rows are gone."""
    if version.dataset is None:
        return None
    with ws.state.read() as tx:
        found = next((each for each in find_datasets(tx, model=version.model) if each.id == version.dataset), None)
    return found.manifest if found is not None and found.manifest is not None and ws.rows.has(found.manifest) else None


def limits_of(section: Config) -> Limits:
    """The section's limits of the parity check."""
    return Limits(
        merge_gap=section.merge_gap, quantized_gap=section.quantized_gap, quantized_agreement=section.quantized_agreement
    )


def _keep(ws: Workspace, section: Config, version: Version, job: jobs.Job) -> Artifact:
    """Put a finished export's file into blobs and on record, once however often it is asked."""
    assert job.output is not None
    output, apart = job.output, job.input.get("apart")
    base, file = output.get("base"), job.work / output["file"]
    made: dict[str, Path] = {output["digest"]: file}
    if apart and base:
        # A base that was there already was taken from where it lies.
        own = job.work / Path(apart).name
        made[base] = own if own.is_file() else ws.path(apart)
    for digest, path in made.items():
        if not ws.blobs.has(digest) and ws.blobs.put_file(path) != digest:
            raise ConfigError(f"{path}: changed after it was exported", fix=f"tunekeeper export gguf {version.name} --out FILE")
    if apart and base:
        link_or_copy(ws.blobs.path(base), ws.path(apart))
    parity = parity_of(output["parity"])
    with ws.state.write(by="deployment") as tx:
        for known in find_artifacts(tx, model=version.model, newest_first=True):
            same = (known.version, known.engine, known.quantization) == (version.id, file_engine(section), output["quantization"])
            if same and known.metadata.get(BASE_FILE) == apart and (known.parity == parity or not _uncompared(known)):
                return known
        artifact = Artifact(
            id=ws.new_id("art"),
            model=version.model,
            version=version.id,
            engine=file_engine(section),
            quantization=output["quantization"],
            digest=output["digest"],
            bytes=output["bytes"],
            base=base if base != output["digest"] else None,
            fallback_tensors=tuple(output["fallback_tensors"]),
            parity=parity,
            stop=tuple(output["stop"]),
            metadata={"timings": output["timings"], "notes": list(output["notes"]), "job": job.id, "seconds": job.seconds}
            | ({BASE_FILE: apart} if apart else {}),
        )
        saved = save_artifact(tx, artifact)
    for path in made.values():
        if path.is_relative_to(job.work):
            path.unlink(missing_ok=True)
    return saved


def parity_of(value: dict[str, Any]) -> Parity:
    """The noun of a job's JSON."""
    return Parity(verdict=value["verdict"], layer=value["layer"], checks=tuple(ParityCheck(**check) for check in value["checks"]))
