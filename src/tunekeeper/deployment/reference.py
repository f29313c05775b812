"""What a version answered in training, to compare with; of one that was trained elsewhere, what transformers makes of it here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.errors import ConfigError, NotFound
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.memory import MARGIN, available
from tunekeeper.jobs.verbs import job_id
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.workspace import Workspace

KIND = "reference-transcript"
"""The job that makes one; training registers it."""
PROBES = (
    ({"role": "user", "content": "My invoice is wrong and I want a refund."},),
    ({"role": "user", "content": "The app crashes when I open it.\n\nWhat now?"},),
    ({"role": "system", "content": "Answer with JSON."}, {"role": "user", "content": "I can't log in since 12:45, error 503."}),
    ({"role": "user", "content": "Größe, naïve, 你好 and 🎉"},),
    ({"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "What is 17 + 25?"}),
    (
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Write one line of Python."},
    ),
    ({"role": "user", "content": "  Leading and trailing spaces  "},),
    ({"role": "user", "content": "Summarise: the delivery came two days late, and the box was open."},),
)
"""Conversations to compare on when the caller has none."""
ANSWER_TOKENS = 32


def base_folder(ws: Workspace, version: Version) -> Path:
    """Where the checkpoint lies that a version is, or that its adapter is put on. Raises ConfigError when it is gone."""
    if version.checkpoint is not None:
        digest = version.checkpoint
        return ws.blobs.checkout_folder(digest, ws.path("work", f"checkpoint-{digest[7:31]}"), link=True)
    folder = ((ws.project or ws.root) / version.base).resolve()
    if not folder.is_dir():
        raise ConfigError(f"{folder}: the base of {version.name} is not there", fix=f"set `base` in models/{version.model}.yaml")
    return folder


def adapter_folder(ws: Workspace, digest: str) -> Path:
    """A copy of a stored adapter's folder, made once."""
    return ws.blobs.checkout_folder(digest, ws.path("work", f"adapter-{digest[7:31]}"))


def transcript_of(ws: Workspace, version: Version) -> tuple[Path | None, bool]:
    """The reference transcript to compare with, and whether its answers are this version's own.

    A version that nobody trained here borrows the prompts of one with the same tokenizer and template, whose answers do not
    count; where there is none to borrow from, its own are made (`transcribing`).
    """
    if version.transcript is not None:
        return ws.blobs.path(version.transcript), True
    with ws.state.read() as tx:
        known = find_versions(tx, model=version.model, newest_first=True)
    same = (version.base_digest, version.tokenizer_digest, version.template_digest)
    lent = [v.transcript for v in known if v.transcript and (v.base_digest, v.tokenizer_digest, v.template_digest) == same]
    if lent:  # the oldest: the same job input whenever it is asked again
        return ws.blobs.path(lent[-1]), False
    try:
        job = jobs.look(ws, job_id(KIND, _asked(ws, version)))
    except NotFound:
        return None, False
    made = job.work / job.output["transcript"] if job.state == "done" and job.output is not None else None
    return (made, True) if made is not None and made.is_file() else (None, False)


def transcribing(ws: Workspace, version: Version, *, again: bool = False) -> jobs.Job | None:
    """The job that makes the transcript of a version that has none and can borrow none; None where there is nothing to make.

    `again` as of `export_version`. It may have failed; then nothing is known to compare with.
    """
    if transcript_of(ws, version)[0] is not None or too_large(base_folder(ws, version)):
        return None
    return jobs.ensure(ws, KIND, _asked(ws, version), model=version.model, again=again)


def too_large(base: Path) -> str:
    """Why a base cannot be computed here in float32, beside what serves users; empty where it can, or nobody knows."""
    free = available()
    needed = 2 * sum(file.stat().st_size for file in base.glob("*.safetensors"))  # most are kept in 16 bits
    if free is None or needed <= free * MARGIN:
        return ""
    return f"computing the base takes about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are available"


def _asked(ws: Workspace, version: Version) -> dict[str, Any]:
    adapter = adapter_folder(ws, version.adapter) if version.adapter else None
    prompts = ws.blobs.path(ws.blobs.put_bytes(probes()))
    return asked_for(base_folder(ws, version), adapter, prompts)


def asked_for(base: Path, adapter: Path | None, prompts: Path) -> dict[str, Any]:
    """Input of the job that transcribes what a checkpoint, with its adapter, answers to chat JSONL."""
    return {
        "base": str(base.resolve()),
        "adapter": str(adapter.resolve()) if adapter else None,
        "prompts": str(prompts.resolve()),
        "count": 64,
        "answer_tokens": ANSWER_TOKENS,
        "threads": 1,
    }


def probes() -> bytes:
    """The general conversations as chat JSONL."""
    # The job learns nothing from the last answer: it answers what stands before it.
    rows = [{"messages": [*messages, {"role": "assistant", "content": "-"}]} for messages in PROBES]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
