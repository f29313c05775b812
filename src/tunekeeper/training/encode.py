"""Conversations → token ids with the mask of what is learned: the assistant's answers and their ends, nothing else. Pure.

The prompt has exactly the ids that a server makes of it, and an answer those that go on from there: what a tokenizer puts before
a text (SentencePiece's space) is not put before an answer in the middle of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.training.rows import Row, learned_places, one_each, sides, weight_of

Messages = list[dict[str, Any]]
MANY = 16
"""Learned answers of a conversation up to which each is rendered behind all that stands before it."""
PROBE = "\ue000"
"""An answer that begins as no other does, of Unicode's private area."""
TAG = re.compile(r"<[^<>]+>")
"""What opens or closes a thought."""
OTHER_TEMPLATE = "put a chat_template.jinja beside tokenizer.json whose prompt for an answer is how its answers begin"
SAMPLES = 4
"""How many answers of a longer one are, to see whether that makes a difference; the last one besides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """How a checkpoint turns messages into text and text into ids."""

    render: Callable[[Messages, list[dict[str, Any]], bool], str]
    """(messages, tools, add_generation_prompt) → text."""
    tokenize: Callable[[str], list[int]]
    """Text → ids, no special tokens added, those written in the text recognised."""
    ends: tuple[str, ...]
    """Texts that end an answer, e.g. `<|im_end|>`; what the template adds after one is not learned."""
    special: tuple[str, ...] = ()
    """Every special token's text; white space behind one that ends an answer is the template's."""
    prepared: Callable[[Messages], Messages] = list
    """Messages as the template is given them, see `text.toolcalls`."""
    size: int | None = None
    """Ids that the base has numbers for, from 0 on; None where that is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """One conversation as ids."""

    ids: tuple[int, ...]
    """Token ids."""
    learned: tuple[bool, ...]
    """Same length: whether the loss counts this token. Never the first one, which nothing stands before."""
    weights: tuple[float, ...] = ()
    """Same length: how much it counts there, 0 to 1; empty where every learned token counts as much as any other."""

    @property
    def mass(self) -> float:
        """How much of a batch's mean the conversation is: its learned tokens, each by its weight."""
        if self.weights:
            return sum(weight for weight, learn in zip(self.weights[1:], self.learned[1:], strict=True) if learn)
        return sum(self.learned[1:])


def encode(codec: Codec, row: Row) -> Encoded:
    """The row's ids, mask and weights. Raises DataError naming the row that the template refuses or rewrites the turns of."""
    ids: list[int] = []
    weights: list[float] = []
    text, begin = "", 0  # what is tokenized again with the next piece, and its place among the ids
    for number, (piece, weight) in enumerate(segments(codec, row)):
        if number > 1:
            text, begin = _from_last_special(codec, text, ids, begin)
        text += piece
        known, whole = ids[begin:], codec.tokenize(text)
        # Where a token would reach from one piece into the next, a server that is asked with the first has none such.
        more = whole[len(known) :] if whole[: len(known)] == known else codec.tokenize(piece)
        ids += more
        weights += [weight] * len(more)
    weights[:1] = [0.0]  # nothing stands before the first token that could say it
    learned = tuple(weight > 0 for weight in weights)
    if not any(learned):
        raise DataError(f"row {row.id}: its answers hold no token that anything stands before; nothing is learned")
    if codec.size is not None and max(ids) >= codec.size:
        raise DataError(
            f"row {row.id}: it has token {max(ids)} of the tokenizer, and the base has numbers for {codec.size} tokens",
            fix="put the tokenizer.json beside the weights that belongs to them, or leave the row out",
        )
    one_weight = all(weight in (0.0, 1.0) for weight in weights)
    return Encoded(ids=tuple(ids), learned=learned, weights=() if one_weight else tuple(weights))


def _from_last_special(codec: Codec, text: str, ids: list[int], begin: int) -> tuple[str, int]:
    """The end of the text from its last special token on, with that token's place among the ids: a tokenizer cuts what follows
    one the same way whatever stands before it. The text as it is where that is not so."""
    last = max(((text.rfind(token), token) for token in codec.special if token), default=(-1, ""))
    if last[0] <= 0:
        return text, begin
    tail = text[last[0] :]
    found = codec.tokenize(tail)
    return (tail, len(ids) - len(found)) if ids[len(ids) - len(found) :] == found else (text, begin)


