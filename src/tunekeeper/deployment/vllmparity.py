"""Parity at a live vLLM: what its own paths make of prompts, and its log-probabilities of the training-time answers."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tunekeeper.core.nouns.deployment import Parity
from tunekeeper.deployment import parity
from tunekeeper.deployment.measure import EXTRA_TEXTS
from tunekeeper.deployment.transcript import Reference
from tunekeeper.engines.vllm import VllmServer
from tunekeeper.text.tokenizers import TokenizerFiles

PENALTIES = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""What leaves a greedy answer alone; vLLM takes its defaults from the base's generation_config.json."""
SERVED = "the server's own type"


def compare_live(
    server: VllmServer,
    model: str,
    tokenizer: TokenizerFiles,
    eos: Sequence[int],
    references: Sequence[Reference],
    limits: parity.Limits,
    *,
    answers: bool = True,
) -> Parity:
    """Measure the served `model` beside the training-time answers and decide, as for a file.

    `tokenizer` and `eos`: those of the base that it was trained on. `answers`: whether the answers are this version's.
    """
    measured = parity.Measured(
        template=_template(server, model, references),
        stop=_stop(server, model, references, eos),
        tokenizer=_tokenizer(server, model, references, tokenizer),
        plain=SERVED,
        merged=_gaps(server, model, references) if answers else None,
        is_quantized=False,
        sampling=_sampling(server, model, references),
    )
    return parity.decide(measured, limits)


def _template(server: VllmServer, model: str, references: Sequence[Reference]) -> parity.Compared:
    pairs = [(r.id, list(r.prompt_ids), server.prompt_ids(model, r.messages, r.tools)) for r in references]
    return _compared([_difference(f"prompt {id}", trained, served) for id, trained, served in pairs])


def _tokenizer(server: VllmServer, model: str, references: Sequence[Reference], tokenizer: TokenizerFiles) -> parity.Compared:
    normal = (tokenizer.tokenizer.get("normalizer") or {}).get("type") == "NFC"
    texts = [*(r.answer for r in references if r.answer), *EXTRA_TEXTS]
    texts = [unicodedata.normalize("NFC", text) for text in texts] if normal else texts
    found = [_difference(repr(r.rendered[:40]), list(r.prompt_ids), server.text_ids(model, r.rendered)) for r in references]
    found += [_difference(repr(text[:40]), tokenizer.encode(text), server.text_ids(model, text)) for text in texts]
    return _compared(found)


def _difference(what: str, trained: list[int], served: list[int]) -> str:
    """The first place where token ids differ, in one line; empty when they are equal."""
    if trained == served:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b), min(len(trained), len(served)))
    return f"token {at} of {what}: training has {trained[at : at + 3]}, the server {served[at : at + 3]}"


def _stop(server: VllmServer, model: str, references: Sequence[Reference], eos: Sequence[int]) -> parity.Compared:
    if not references:
        return parity.Compared(n=0)
    prompt = references[0].prompt_ids
    told = "token {} ended answers in training, the server runs on after it"
    return _compared(["" if server.ends_after(model, prompt, id) else told.format(id) for id in eos])


def _sampling(server: VllmServer, model: str, references: Sequence[Reference]) -> parity.Compared:
    """Greedy answers under the server's own defaults beside those without any penalty."""
    found = []
    for reference in references:
        length = max(1, len(reference.answer_ids))
        own = server.chat(model, reference.messages, length, **_tools(reference))
        plain = server.chat(model, reference.messages, length, **_tools(reference), **PENALTIES)
        told = f"the server's defaults change greedy answers ({reference.id}): start it with --generation-config vllm"
        found.append("" if own == plain else told)
    return _compared(found)


def _tools(reference: Reference) -> dict[str, list[dict[str, object]]]:
    return {"tools": list(reference.tools)} if reference.tools else {}


def _gaps(server: VllmServer, model: str, references: Sequence[Reference]) -> parity.Gaps:
    """How far the server's log-probability of every training-time answer token is from the training-time one."""
    gaps: list[float] = []
    agree = answers = equal = 0
    first = ""
    for reference in references:
        if not reference.answer_ids:
            continue
        judged = server.judged(model, reference.prompt_ids, reference.answer_ids)
        gaps += [abs(token.logprob - trained) for token, trained in zip(judged, reference.logprobs, strict=True)]
        other = [place for place, token in enumerate(judged) if token.rank != 1]
        if other and not first:
            first = f"answer {reference.id} differs first at token {other[0]} of {len(judged)}"
        agree, answers, equal = agree + len(judged) - len(other), answers + 1, equal + (not other)
    mean = sum(gaps) / len(gaps) if gaps else 0.0
    return parity.Gaps(
        n=len(gaps), worst=max(gaps, default=0.0), mean=mean, agree=agree, answers=answers, equal=equal, first=first
    )


def _compared(differences: Sequence[str]) -> parity.Compared:
    """One entry for each thing that was compared: what differs, or nothing."""
    seen = [text for text in differences if text]
    return parity.Compared(n=len(differences), differ=len(seen), first=seen[0] if seen else "")
