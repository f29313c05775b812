"""Measuring a running server against the training-time answers, one layer at a time.

Each layer is measured by itself, so that one fault does not hide another: template and tokenizer by their own paths of the
server, log-probabilities from the training-time token ids, sampling beside the server's own greedy answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.deployment.parity import GREEDY, Compared, Gaps, named
from tunekeeper.deployment.transcript import Reference
from tunekeeper.engines import ChatClient

FORCE = 100.0
"""Logit bias that makes a server choose a token; its log-probability is reported without the bias."""
TOP = 40
"""Log-probabilities asked for where the token itself gets no entry."""
PROBES = tuple(range(32, 128))
RUN = 50
"""Words of the vocabulary in one text."""
TIE = 1e-3
"""Nats by which a chosen token may be less likely than the likeliest."""
CHATS = 4
"""References that are also asked as an application asks."""
CHANCES, STEPS, LISTED = 2, 8, 20
"""References, tokens and entries of their lists whose chances are compared."""
RARE = 9.0
"""Nats below which a token is too rare to compare: lists are cut."""
BENT = 0.05
"""Relative change of a token's chance that is no rounding."""
PLAIN_CHANCE = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0, "presence_penalty": 0.0,
    "frequency_penalty": 0.0, "dry_multiplier": 0.0, "xtc_probability": 0.0, "mirostat": 0, "seed": 7, "cache_prompt": False,
}  # fmt: skip
"""What draws from the model's own probabilities."""
UNSAID = "the server says no probabilities of its tokens"
SEEDED = 24
"""Tokens of an answer by chance."""
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
    missing: str = ""

    def add(self, same: bool, difference: str) -> None:
        self.n += 1
        if same:
            return
        self.differ += 1
        self.first = self.first or difference

    def done(self) -> Compared:
        return Compared(n=self.n, differ=self.differ, first=self.first, missing=self.missing)


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
    """Rendered text by the server's template beside the training-time text. `bos`: text that a server may add as a token instead,
    once, whatever its template says."""
    tally = _Tally()
    adds = bool(bos and client.post("/tokenize", {"content": "", "add_special": True})["tokens"])
    for reference in references:
        body: dict[str, Any] = {"messages": list(reference.messages)}
        if reference.tools:
            body["tools"] = list(reference.tools)
        served = str(client.post("/apply-template", body)["prompt"])
        trained = reference.rendered
        if bos and adds and trained.startswith(bos):
            served = bos + served  # the server took one away, for the one that it adds
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
    known: Callable[[str], bool] = lambda text: True,
) -> Compared:
    """Token ids by the server beside training-time ones, of prompts, answers and hard texts.

    `encode`: the training-time tokenizer without added tokens. `normal`: whether texts must be in NFC first. `words`: texts of
    the vocabulary's own tokens, which a wrong way of splitting tears apart. `behind`: special token put before each text but the
    prompts, where a text without one is another thing. `known`: whether a text that nobody has asked or said may be held against
    the server.
    """
    import unicodedata

    tally = _Tally()
    pairs = [(r.rendered, list(r.prompt_ids)) for r in references]
    said = [behind + (unicodedata.normalize("NFC", r.answer) if normal else r.answer) for r in references if r.answer]
    hard = [behind + (unicodedata.normalize("NFC", text) if normal else text) for text in EXTRA_TEXTS]
    many = [behind + (unicodedata.normalize("NFC", text) if normal else text) for text in _joined(words)]
    hard, many = [text for text in hard if known(text)], [text for text in many if known(text)]
    texts = [*said, *hard, *many]
    pairs += [(text, encode(text)) for text in texts]
    for text, trained in pairs:
        try:
            served = list(client.post("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"])
        except UpstreamUnavailable as error:
            if "status 5" not in error.message:
                raise
            tally.add(False, f"the server has no tokens for {text[:40]!r} ({error.message})")
            continue
        tally.add(served == trained, _first_token(text, trained, served))
    for text in hard:
        # What is said comes back as text: a byte that is taken for a word of its own would be written out.
        back = str(client.post("/detokenize", {"tokens": encode(text)})["content"])
        tally.add(
            back.removeprefix(behind).strip() == text.removeprefix(behind).strip(),
            f"the tokens of {text[:40]!r} become {back[:40]!r}",
        )
    return tally.done()


def _joined(words: Sequence[str]) -> list[str]:
    """Words side by side, in runs: none is so long that one word decides over all."""
    runs = [words[at : at + RUN] for at in range(0, len(words), RUN)]
    return [by.join(run) for by in ("", " ", "\n") for run in runs]


def _first_token(text: str, trained: list[int], served: list[int]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(trained, served, strict=False)) if a != b), min(len(trained), len(served)))
    return f"token {at} of {text[:40]!r}: training has {trained[at : at + 3]}, the server {served[at : at + 3]}"


def beginning(client: ChatClient, references: Sequence[Reference], bos_id: int | None) -> str:
    """What the server puts around a prompt that training did not, in one line; empty when nothing."""
    added = list(client.post("/tokenize", {"content": "", "add_special": True})["tokens"])
    if not references or not added:
        return ""
    if added[1:] or (added[0] != bos_id and references[0].prompt_ids[0] == bos_id):
        return f"the server puts the tokens {added} around every prompt, training did not"
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