def conversations(codec: Codec, row: Row, objective: str) -> list[tuple[Encoded, ...]]:
    """What the loop learns of a row: one conversation, or for a preference that with the chosen and that with the rejected
    answer. Raises DataError as `encode`.

    Where a template changes an answer once it is history (leaving out what was thought), each answer becomes a conversation of
    its own, as a server is asked for it.
    """
    if objective == "dpo":
        return [tuple(encode(codec, side) for side in sides(row))]
    try:
        return [(encode(codec, row),)]
    except _Rewritten:
        return [(encode(codec, each),) for each in one_each(row)]


class _Rewritten(DataError):
    """The template changes an answer once it is history."""


def segments(codec: Codec, row: Row) -> list[tuple[str, float]]:
    """The rendered conversation in pieces: (text, weight in the loss; 0 where it is not learned). Joined, they are the text up to
    the last answer's end."""
    places = learned_places(row)
    if not places:
        raise DataError(
            f"row {row.id}: every answer has weight 0, nothing is learned",
            fix="leave the row out, or give one of its answers a weight above 0",
        )
    found = _by_windows(codec, row, places) if len(places) > MANY else None
    return found or _one_by_one(codec, row, places)


def _one_by_one(codec: Codec, row: Row, places: list[int]) -> list[tuple[str, float]]:
    """The pieces, each answer behind all that stands before it: with many answers that takes the square of their number."""
    found: list[tuple[str, float]] = []
    before = ""
    for place in places:
        prompt, answer = _asked_and_said(codec, row, row.messages[: place + 1])
        if len(prompt) < len(before):
            raise _rewrites(row)
        if not prompt.startswith(before):
            raise _Rewritten(f"row {row.id}: the chat template changes an answer once it is history; keep one answer a row")
        found += [(prompt[len(before) :], 0.0), (answer, weight_of(row.messages[place]))]
        before = prompt + answer
    return found


