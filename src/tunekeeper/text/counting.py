"""Tokens of a request and of its answer, counted with the model's own tokenizer and chat template, or not at all. Pure.

What cannot be counted as the model server does (images, an answer whose place the template hides) is None, never an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.text.prompts import prompted
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import TokenizerFiles

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def prompt_tokens(
    files: TokenizerFiles,
    endpoint: str,
    request: Any,
    *,
    own: Sequence[Mapping[str, Any]] = (),
    now: datetime = _EPOCH,
) -> int | None:
    """Tokens of what was asked: `endpoint` as Inference has it, `request` the body. `own`: the slot's prompt, its system message
    first where it has one; `now`: when it was asked, for templates that write the date. None where it cannot be counted."""
    if not isinstance(request, Mapping):
        return None
    if endpoint == "chat.completions":
        text = _chat(files, prompted(_list(request.get("messages")), own, _role), request.get("tools"), now)
        return None if text is None else len(files.encode(text))
    return _plain(files, request.get("prompt" if endpoint == "completions" else "input"))


def completion_tokens(files: TokenizerFiles, response: Any) -> int | None:
    """Tokens of every answer in a response body, each with the end token where the server said that it stopped by itself. None
    where there is no text, or an answer is more than text (calls of tools, hidden reasoning) and its tokens stand nowhere."""
    choices = response.get("choices") if isinstance(response, Mapping) else None
    if not isinstance(choices, list) or not choices:
        return None
    counts = [_answer(files, choice) for choice in choices]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _answer(files: TokenizerFiles, choice: Any) -> int | None:
    if not isinstance(choice, Mapping):
        return None
    message = choice.get("message")
    if isinstance(message, Mapping) and any(message.get(key) for key in ("tool_calls", "function_call", "reasoning_content")):
        return None
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    if not isinstance(text, str):
        return None
    return len(files.encode(text)) + (choice.get("finish_reason") == "stop")


def _chat(files: TokenizerFiles, messages: list[Any], tools: Any, now: datetime) -> str | None:
    template = files.template_with(_list(tools))
    if template is None or not all(isinstance(message, Mapping) for message in messages):
        return None
    plain = [_as_text(message) for message in messages]
    if any(message is None for message in plain):
        return None
    try:
        return render(
            template,
            files.prepared([message for message in plain if message is not None]),
            add_generation_prompt=True,
            tools=_list(tools) or None,
            special=files.special(),
            now=lambda: now,
        )
    except ArtifactError:
        return None


def _role(message: Any) -> object:
    return message.get("role") if isinstance(message, Mapping) else None


def _as_text(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """The message with its text parts joined; None when a part is no text (an image is no token of the vocabulary)."""
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in content]
    known = [text for text in texts if isinstance(text, str)]
    return {**message, "content": "\n".join(known)} if len(known) == len(texts) else None


def _plain(files: TokenizerFiles, asked: Any) -> int | None:
    """A prompt or input: a text, token ids, or a list of either."""
    if isinstance(asked, str):
        return len(files.encode(asked, add_special=True))
    if not isinstance(asked, list) or not asked:
        return None
    if all(isinstance(token, int) for token in asked):
        return len(asked)
    counts = [_plain(files, each) for each in asked]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
