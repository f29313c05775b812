"""Measuring a running server against the training-time answers, one layer at a time.

Each layer is measured by itself, so that one fault does not hide another: template and tokenizer by their own paths of the
server, log-probabilities from the training-time token ids, sampling beside the server's own greedy answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.deployment.parity import GREEDY, Compared, Gaps
from tunekeeper.deployment.transcript import Reference
from tunekeeper.engines import ChatClient

FORCE = 100.0
"""Logit bias that makes a server choose a token; its log-probability is reported without the bias."""
TOP = 40
"""Log-probabilities asked for where the token itself gets no entry."""
PROBES = tuple(range(32, 128))
EXTRA_TEXTS = (
    "Größe  naïve\tß\n\n 12345 6",
    "你好，世界 🎉👩‍💻",
    "def f(x):\n    return x**2  # it's",
    "'ll 're {\"a\": [1, 2.50]}",
)


@dataclass(slots=True)
class _Tally:
    n: int = 0
    differ: int = 0
    first: str = ""

    def add(self, same: bool, difference: str) -> None:
        self.n += 1
        if same:
            return
        self.differ += 1
        self.first = self.first or difference

    def done(self) -> Compared:
        return Compared(n=self.n, differ=self.differ, first=self.first)


@dataclass(slots=True)
class _GapTally:
    gaps: list[float] = field(default_factory=list)
    agree: int = 0
    answers: int = 0
    equal: int = 0
    first: str = ""

    def done(self) -> Gaps:
        n = len(self.gaps)
        mean = sum(self.gaps) / n if n else 0.0
        return Gaps(
            n=n,
            worst=max(self.gaps, default=0.0),
            mean=mean,
            agree=self.agree,
            answers=self.answers,
            equal=self.equal,
            first=self.first,
        )


def template(client: ChatClient, references: Sequence[Reference], bos: str | None) -> Compared:
    """Rendered text by the server's template beside the training-time text. `bos`: text that a server adds as a token instead."""
    tally = _Tally()
    for reference in references:
        body: dict[str, Any] = {"messages": list(reference.messages)}
        if reference.tools:
            body["tools"] = list(reference.tools)
        served = str(client.post("/apply-template", body)["prompt"])
        trained = reference.rendered
        if bos:
            served, trained = served.removeprefix(bos), trained.removeprefix(bos)
        tally.add(served == trained, _first_difference(trained, served))
    return tally.done()


def _first_difference(trained: str, served: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b), min(len(trained), len(served)))
    return f"character {at}: training has {trained[at : at + 30]!r}, the server {served[at : at + 30]!r}"


def tokenizer(
    client: ChatClient,
    references: Sequence[Reference],
    encode: Callable[[str], list[int]],
    normal: bool,
    words: Sequence[str] = (),
    behind: str = "",
) -> Compared:
    """Token ids by the server beside training-time ones, of prompts, answers and hard texts.

    `encode`: the training-time tokenizer without added tokens. `normal`: whether texts must be in NFC first. `words`: texts of
    the vocabulary's own tokens, which a wrong way of splitting tears apart. `behind`: special token put before each text but the
    prompts, where a text without one is another thing.
    """
    import unicodedata

    tally = _Tally()
    pairs = [(r.rendered, list(r.prompt_ids)) for r in references]
    texts = [*(r.answer for r in references if r.answer), *EXTRA_TEXTS]
    texts += ["".join(words), " ".join(words), "\n".join(words)]
    texts = [behind + (unicodedata.normalize("NFC", text) if normal else text) for text in texts]
    pairs += [(text, encode(text)) for text in texts]
    for text, trained in pairs:
        served = list(client.post("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"])
        tally.add(served == trained, _first_token(text, trained, served))
    return tally.done()


def _first_token(text: str, trained: list[int], served: list[int]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b), min(len(trained), len(served)))
    return f"token {at} of {text[:40]!r}: training has {trained[at : at + 3]}, the server {served[at : at + 3]}"


def beginning(client: ChatClient, references: Sequence[Reference], bos_id: int | None) -> str:
    """What the server puts before a prompt that training did not, in one line; empty when nothing."""
    added = list(client.post("/tokenize", {"content": "", "add_special": True})["tokens"])
    if not references or not added:
        return ""
    return (
        ""
        if references[0].prompt_ids[0] == bos_id == added[0]
        else f"the server begins every prompt with token {added[0]}, training did not"
    )


