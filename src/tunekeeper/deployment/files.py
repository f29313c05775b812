"""Models from elsewhere, without a project: export, inspect, verify, and parity of an artifact folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.nouns.deployment import Parity
from tunekeeper.deployment.adapter import open_adapter
from tunekeeper.deployment.checkpoint import open_checkpoint, read_json, weights_digest
from tunekeeper.deployment.compare import Subject, compare
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.inspect import inspect, verify
from tunekeeper.deployment.mergedparity import compare_merged
from tunekeeper.deployment.merging import own_dtype
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.reference import KIND, asked_for, probes
from tunekeeper.deployment.remoteparity import compare_remote
from tunekeeper.deployment.source import open_source
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.deployment.weights import Served
from tunekeeper.engines import ChatClient
from tunekeeper.text.tokenizers import read_tokenizer
from tunekeeper.workspace import create_workspace

__all__ = ["export_folder", "inspect", "parity_of_endpoint", "parity_of_folder", "read_subject", "verify"]

KEYS = ("gguf", "lora", "lora_scale", "stop", "sampling")


def parity_of_folder(
    checkpoint: Path, adapter: Path | None, artifact: Path, *, prompts: Path | None = None, limits: Limits = Limits()
) -> Parity:
    """Compare an artifact folder with what transformers makes of checkpoint and adapter: `serve.json` and its files in llama.cpp,
    a merged checkpoint in transformers.

    `prompts`: chat JSONL; None takes a few general ones. The reference answers come from a child process with torch.
    Raises ArtifactError for damaged or foreign files, MissingExtra without the training packages.
    """
    if not (artifact / "serve.json").exists() and (artifact / "config.json").exists():
        return _parity_of_merged(checkpoint, adapter, artifact, prompts, limits)
    base = open_checkpoint(checkpoint)
    part = open_adapter(adapter, base, base_digest=weights_digest(checkpoint)) if adapter else None
    subject = read_subject(artifact)
    with tempfile.TemporaryDirectory(prefix="tunekeeper-parity-") as scratch:
        references = _references(Path(scratch), checkpoint, adapter, prompts)
    return compare(subject, base, part, references, limits)


def parity_of_endpoint(
    checkpoint: Path, adapter: Path | None, client: ChatClient, *, prompts: Path | None = None, limits: Limits = Limits()
) -> Parity:
    """The same of what any OpenAI-compatible server answers. Raises UpstreamUnavailable as well."""
    base = open_source(checkpoint)
    if adapter is not None:
        open_adapter(adapter, base, base_digest=weights_digest(checkpoint))
    with tempfile.TemporaryDirectory(prefix="tunekeeper-parity-") as scratch:
        references = _references(Path(scratch), checkpoint, adapter, prompts)
    return compare_remote(client, read_tokenizer(checkpoint), references, limits)


def _parity_of_merged(checkpoint: Path, adapter: Path | None, merged: Path, prompts: Path | None, limits: Limits) -> Parity:
    base, served = open_source(checkpoint), open_source(merged)
    if adapter is not None:
        open_adapter(adapter, base, base_digest=weights_digest(checkpoint))
    with tempfile.TemporaryDirectory(prefix="tunekeeper-parity-") as scratch:
        trained = _references(Path(scratch) / "trained", checkpoint, adapter, prompts)
        said = _references(Path(scratch) / "merged", merged, None, prompts)
    return compare_merged(trained, said, own_dtype(served), limits)


def _references(scratch: Path, checkpoint: Path, adapter: Path | None, prompts: Path | None) -> list[Reference]:
    scratch.mkdir(exist_ok=True)
    if prompts is None:
        prompts = scratch / "prompts.jsonl"
        prompts.write_bytes(probes())
    ws = create_workspace(scratch / "data")
    job = jobs.wait(ws, jobs.ensure(ws, KIND, asked_for(checkpoint, adapter, prompts)).id)
    if job.state != "done" or job.output is None:
        jobs.reraise(job)
    return read_transcript(job.work / job.output["transcript"])


def read_subject(folder: Path) -> Subject:
    """What `serve.json` of an artifact folder says. Raises ArtifactError naming the key that is wrong."""
    where = folder / "serve.json"
    value = read_json(where)
    unknown = next((key for key in value if key not in KEYS), None)
    if unknown is not None:
        raise ArtifactError(f"{where}: unknown key {unknown!r}; known: {', '.join(KEYS)}")
    stop, sampling, scale = value.get("stop"), value.get("sampling") or {}, value.get("lora_scale", 1.0)
    if stop is not None and not (isinstance(stop, list) and all(isinstance(text, str) for text in stop)):
        raise ArtifactError(f"{where}: stop must be a list of texts")
    if not isinstance(sampling, dict) or not isinstance(scale, int | float) or isinstance(scale, bool):
        raise ArtifactError(f"{where}: sampling must be an object and lora_scale a number")
    lora = _inside(folder, value.get("lora"), where) if value.get("lora") else None
    served = Served(model=_inside(folder, value.get("gguf"), where), lora=lora, lora_scale=float(scale))
    return Subject(served=served, stop=None if stop is None else tuple(stop), sampling=dict(sampling))


def _inside(folder: Path, name: Any, where: Path) -> Path:
    if not isinstance(name, str) or not name:
        raise ArtifactError(f"{where}: it names no gguf file")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ArtifactError(f"{where}: {name!r} lies outside the folder")
    if not path.is_file():
        raise ArtifactError(f"{where}: {name!r} is not there")
    return path
