"""Parity at any OpenAI-compatible endpoint: what a chat client can see there of template, tokens, ends, weights and sampling.

Such a server shows no token ids. It counts tokens, says why an answer ended and, where it can, how likely each token was; what it
does not say is no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import UpstreamUnavailable, UserError
from tunekeeper.core.nouns.deployment import Parity, ParityCheck
from tunekeeper.deployment.parity import Compared, Gaps, Limits, Measured, decide_live
from tunekeeper.deployment.transcript import Reference
from tunekeeper.engines import Answer, ChatClient
from tunekeeper.engines.client import base_of, listed_models
from tunekeeper.stats.intervals import wilson
from tunekeeper.text.tokenizers import TokenizerFiles

MORE = 8
"""Tokens that are asked for beyond an answer that ended by itself: one that runs on shows."""
LISTED = 5
"""Likeliest tokens that are asked for with each token; servers list no more that is common to all."""
TIE = 0.01
"""Nats by which a chosen token may be less likely than the likeliest."""
START = 48
"""Characters in which answers are compared without probabilities: one token that quantization turned changes the rest."""
FEW = 5
"""One answer in so many may end elsewhere, or change when it is asked again, by rounding alone."""
UNCOUNTED = "the server does not count tokens (usage)"


@dataclass(slots=True)
class _Seen:
    """What was seen at an endpoint, a line for each difference."""

    prompts: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    sampling: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    agree: int = 0
    equal: int = 0
    listed: int = 0
    first: str = ""


def compare_remote(
    client: ChatClient, tokenizer: TokenizerFiles | None, references: Sequence[Reference], limits: Limits
) -> Parity:
    """Ask greedily what training answered, and decide as for a file; inconclusive where the server does not say enough.

    `tokenizer`: training's; not needed without references. Raises UpstreamUnavailable.
    """
    seen = _Seen()
    for reference in references:
        said = _asked(client, reference)
        _count(seen, reference, said)
        _judge_end(seen, reference, said)
        if tokenizer is None or not _weigh(seen, reference, said, tokenizer):
            again = _asked(client, reference)
            told = f"answer {reference.id} is another when it is asked for again at temperature 0"
            seen.changed.append("" if again.text == said.text else told)
            text, trained = said.text.strip()[:START], reference.answer.strip()[:START]
            same = trained.startswith(text) if said.finish_reason == "length" else trained == text
            seen.alike.append(
                "" if same else f"answer {reference.id} begins {said.text[:30]!r}, in training {reference.answer[:30]!r}"
            )
    return _decided(seen, limits)


def client_of(endpoint: str, name: str | None, api_key: str | None) -> ChatClient:
    """A client of one model there; `name` may be left out where the server has only one. Raises UserError naming them."""
    if name is None:
        listed = listed_models(base_of(endpoint), api_key)
        if len(listed) != 1:
            told = ", ".join(listed[:10]) or "none"
            raise UserError(f"{endpoint} has {len(listed)} models: {told}", fix="say which with --name")
        name = listed[0]
    return ChatClient(endpoint, name, api_key)


def _asked(client: ChatClient, reference: Reference) -> Answer:
    length = len(reference.answer_ids) + (MORE if reference.stopped else 0)
    plain: dict[str, Any] = {"tools": list(reference.tools)} if reference.tools else {}
    try:
        return client.chat(
            reference.messages, max_tokens=max(1, length), top_p=1.0, seed=1, logprobs=True, top_logprobs=LISTED, **plain
        )
    except UpstreamUnavailable as error:
        if "status 4" not in error.message:
            raise
        return client.chat(reference.messages, max_tokens=max(1, length), **plain)  # it knows fewer settings


def _count(seen: _Seen, reference: Reference, said: Answer) -> None:
    """Tokens of the prompt, and of an answer whose text is training's, beside training's."""
    if said.prompt_tokens is not None:
        trained, told = len(reference.prompt_ids), f"prompt {reference.id} has {said.prompt_tokens} tokens there"
        seen.prompts.append("" if said.prompt_tokens == trained else f"{told}, {trained} in training")
    if said.completion_tokens is not None and said.text.strip() == reference.answer.strip() and said.finish_reason == "stop":
        trained = len(reference.answer_ids)
        same = said.completion_tokens in (trained, trained - reference.stopped)
        told = f"answer {reference.id} has {said.completion_tokens} tokens there, {trained} in training"
        seen.tokens.append("" if same else told)


def _judge_end(seen: _Seen, reference: Reference, said: Answer) -> None:
    """Whether the answer ended where training's did, as far as it is the same, and was not cut before the asked length."""
    text, trained = said.text.strip(), reference.answer.strip()
    asked = len(reference.answer_ids) + (MORE if reference.stopped else 0)
    if said.finish_reason == "length" and (said.completion_tokens or asked) < asked:
        seen.sampling.append(f"answer {reference.id}: the server cut it after {said.completion_tokens} of {asked} tokens")
    elif said.finish_reason == "stop" and text != trained and trained.startswith(text):
        seen.early.append(f"the server ends answer {reference.id} after {text[-30:]!r}, training went on")
    elif reference.stopped and trained and text.startswith(trained):
        runs_on = text != trained or said.finish_reason != "stop"
        seen.ends.append(f"answer {reference.id} ended in training, the server runs on after it" if runs_on else "")