def ends(client: ChatClient, references: Sequence[Reference], eos: Sequence[int]) -> Compared:
    """Whether the server stops at each token that ended answers in training, by making it choose that token."""
    tally = _Tally()
    prompt = list(references[0].prompt_ids) if references else [1]
    for id in eos:
        said = _complete(client, prompt, 2, logit_bias=[[id, FORCE]])
        tally.add(said.get("stop_type") == "eos", f"token {id} ended answers in training, the server runs on after it")
    return tally.done()


def gaps(client: ChatClient, references: Sequence[Reference], **fields: Any) -> Gaps:
    """Log-probability of every training-time answer token as served, each after its training-time prefix."""
    tally = _GapTally()
    for reference in references:
        if not reference.answer_ids:
            continue
        before = tally.agree
        _one(client, reference, tally, fields)
        tally.answers += 1
        tally.equal += tally.agree - before == len(reference.answer_ids)
    return tally.done()


def _one(client: ChatClient, reference: Reference, tally: _GapTally, fields: dict[str, Any]) -> None:
    prompt, answer = list(reference.prompt_ids), list(reference.answer_ids)
    said = _complete(client, prompt, len(answer), n_probs=1, **fields)
    steps, tokens = said.get("completion_probabilities") or [], said.get("tokens") or []
    at = 0
    # A token that ends inside a character gets no entry of its own; then entries and tokens cannot be matched.
    while len(steps) == len(tokens) and at < min(len(answer), len(tokens)) and tokens[at] == answer[at]:
        tally.gaps.append(abs(steps[at]["logprob"] - reference.logprobs[at]))
        tally.agree += 1
        at += 1
    for place in range(at, len(answer)):
        greedy, logprob = _at(client, prompt + answer[:place], answer[place], fields)
        tally.gaps.append(abs(logprob - reference.logprobs[place]))
        tally.agree += greedy == answer[place]
        if greedy != answer[place]:
            tally.first = tally.first or f"answer {reference.id} differs first at token {place} of {len(answer)}"


def _at(client: ChatClient, prefix: list[int], token: int, fields: dict[str, Any]) -> tuple[int, float]:
    """The server's greedy choice after `prefix`, and its log-probability of `token` (a bound when it is far down the list)."""
    # The chosen token must print: 198 and its like may not, so a probe is made to choose one after the other until one does.
    for forced in (token, *PROBES):
        said = _complete(client, prefix, 1, n_probs=TOP, logit_bias=[[forced, FORCE]], **fields)
        steps = said.get("completion_probabilities") or []
        if not steps:
            continue
        listed = {entry["id"]: entry["logprob"] for entry in steps[0]["top_logprobs"]}
        greedy = max(listed, key=lambda id: listed[id], default=-1)
        if steps[0]["id"] == token:
            return greedy, float(steps[0]["logprob"])
        return greedy, float(listed.get(token, min(listed.values(), default=-FORCE)))
    return -1, -FORCE


def sampling(client: ChatClient, references: Sequence[Reference], declared: dict[str, Any], **fields: Any) -> Compared:
    """Answers under the artifact's own settings beside the same server's greedy answers."""
    tally = _Tally()
    used = {**GREEDY, **declared, **fields}
    longest = int(used.pop("max_tokens", 0) or used.pop("n_predict", 0) or 1 << 20)
    for reference in references:
        length = max(1, len(reference.answer_ids))
        greedy = _complete(client, list(reference.prompt_ids), length, **fields)
        own = _complete(client, list(reference.prompt_ids), min(length, longest), **used)
        same = greedy.get("tokens") == own.get("tokens")
        tally.add(same, f"answer {reference.id} changes under the artifact's settings {declared}")
    return tally.done()


def _complete(client: ChatClient, prompt: list[int], length: int, **fields: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "n_predict": length, "return_tokens": True, "cache_prompt": True, "seed": 1, **GREEDY, **fields}
    said = client.post("/completion", body)
    return said if isinstance(said, dict) else {}
