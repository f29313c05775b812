"""Whether a model server's error says that a request does not fit into its context (MON-07), or holds what it cannot take. Pure,
and only asked of errors.

Every server has words of its own, and some a code: OpenAI and Azure `context_length_exceeded`, llama.cpp
`exceed_context_size_error`. What it is called here is OpenAI's code, which clients know already.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

OVERFLOW = "context_length_exceeded"
UNSUPPORTED = "input_unsupported"
BLAMELESS = frozenset((OVERFLOW, UNSUPPORTED))
"""Errors that say nothing of the server's health."""
_KNOWN = frozenset((OVERFLOW, "exceed_context_size_error", "context_window_exceeded", "model_context_window_exceeded"))
_WORDS = re.compile(
    r"maximum context length"  # OpenAI, vLLM, SGLang, Mistral
    r"|exceed\w*\b[^.]{0,60}\bcontext (?:length|size|window)"  # llama.cpp, Ollama, llama-cpp-python
    r"|\bcontext (?:length|size|window)\b[^.]{0,60}\bexceed"  # llama.cpp while it answers
    r"|longer than the (?:maximum model length|model's context)"  # vLLM
    r"|too long to fit into the model"  # vLLM with images
    r"|model's context (?:length|window) is only"  # vLLM
    r"|(?:prompt|input|messages?)\b[^.]{0,40}\btoo (?:long|large)\b"  # Ollama, Anthropic, llama.cpp's embeddings
    r"|input token(?: count|s)\b[^.]{0,60}\bexceed"  # Gemini, OpenAI's newer models
    r"|`inputs` (?:tokens \+ `max_new_tokens` must be|must have less than)",  # TGI
    re.IGNORECASE,
)
_MEDIA = re.compile(r"\b(?:image|audio|video) input is not supported", re.IGNORECASE)  # llama.cpp


def overflows(body: bytes, message: str | None) -> bool:
    """Whether an error `body` is about the context. `message`: its text, where there is one."""
    if message is not None and _WORDS.search(message) is not None:
        return True
    return not _KNOWN.isdisjoint(_named(body))


def unsupported(message: str | None) -> bool:
    """Whether an error's `message` says that this server takes no pictures, sound or video. llama.cpp calls it a fault of its
    own; another one may take them."""
    return message is not None and _MEDIA.search(message) is not None


def _named(body: bytes) -> list[str]:
    """`code` and `type` of the error's envelope, or of the body itself."""
    try:
        told: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    told = told[0] if isinstance(told, list) and told else told
    told = told.get("error", told) if isinstance(told, dict) else None
    return [told[name] for name in ("code", "type") if isinstance(told.get(name), str)] if isinstance(told, dict) else []
