"""What runs in an export child: merge, convert, quantize, compare with training. numpy, no torch, no database."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.adapter import Adapter, open_adapter
from tunekeeper.deployment.apart import write_pair
from tunekeeper.deployment.checkpoint import Checkpoint, open_checkpoint, weights_digest
from tunekeeper.deployment.compare import Subject, measure_all
from tunekeeper.deployment.exporting import Exported, finish, write_servable
from tunekeeper.deployment.parity import Limits, decide
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.deployment.weights import Served
from tunekeeper.store.blobs import Blobs
from tunekeeper.store.rows import Rows
from tunekeeper.text.tokenizers import read_tokenizer

PLAIN = "plain-f16.gguf"


class Context(Protocol):
    """What the job runner hands to a child."""

    @property
    def root(self) -> Path:
        """The workspace's data directory, to read from."""

    @property
    def work(self) -> Path:
        """Scratch folder; what is left there is the result. The same folder in every attempt."""

    def progress(self, fraction: float | None, **fields: Any) -> None:
        """Say how far the job is, 0 to 1."""


def run(input: dict[str, Any], context: Context) -> dict[str, Any]:
    """Make one version servable and compare it with its training-time answers.

    `input`: base (folder), base_digest, tokenizer_digest, template_digest, adapter (folder or None), name, quantization, apart
    (where the base's file lies below the root, for a version that is loaded as an adapter beside it; else None),
    transcript (file or None), rows (manifest of what it learned, or None), own (whether the transcript's answers are this
    version's), prompts, limits (fields of `Limits`), stop, sampling, metadata. Returns file, digest, bytes, quantization,
    fallback_tensors, notes, base (digest of the base's file, or None), stop, parity (fields of `Parity`),
    timings; leaves `<name>.gguf` in `context.work`. Raises ArtifactError with one clear line.
    """
    began = time.monotonic()
    base, out = Path(input["base"]), context.work / f"{input['name']}.gguf"
    digest = weights_digest(base)
    _same("weights", digest, input.get("base_digest"), base)
    tokenizer = read_tokenizer(base)
    _same("tokenizer", tokenizer.digest, input.get("tokenizer_digest"), base)
    _same("chat template", tokenizer.template_digest, input.get("template_digest"), base)
    checkpoint = open_checkpoint(base)
    adapter = open_adapter(Path(input["adapter"]), checkpoint, base_digest=digest) if input.get("adapter") else None
    context.progress(0.1, note="merging and converting")
    plain = context.work / PLAIN
    served, exported, base_file = _written(input, context, checkpoint, adapter, digest, out, plain)
    converted = time.monotonic()
    context.progress(0.5, note="comparing with training")
    references = read_transcript(Path(input["transcript"]), input.get("prompts")) if input.get("transcript") else []
    subject = Subject(
        served=served, stop=_stops(references, tokenizer.special()) or None, plain=plain if plain.exists() else None
    )
    measured = measure_all(subject, checkpoint, adapter, references, answers=bool(input.get("own", True)))
    parity = decide(measured, Limits(**input.get("limits", {})))
    plain.unlink(missing_ok=True)
    return {
        "file": Path(exported.path).name,
        "base": base_file,
        **{key: value for key, value in dataclasses.asdict(exported).items() if key != "path"},
        "stop": list(subject.stop or ()),
        "parity": dataclasses.asdict(parity),
        "timings": {"convert_s": round(converted - began, 3), "parity_s": round(time.monotonic() - converted, 3)},
    }


def _written(
    input: dict[str, Any],
    context: Context,
    checkpoint: Checkpoint,
    adapter: Adapter | None,
    digest: str,
    out: Path,
    plain: Path,
) -> tuple[Served, Exported, str | None]:
    """The version's files, what its own is, and the digest of the base's where that is apart."""
    metadata, kind = {"base_digest": digest, **input.get("metadata", {})}, input["quantization"]
    rows = _texts(context.root, input.get("rows"))
    if input.get("apart"):
        pair = write_pair(context.root / input["apart"], checkpoint, adapter, kind, out, metadata=metadata, rows=rows)
        return pair.served, pair.exported, pair.base
    fallback, notes = write_servable(
        checkpoint, adapter, kind, out, name=input["name"], metadata=metadata, plain=plain, rows=rows
    )
    return Served(model=out), finish(out, kind, fallback, notes), None


def _texts(root: Path, manifest: str | None) -> Iterator[tuple[str, ...]]:
    """The texts of each row to learn from of the dataset with this manifest; read only when asked for."""
    if manifest is None:
        return
    for line in Rows(Blobs(root / "blobs"), root / "work" / "rows").lines(manifest, "train"):
        told = (message.get("content") for message in json.loads(line).get("messages") or ())
        yield tuple(text for text in told if isinstance(text, str))


def _same(what: str, found: str | None, wanted: str | None, base: Path) -> None:
    if wanted is not None and found != wanted:
        raise ArtifactError(
            f"{base}: its {what} changed since this version was trained ({str(found)[:19]}…, trained with {wanted[:19]}…)",
            fix="put the base back that the version was trained on",
        )


def _stops(references: list[Reference], special: dict[str, str]) -> tuple[str, ...]:
    """Stop texts to send: the tokenizer's end token, unless answers hold it as ordinary text."""
    text = special.get("eos_token")
    return (text,) if text and not any(text in r.answer for r in references) else ()
