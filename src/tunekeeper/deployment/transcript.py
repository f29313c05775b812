"""The reference transcript that a training child leaves: what the trained model rendered, tokenized and answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError

MAX_LINES = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One prompt and its training-time answer."""

    id: str
    """Name of the prompt."""
    messages: tuple[dict[str, Any], ...]
    """The conversation before the answer."""
    rendered: str
    """Text of the conversation by the training template, ready for the answer."""
    prompt_ids: tuple[int, ...]
    """Its token ids."""
    answer: str
    """The greedy answer without its end token."""
    answer_ids: tuple[int, ...]
    """Token ids of the answer, with the end token where it came."""
    logprobs: tuple[float, ...]
    """Natural log-probability of each of them."""
    stopped: bool
    """Whether the answer ended by itself."""
    tools: tuple[dict[str, Any], ...] = ()
    """Tool definitions of the conversation."""


def read_transcript(path: Path, limit: int | None = None) -> list[Reference]:
    """The first `limit` prompts of a transcript. Raises ArtifactError naming the line that is broken."""
    found: list[Reference] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if (limit is not None and len(found) >= limit) or number > MAX_LINES:
                    break
                if line.strip():
                    found.append(_reference(line, f"{path}:{number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error})") from error
    return found


def _reference(line: str, where: str) -> Reference:
    try:
        value = json.loads(line)
        reference = Reference(
            id=str(value["id"]),
            messages=tuple(value["messages"]),
            rendered=str(value["rendered"]),
            prompt_ids=tuple(int(id) for id in value["prompt_ids"]),
            answer=str(value["answer"]),
            answer_ids=tuple(int(id) for id in value["answer_ids"]),
            logprobs=tuple(float(x) for x in value["logprobs"]),
            stopped=value["finish_reason"] == "stop",
            tools=tuple(value.get("tools") or ()),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{where}: not a line of a reference transcript ({type(error).__name__} {error})") from error
    if len(reference.answer_ids) != len(reference.logprobs):
        raise ArtifactError(f"{where}: {len(reference.answer_ids)} answer tokens and {len(reference.logprobs)} log-probabilities")
    return reference