def early_ends(client: ChatClient, references: Sequence[Reference], passed: Sequence[int]) -> Compared:
    """Whether the server runs on after tokens that stand inside training's answers, by making it choose each of `passed`."""
    tally = _Tally()
    for id in passed:
        said = _complete(client, list(references[0].prompt_ids), 2, logit_bias=[[id, FORCE]])
        tally.add(said.get("stop_type") != "eos", f"the server ends answers at token {id}, training went on after it")
    return tally.done()


def gaps(client: ChatClient, references: Sequence[Reference], **fields: Any) -> Gaps:
    """Log-probability of every training-time answer token as served, each after its training-time prefix. None of them where the
    server says no probabilities."""
    tally = _GapTally()
    for reference in references:
        if not reference.answer_ids:
            continue
        before = tally.agree
        if not _one(client, reference, tally, fields):
            return Gaps(n=0, worst=0.0, mean=0.0, agree=0, first=UNSAID)
        tally.answers += 1
        tally.equal += tally.agree - before == len(reference.answer_ids)
    return tally.done()


def _one(client: ChatClient, reference: Reference, tally: _GapTally, fields: dict[str, Any]) -> bool:
    """Measure one answer; whether the server says what its tokens are worth."""
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
        found = _at(client, prompt + answer[:place], answer[place], fields)
        if found is None:
            return False
        greedy, logprob = found
        tally.gaps.append(abs(logprob - reference.logprobs[place]))
        tally.agree += greedy == answer[place]
        if greedy != answer[place]:
            tally.first = tally.first or f"answer {reference.id} differs first at token {place} of {len(answer)}"
    return True


def _at(client: ChatClient, prefix: list[int], token: int, fields: dict[str, Any]) -> tuple[int, float] | None:
    """The server's greedy choice after `prefix`, and its log-probability of `token` (a bound when it is far down the list); None
    when it says neither."""
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
    return None


def sampling(client: ChatClient, references: Sequence[Reference], declared: dict[str, Any], **fields: Any) -> Compared:
    """Answers under the artifact's own settings beside the server's greedy ones, and those beside its own likeliest tokens.

    Whatever the artifact says of chance (temperature) is set aside: two answers by chance prove nothing.
    """
    tally = _Tally()
    used = {**named(declared), **GREEDY, **fields}
    longest, shown = int(used.pop("max_tokens", 0) or 1 << 20), False
    for reference in references:
        length = max(1, len(reference.answer_ids))
        greedy = _complete(client, list(reference.prompt_ids), length, n_probs=1, **fields)
        shown = shown or any(step.get("top_logprobs") for step in greedy.get("completion_probabilities") or ())
        tally.add(not (told := _not_greedy(greedy, length)), f"answer {reference.id}: {told}")
        if not declared:
            continue
        own = _complete(client, list(reference.prompt_ids), min(length, longest), **used)
        same = greedy.get("tokens") == own.get("tokens")
        tally.add(same, f"answer {reference.id} changes under the artifact's settings {declared}")
    tally.missing = "" if shown or not references else UNSAID
    return tally.done()


def _not_greedy(said: dict[str, Any], length: int) -> str:
    """Why an answer that was asked for at temperature 0 is not the server's likeliest one, or not whole; empty when it is."""
    tokens, steps = said.get("tokens") or [], said.get("completion_probabilities") or []
    if len(tokens) < length and said.get("stop_type") == "limit":
        return f"the server cut it after {len(tokens)} of {length} tokens"
    for step in steps:
        top = max(step.get("top_logprobs") or [step], key=lambda entry: float(entry["logprob"]))
        if top["id"] != step["id"] and float(top["logprob"]) - float(step["logprob"]) > TIE:
            return f"at temperature 0 the server chose token {step['id']}, its likeliest is {top['id']}"
    return ""


def chats(client: ChatClient, references: Sequence[Reference], **fields: Any) -> tuple[Compared, Compared]:
    """What applications ask for, `/v1/chat/completions`, beside the raw path of the same server: how long its prompts are, and
    whether its greedy answers are the same. The first is about the template, the second about sampling."""
    prompts, answers, alone = _Tally(), _Tally(), {}
    for reference in references[:CHATS]:
        length = max(1, len(reference.answer_ids))
        body = {"messages": list(reference.messages), "max_tokens": length, "cache_prompt": False, "seed": 1, **GREEDY, **fields}
        said = client.post("/v1/chat/completions", body | ({"tools": list(reference.tools)} if reference.tools else {}))
        used, choice = said.get("usage") or {}, (said.get("choices") or [{}])[0]
        counted, trained = used.get("prompt_tokens"), len(reference.prompt_ids)
        told = f"prompt {reference.id} has {counted} tokens when it is asked as a chat, {trained} in training"
        prompts.add(counted in (None, trained), told)
        if counted not in (None, trained) or reference.tools:
            continue  # another prompt has another answer; and tool calls are taken apart
        raw = _complete(client, list(reference.prompt_ids), length, **(fields | {"cache_prompt": False}))
        text = (choice.get("message") or {}).get("content") or ""
        short = (used.get("completion_tokens") or length) < length and choice.get("finish_reason") == "length"
        told = f"cut after {used.get('completion_tokens')} of {length} tokens" if short else f"begins {text[:30]!r}"
        same = not short and text.strip() == str(raw.get("content", "")).strip()
        answers.add(same, f"answer {reference.id} asked as a chat is another than by its token ids: {told}")
        alone[reference.id] = (text.strip(), body)
    swapped = _swapped(client, alone)
    answers.add(not swapped, swapped)
    return prompts.done(), answers.done()


