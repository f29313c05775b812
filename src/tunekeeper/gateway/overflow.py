"""Whether a model server's error says that a request does not fit into its context (MON-07), or holds what this server, or its
model's chat template, cannot take. Pure, and only asked of errors.

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
_UNFIT = re.compile(
    r"^the chat template refuses this: "
    r"|\b(?:image|audio|video) input is not supported"  # llama.cpp, with 500
    r"|\bis not a multimodal model|\bAt most 0 (?:image|audio|video)"  # vLLM
    r"|\bmissing data required for image input"  # Ollama, with 500
    r"|\bdoes not support (?:embeddings|tools|images?|vision|audio|video)\b"  # llama.cpp with 501, Ollama
    r"|\btools? (?:param|choice) requires --"  # llama.cpp with 500, vLLM
    r"|\bFailed to parse (?:messages|tools)\b"  # llama.cpp, with 500
    r"|\bError rendering prompt with jinja template"  # LM Studio
    r"|^.*\b(?:roles must alternate\b|system role (?:is )?not supported|roles are supported\b)",  # templates, in their own words
    re.IGNORECASE,
)
_TEMPLATE = "the chat template refuses this: "
_RAISED = re.compile(r"\bJinja Exception: (.*)", re.DOTALL)
"""What a chat template refuses, behind the place in it, as llama.cpp tells it."""
_RAISED_BEFORE = re.compile(r"(.+?) at row \d+, column \d+:\n.{0,400}?raise_exception\(", re.DOTALL)
"""The same by older ones, which tell the place behind it."""
_MISSING = frozenset((404, 405))


def overflows(body: bytes, message: str | None) -> bool:
    """Whether an error `body` is about the context. `message`: its text, where there is one."""
    if message is not None and _WORDS.search(message) is not None:
        return True
    return not _KNOWN.isdisjoint(_named(body))


def plainly(message: str) -> str:
    """An error's message without the place in a chat template that llama.cpp tells around what the template says."""
    found = _RAISED.search(message) or _RAISED_BEFORE.match(message)
    said = found[1].strip() if found is not None else ""
    return f"{_TEMPLATE}{said}" if said else message


def unsupported(status: int, endpoint: str, message: str | None) -> bool:
    """Whether an error says that the request holds what this server, or the template of its model, does not take, or asks for an
    endpoint that it does not have. Many call it a fault of their own; another one may take it."""
    if status == 501 or (message is not None and _UNFIT.search(message) is not None):
        return True
    # Where it only lacks the model, as by a wrong name of ours, it says so.
    return status in _MISSING and endpoint != "chat.completions" and "model" not in (message or "").lower()


def _named(body: bytes) -> list[str]:
    """`code` and `type` of the error's envelope, or of the body itself."""
    try:
        told: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    told = told[0] if isinstance(told, list) and told else told
    told = told.get("error", told) if isinstance(told, dict) else None
    return [told[name] for name in ("code", "type") if isinstance(told.get(name), str)] if isinstance(told, dict) else []
