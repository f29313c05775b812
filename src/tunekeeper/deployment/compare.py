"""The parity check of one artifact: start its server, measure every layer, decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunekeeper.core.nouns.deployment import Parity
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment import fields, measure, parity
from tunekeeper.deployment.adapter import Adapter
from tunekeeper.deployment.checkpoint import Checkpoint, read_json
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.sentencepiece import first_only
from tunekeeper.deployment.source import open_source
from tunekeeper.deployment.tokens import normalises, same_anyway
from tunekeeper.deployment.transcript import Reference
from tunekeeper.deployment.weights import Served, weigh
from tunekeeper.engines import ChatClient, serve_temporarily
from tunekeeper.text.tokenizers import TokenizerFiles, read_tokenizer

WORDS = 1000
"""Tokens of the vocabulary that are tried."""
PASSED = 48
"""Tokens inside answers that are tried for ending them."""
PLAIN = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """An artifact and what its server is told."""

    served: Served
    """Its files."""
    stop: tuple[str, ...] | None = None
    """Stop texts its server uses; None when it names none."""
    sampling: dict[str, Any] = field(default_factory=dict)
    """Sampling settings its server uses; empty: requests decide."""
    plain: Path | None = None
    """The unquantized file it was quantized from, where there is one."""


def compare(
    subject: Subject, checkpoint: Checkpoint, adapter: Adapter | None, references: Sequence[Reference], limits: parity.Limits
) -> Parity:
    """Measure `subject` beside the training-time answers and decide. Raises ArtifactError for files that cannot be used."""
    return parity.decide(measure_all(subject, checkpoint, adapter, references), limits)


def measure_all(
    subject: Subject, checkpoint: Checkpoint, adapter: Adapter | None, references: Sequence[Reference], *, answers: bool = True
) -> parity.Measured:
    """Every measurement. `answers`: whether the references' answers are this version's (else only their prompts count)."""
    tokenizer = read_tokenizer(checkpoint.folder)
    eos = _ends(checkpoint.eos, tokenizer)
    weighed = weigh(subject.served, checkpoint, adapter)
    kind, file = plain_kind(subject.served.model), subject.served.model
    known = references if answers else []
    with serve_temporarily(_slot(subject.served), Path("/"), extra=_extra(subject.served)) as endpoint:
        client = ChatClient(endpoint, "parity")
        gaps = measure.gaps(client, known)
        common = _common(client, subject.stop, references, tokenizer, eos, answers)
        conflict = parity.sampling_conflict(subject.sampling, trained_sampling(checkpoint.folder))
        sampling = measure.sampling(client, references, subject.sampling)
    merged, plain = (gaps, kind) if kind else _unquantized(subject.plain, known)
    if told := fields.tokenizer(file, checkpoint.shape, tokenizer, checkpoint.eos):
        common["tokenizer"] = measure.together(common["tokenizer"], parity.Compared(n=1, differ=1, first=told))
    return parity.Measured(
        **common,
        plain=plain,
        merged=merged,
        quantized=None if kind else gaps,
        weighed=weighed,
        is_quantized=kind is None,
        computes=fields.computes(file, checkpoint.shape),
        coarser=fields.coarser(file),
        sampling=sampling,
        sampling_conflict=conflict,
    )


def measure_endpoint(
    client: ChatClient,
    folder: Path,
    stop: tuple[str, ...],
    references: Sequence[Reference],
    *,
    answers: bool,
    plain: str | None,
    always: dict[str, Any],
) -> parity.Measured:
    """What can be measured at a server that runs already. `folder`: the checkpoint. `stop`: stop texts it is asked with.
    `plain`: type of its file, None for a quantized one. `always`: what every request to it must carry."""
    tokenizer, source = read_tokenizer(folder), open_source(folder)
    gaps = measure.gaps(client, references if answers else [], **always)
    common = _common(client, stop or None, references, tokenizer, _ends(source.eos, tokenizer), answers)
    prompts, chats = measure.chats(client, references, **always)
    greedy, seeded = measure.sampling(client, references, {}, **always), measure.seeded(client, references, **always)
    chances = measure.chances(client, references, **always)
    return parity.Measured(
        template=measure.together(common["template"], prompts),
        stop=common["stop"],
        tokenizer=common["tokenizer"],
        plain=plain,
        merged=gaps if plain else None,
        quantized=None if plain else gaps,
        is_quantized=plain is None,
        sampling=measure.together(greedy, chats, seeded, chances),
    )


def _ends(eos: tuple[int, ...], tokenizer: TokenizerFiles) -> tuple[int, ...]:
    """Ids that end an answer: the checkpoint's and the tokenizer's."""
    own = tokenizer.id_of("eos_token")
    return tuple(dict.fromkeys((*eos, *([own] if own is not None else []))))


def _common(
    client: ChatClient,
    stops: tuple[str, ...] | None,
    references: Sequence[Reference],
    tokenizer: TokenizerFiles,
    eos: tuple[int, ...],
    answers: bool,
) -> dict[str, parity.Compared]:
    ids = {id: text for text, id in tokenizer.vocabulary.items()}
    normal = normalises(tokenizer)
    behind = tokenizer.special().get("bos_token", "") if first_only(tokenizer) else ""
    known = same_anyway(tokenizer)
    words = [word for word in _words(tokenizer) if known(word)]
    compared = measure.tokenizer(client, references, tokenizer.encode, normal, words, behind, known)
    before = measure.beginning(client, references, tokenizer.id_of("bos_token"))
    if before:
        compared = parity.Compared(n=compared.n + 1, differ=compared.differ + 1, first=before)
    stop = measure.ends(client, references, eos)
    if references and answers:
        passed = _passed(references, {int(added["id"]) for added in tokenizer.added})
        stop = measure.together(stop, measure.early_ends(client, references, passed))
    said = tuple(r.answer for r in references) if answers else ()
    ended = tuple(ids[id] for id in _ended(references, eos) if id in ids)
    told = parity.stop_conflict(stops, ended, said, tuple(each["content"] for each in tokenizer.added if each.get("special")))
    if told:
        stop = parity.Compared(n=stop.n + 1, differ=stop.differ + 1, first=told)
    return {
        "template": measure.template(client, references, tokenizer.special().get("bos_token")),
        "stop": stop,
        "tokenizer": compared,
    }


def _passed(references: Sequence[Reference], special: set[int]) -> list[int]:
    """Ordinary tokens that answers went on after, the most frequent first."""
    seen = Counter(id for r in references for id in r.answer_ids[: len(r.answer_ids) - r.stopped] if id not in special)
    return [id for id, _ in seen.most_common(PASSED)]


def _words(tokenizer: TokenizerFiles) -> list[str]:
    """Texts of the vocabulary's longer tokens, evenly drawn; those that are no whole characters are left out."""
    special = {int(added["id"]) for added in tokenizer.added}
    ids = [id for text, id in tokenizer.vocabulary.items() if id not in special and len(text) > 1]
    texts = (tokenizer.decode([id]) for id in ids[:: max(1, len(ids) // WORDS)])
    return [text for text in texts if "\ufffd" not in text]


def _ended(references: Sequence[Reference], eos: tuple[int, ...]) -> tuple[int, ...]:
    """Tokens that did end answers; where none did, those that could."""
    seen = tuple(dict.fromkeys(r.answer_ids[-1] for r in references if r.stopped and r.answer_ids))
    return seen or eos


def _unquantized(path: Path | None, references: Sequence[Reference]) -> tuple[parity.Gaps | None, str | None]:
    if path is None or not references:
        return None, None
    with serve_temporarily(_slot(Served(model=path)), Path("/"), extra=_extra(Served(model=path))) as endpoint:
        return measure.gaps(ChatClient(endpoint, "parity"), references), plain_kind(path)


def plain_kind(path: Path) -> str | None:
    """f32, f16 or bf16 when the file is not quantized, else None."""
    kinds = {tensor.kind for tensor in read_gguf(path).tensors}
    if not kinds <= set(PLAIN):
        return None
    return next((PLAIN[kind] for kind in ("F16", "BF16") if kind in kinds), "f32")


def trained_sampling(folder: Path) -> dict[str, Any]:
    """How the checkpoint answers by its own settings: greedy unless generation_config.json says `do_sample`."""
    path = folder / "generation_config.json"
    config = read_json(path) if path.exists() else {}
    if not config.get("do_sample"):
        return {"temperature": 0.0}
    return {"temperature": 1.0} | {
        k: config[k] for k in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty") if config.get(k) is not None
    }


def _slot(served: Served) -> Slot:
    files = {"model": str(served.model.resolve())} | ({"lora": str(served.lora.resolve())} if served.lora else {})
    return Slot(
        id="parity", model="parity", version="parity", engine="llamacpp", files=files, options={"parallel": 1, "context": 1024}
    )


def _extra(served: Served) -> tuple[str, ...]:
    # Training computed in float32: a cache in f16 would add a gap of its own.
    return ("--cache-type", "f32", *(("--lora-scale", str(served.lora_scale)) if served.lora else ()))
