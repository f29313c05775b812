"""Conversations → token ids with the mask of what is learned: the assistant's answers and their ends, nothing else. Pure.

The prompt has exactly the ids that a server makes of it, and an answer those that go on from there: what a tokenizer puts before
a text (SentencePiece's space) is not put before an answer in the middle of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.training.rows import Row, one_each, sides

Messages = list[dict[str, Any]]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """One conversation as ids."""

    ids: tuple[int, ...]
    """Token ids."""
    learned: tuple[bool, ...]
    """Same length: whether the loss counts this token."""


def encode(codec: Codec, row: Row) -> Encoded:
    """The row's ids and mask. Raises DataError when the template refuses the row or rewrites earlier turns, naming it."""
    ids: list[int] = []
    learned: list[bool] = []
    text = ""
    for piece, learn in segments(codec, row):
        text += piece
        whole = codec.tokenize(text)
        # Where a token would reach from one piece into the next, a server that is asked with the first has none such.
        more = whole[len(ids) :] if whole[: len(ids)] == ids else codec.tokenize(piece)
        ids += more
        learned += [learn] * len(more)
    return Encoded(ids=tuple(ids), learned=tuple(learned))


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


def segments(codec: Codec, row: Row) -> list[tuple[str, bool]]:
    """The rendered conversation in pieces: (text, learned). Joined, they are the text up to the last answer's end."""
    messages, tools = list(row.messages), list(row.tools)
    found: list[tuple[str, bool]] = []
    position = 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight") == 0:
            continue
        prompt = _rendered(codec, row, messages[:index], tools, prompt=True)
        whole = _rendered(codec, row, messages[: index + 1], tools, prompt=False)
        if not whole.startswith(prompt) or len(prompt) < position:
            raise DataError(f"row {row.id}: the chat template rewrites earlier turns; the answer's place is not known")
        answer = _until_end(whole[len(prompt) :], message.get("content"), codec)
        _refuse_lost_calls(row, message, answer)
        if found and not prompt.startswith("".join(text for text, _ in found)):
            raise _Rewritten(f"row {row.id}: the chat template changes an answer once it is history; keep one answer a row")
        found += [(prompt[position:], False), (answer, True)]
        position = len(prompt) + len(answer)
    if not found:
        raise DataError(f"row {row.id}: every answer has weight 0, nothing is learned")
    return found


def _rendered(codec: Codec, row: Row, messages: Messages, tools: list[dict[str, Any]], *, prompt: bool) -> str:
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
