"""Conversations → token ids with the mask of what is learned: the assistant's answers and their ends, nothing else. Pure.

Prompt and answer are tokenized apart, so that the learned prompt has exactly the ids that a server makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.training.rows import Row

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
    for text, learn in segments(codec, row):
        piece = codec.tokenize(text)
        ids += piece
        learned += [learn] * len(piece)
    return Encoded(ids=tuple(ids), learned=tuple(learned))


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
        answer = _until_end(whole[len(prompt) :], codec.ends)
        if found and not prompt.startswith("".join(text for text, _ in found)):
            raise DataError(f"row {row.id}: the chat template changes an answer once it is history; keep one answer a row")
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


def _until_end(answer: str, ends: tuple[str, ...]) -> str:
    """The answer with its last end marker, without what the template puts behind it (a line feed in ChatML)."""
    cuts = [answer.rfind(end) + len(end) for end in ends if end and end in answer]
    return answer[: max(cuts)] if cuts else answer