def _weigh(seen: _Seen, reference: Reference, said: Answer, tokenizer: TokenizerFiles) -> bool:
    """Compare log-probabilities token by token until an answer differs; whether the server says any that can be matched."""
    choice, special = said.raw["choices"][0], {int(added["id"]) for added in tokenizer.added if added.get("special")}
    steps = [step for step in (choice.get("logprobs") or {}).get("content") or () if step.get("top_logprobs")]
    ids = reference.answer_ids[: len(reference.answer_ids) - reference.stopped]
    if not steps or len(steps) < (said.completion_tokens or len(steps)) - 1 or special.intersection(ids):
        return False  # a token that ends inside a character may have no entry of its own, a special one no text
    seen.listed += 1
    if said.text.strip() and said.text.strip() not in _joined(steps):
        seen.prompts.append(f"answer {reference.id} begins {said.text[:30]!r}, which its tokens do not say")
    told = next((f"answer {reference.id} at temperature 0: {odd}" for step in steps if (odd := _not_likeliest(step))), "")
    seen.sampling.append(told)
    pairs = list(zip(ids, steps, strict=False))
    for place, (_, step) in enumerate(pairs):
        piece = tokenizer.decode(ids[: place + 1])
        listed = {_joined([*steps[:place], each]): float(each["logprob"]) for each in (*step["top_logprobs"], step)}
        likeliest = max(listed, key=lambda text: listed[text])
        own = next((value for text, value in listed.items() if _same(text, piece)), min(listed.values()))
        seen.gaps.append(abs(own - reference.logprobs[place]))
        seen.agree += _same(likeliest, piece)
        if not _same(_joined(steps[: place + 1]), piece):
            seen.first = seen.first or f"answer {reference.id} differs first at token {place} of {len(reference.answer_ids)}"
            return True
    seen.equal += len(pairs) == len(ids)
    return True


def _joined(steps: Sequence[dict[str, Any]]) -> str:
    """The text of tokens; of those that end inside a character by their bytes, where the server says them."""
    whole = b"".join(bytes(each["bytes"]) if each.get("bytes") else str(each["token"]).encode() for each in steps)
    return whole.decode("utf-8", "replace")


def _same(said: str, trained: str) -> bool:
    return said.rstrip("\ufffd").lstrip() == trained.rstrip("\ufffd").lstrip()


def _not_likeliest(step: dict[str, Any]) -> str:
    top = max(step["top_logprobs"], key=lambda each: float(each["logprob"]))
    off = top["token"] != step["token"] and float(top["logprob"]) - float(step["logprob"]) > TIE
    return f"the server chose {step['token']!r}, its likeliest is {top['token']!r}" if off else ""


def _decided(seen: _Seen, limits: Limits) -> Parity:
    asked = max(len(seen.sampling), len(seen.alike))
    # What happens once by rounding is no fault of stop texts or settings; what happens again and again is.
    early = seen.early if len(seen.early) * FEW >= max(1, asked) else [""] * len(seen.early)
    changed = seen.changed if sum(map(bool, seen.changed)) * FEW >= max(1, len(seen.changed)) else [""] * len(seen.changed)
    counted = [told for told in seen.prompts if not told] + seen.tokens
    n = len(seen.gaps)
    gaps = Gaps(
        n=n, worst=max(seen.gaps, default=0.0), mean=sum(seen.gaps) / n if n else 0.0, agree=seen.agree,
        answers=seen.listed, equal=seen.equal, first=seen.first,
    )  # fmt: skip
    measured = Measured(
        template=_compared(seen.prompts, UNCOUNTED),
        stop=_compared([*seen.ends, *early], "no answer was as long as training's"),
        tokenizer=_compared(counted, UNCOUNTED),
        plain=None,
        quantized=gaps,
        sampling=_compared([*seen.sampling, *changed], ""),
    )
    return decide_live(measured, limits, file=None if n else _by_answers(seen, any(changed), limits))


def _compared(lines: Sequence[str], missing: str) -> Compared:
    """One entry for each thing that was compared: what differs, or nothing."""
    differ = [line for line in lines if line]
    return Compared(n=len(lines), differ=len(differ), first=differ[0] if differ else "", missing="" if lines else missing)


def _by_answers(seen: _Seen, unsteady: bool, limits: Limits) -> ParityCheck:
    """What texts alone say of the weights: the share of answers that begin as training's, with its interval of 95 %."""
    n, limit = len(seen.alike), limits.quantized_agreement
    if not n or unsteady:
        told = "answers that change from one time to the next say nothing" if unsteady else "no answers to compare"
        return ParityCheck(layer="quantization", ok=False, detail=told)
    same = seen.alike.count("")
    low, high = wilson(same, n)
    detail = f"{same} of {n} answers begin as training's ({low:.0%} to {high:.0%}), at least {limit:.0%} are asked for"
    if low < limit <= high:
        return ParityCheck(layer="quantization", ok=False, detail=f"{detail}: too few to tell, and no probabilities are said")
    first = next((line for line in seen.alike if line), "")
    return ParityCheck(
        layer="quantization",
        ok=low >= limit,
        detail=detail if low >= limit else f"{detail}; {first}",
        value=same / n,
        limit=limit,
        n=n,
    )