def _swapped(client: ChatClient, alone: dict[str, tuple[str, dict[str, Any]]]) -> str:
    """Which chat gets another one's answer when all are asked at once, in one line; empty when none. Answers may differ otherwise
    there: numbers are added in another order. `alone`: answer of each by itself, and its request."""
    together = client.chat_many([body for _, body in alone.values()], concurrency=len(alone))
    for (id, (own, _)), said in zip(alone.items(), together, strict=True):
        text = "" if isinstance(said, UpstreamUnavailable) else said.text.strip()
        other = next((each for each, (answer, _) in alone.items() if answer == text), None)
        if text and text != own and other is not None:
            return f"asked at the same time, {id} got the answer of {other}"
    return ""


def seeded(client: ChatClient, references: Sequence[Reference], **fields: Any) -> Compared:
    """Whether two answers by chance with one seed are equal."""
    if not references:
        return Compared(n=0)
    # So hot that every draw is another: what a model is sure of would come twice by any seed.
    asked = {**fields, **PLAIN_CHANCE, "temperature": 5.0}
    prompt = list(references[0].prompt_ids)
    one, other = (_complete(client, prompt, SEEDED, **asked).get("tokens") for _ in range(2))
    if not one or not other:
        return Compared(n=0, missing="the server does not say the tokens of its answers")
    told = "two answers with one seed differ: the server does not use the seed that it is given"
    return Compared(n=1, differ=int(one != other), first="" if one == other else told)


def chances(client: ChatClient, references: Sequence[Reference], **fields: Any) -> Compared:
    """Whether the server draws from the model's own probabilities when it is asked for that: those after its sampling settings
    are those before them. A penalty, a bias, another temperature or a cut list of its own shows, whatever the answers are."""
    tally = _Tally()
    for reference in references[:CHANCES]:
        asked = {**fields, **PLAIN_CHANCE}
        begun = reference.answer_ids[: len(reference.answer_ids) // 2]  # so that there is something to repeat
        raw = {"prompt": [*reference.prompt_ids, *begun], "n_predict": STEPS, "n_probs": LISTED}
        sides = [client.post("/completion", raw | asked | {"post_sampling_probs": after}) for after in (False, True)]
        _add_chances(
            tally, f"answer {reference.id} by its token ids", *(side.get("completion_probabilities") or [] for side in sides)
        )
        chat = {"messages": list(reference.messages), "max_tokens": STEPS, "logprobs": True, "top_logprobs": LISTED}
        sides = [client.post("/v1/chat/completions", chat | asked | {"post_sampling_probs": after}) for after in (False, True)]
        lists = ((side["choices"][0].get("logprobs") or {}).get("content") or [] for side in sides)
        _add_chances(tally, f"answer {reference.id} asked as a chat", *lists)
    return tally.done()


def _add_chances(tally: _Tally, which: str, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """Compare the chances of one answer's tokens before and after the server's settings, where it says both."""
    if not any(one.get("top_logprobs") and other.get("top_probs") for one, other in zip(before, after, strict=False)):
        tally.missing = f"{which}: {UNSAID}"
        return
    told = _bent(before, after)
    tally.add(not told, f"{which}: {told}")


def _bent(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    """The first token whose chance the server's settings change, in one line; empty when there is none."""
    for one, other in zip(before, after, strict=False):
        own = {entry["id"]: float(entry["logprob"]) for entry in one.get("top_logprobs") or () if entry["logprob"] > -RARE}
        drawn = {entry["id"]: float(entry["prob"]) for entry in other.get("top_probs") or ()}
        for id, logprob in own.items():
            if abs(drawn.get(id, 0.0) - math.exp(logprob)) > BENT * math.exp(logprob):
                return f"token {id} has chance {math.exp(logprob):.4f}, and {drawn.get(id, 0.0):.4f} under the server's settings"
        if one["id"] != other["id"]:
            break  # after another token everything is another
    return ""


def together(*found: Compared) -> Compared:
    """Several comparisons of one layer as one."""
    first = next((part.first for part in found if part.first), "")
    missing = next((part.missing for part in found if part.missing), "")
    return Compared(n=sum(p.n for p in found), differ=sum(p.differ for p in found), first=first, missing=missing)


def _complete(client: ChatClient, prompt: list[int], length: int, **fields: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "n_predict": length, "return_tokens": True, "cache_prompt": True, "seed": 1, **GREEDY, **fields}
    said = client.post("/completion", body)
    return said if isinstance(said, dict) else {}