def _by_windows(codec: Codec, row: Row, places: list[int]) -> list[tuple[str, float]] | None:
    """The pieces, each pair of answers rendered with the turns between them alone; None where they do not make the text that the
    whole conversation makes, or not with the same answers: this template looks further back."""
    found: list[tuple[str, float]] = []
    head = next(i for i, message in enumerate(row.messages) if message["role"] not in ("system", "developer"))
    joined = ""
    try:
        for earlier, place in zip((None, *places), places, strict=False):
            start = head if earlier is None else _turn_of(row, earlier, head)
            prompt, answer = _asked_and_said(codec, row, (*row.messages[:head], *row.messages[start : place + 1]))
            before = ""
            if earlier is not None:
                before = "".join(_asked_and_said(codec, row, (*row.messages[:head], *row.messages[start : earlier + 1])))
            if not prompt.startswith(before):
                return None
            found += [(prompt[len(before) :], 0.0), (answer, weight_of(row.messages[place]))]
            joined += prompt[len(before) :] + answer
        for place in (*places[:: max(1, len(places) // SAMPLES)], places[-1]):
            prompt, answer = _asked_and_said(codec, row, row.messages[: place + 1])
            said = "".join(text for text, _ in found[: 2 * places.index(place) + 1])
            if prompt != said or answer != found[2 * places.index(place) + 1][0]:
                return None
    except DataError:
        return None  # refused in pieces; the whole conversation says why, if it is refused as well
    return found


def _turn_of(row: Row, place: int, head: int) -> int:
    """Where the turn with the answer at `place` begins: at the user's message before it."""
    return next((i for i in range(place, head, -1) if row.messages[i]["role"] == "user"), head)


def _asked_and_said(codec: Codec, row: Row, messages: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The prompt for the last of the messages, and that one as the answer to it."""
    tools = list(row.tools)
    prompt = rendered_by(codec, row, list(messages[:-1]), tools, prompt=True)
    whole = rendered_by(codec, row, list(messages), tools, prompt=False)
    begin = len(prompt) if whole.startswith(prompt) else _answer_of(codec, row, messages, prompt, whole)
    answer = _until_end(whole[begin:], messages[-1].get("content"), codec)
    _refuse_lost_calls(row, messages[-1], answer)
    return prompt, answer


def _answer_of(codec: Codec, row: Row, messages: Sequence[dict[str, Any]], prompt: str, whole: str) -> int:
    """Where the answer begins in a rendered conversation that does not begin with the prompt for it; it is learned behind that
    prompt, as a server asks for it. Raises DataError where that is not sure.

    Mistral's templates write the system's words, and the tools, before the user's last turn, and nowhere once it is answered;
    Gemma 4's asks with an empty thought that no answer has.
    """
    other = [*messages[:-1], {"role": "assistant", "content": PROBE}]
    before = whole[: _alike(whole, rendered_by(codec, row, other, list(row.tools), prompt=False))]
    last = max(((prompt.rfind(token), token) for token in codec.special if token), default=(-1, ""))[1]
    alike = prompt[len(prompt) - _alike(before[::-1], prompt[::-1]) :]
    asked = messages[-2].get("content") if len(messages) > 1 and messages[-2]["role"] == "user" else ""
    if last and last in alike and (asked or "").strip() in alike:
        return len(before)
    more = prompt.removeprefix(before) if prompt.startswith(before) else ""
    if not more:
        raise _rewrites(row, prompt, before, last if (asked or "").strip() else "")
    if (tags := TAG.findall(more)) and len(tags) % 2 == 0:
        return len(before)
    raise DataError(
        f"row {row.id}: the chat template asks for an answer with {more[:80]!r}, and writes none that begins so",
        fix=OTHER_TEMPLATE,
    )


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _rewrites(row: Row, prompt: str = "", before: str = "", last: str = "") -> DataError:
    """What to say where an answer's place is not known. `prompt`, `before`: what asks for it, and what stands before it where it
    is history; `last`: the last special token of the prompt, where there is one and something was asked."""
    asked, told = (text[text.rfind(last) :] for text in (prompt, before))
    if last and prompt[: prompt.rfind(last)] == before[: before.rfind(last)]:
        return DataError(
            f"row {row.id}: the chat template asks for an answer with {asked[:80]!r}, and writes this one behind {told[:80]!r}",
            fix=OTHER_TEMPLATE,
        )
    return DataError(f"row {row.id}: the chat template rewrites earlier turns; the answer's place is not known")


def rendered_by(codec: Codec, row: Row, messages: Messages, tools: list[dict[str, Any]], *, prompt: bool) -> str:
    """The text of messages of the row. Raises DataError naming the row that the template refuses."""
    try:
        return codec.render(messages, tools, prompt)
    except Exception as error:  # noqa: BLE001 - a template is a program from outside and raises what it likes
        why = " ".join(str(error).split())[:200]
        raise DataError(
            f"row {row.id}: the base's chat template refuses it: {why}",
            fix="bring the row into the form that the template takes, or leave it out",
        ) from None


def _refuse_lost_calls(row: Row, message: dict[str, Any], answer: str) -> None:
    """Refuse an answer whose tool calls the template leaves out: the model would learn to say nothing in their place."""
    for call in message.get("tool_calls") or ():
        called = (call.get("function") or call) if isinstance(call, dict) else {}
        name = called.get("name") if isinstance(called, dict) else None
        if isinstance(name, str) and name not in answer:
            raise DataError(
                f"row {row.id}: the base's chat template leaves out the call of {name}: it knows no tool calls",
                fix="take a base whose template knows tools, or leave the row out",
            )


def _until_end(answer: str, said: object, codec: Codec) -> str:
    """The answer with the end marker behind what was said, without what the template puts after it: a line feed in ChatML, in
    Phi's a second end."""
    told = said.strip() if isinstance(said, str) else ""
    begin = answer.rfind(told) + len(told) if told and told in answer else 0
    cuts = [place + len(end) for end in codec.ends if end and (place := answer.find(end, begin)) >= 0]
    if cuts:
        return answer[: min(cuts)]
    bare = answer.rstrip()
    return bare if any(token and bare.endswith(token) for token in codec.special) else answer
