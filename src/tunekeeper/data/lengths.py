"""How long a conversation is for a base, and how much of it fits: counted as the base will read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, MissingExtra
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.quality import CountTokens
from tunekeeper.text.fingerprints import text_of
from tunekeeper.text.rebuilt import load_rebuilt
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import TokenizerFiles, read_tokenizer

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")
"""What models call the tokens that they read at most: GPT-2 and its like have names of their own."""
_OTHERS = ("tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""What a checkpoint has of a tokenizer that is not written as tokenizer.json."""
_PER_MESSAGE = 4
"""Tokens around a message where no template says how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a base can read."""

    context: int | None
    """Tokens that fit into it, as its config.json says; None where it does not say."""
    count: CountTokens | None
    """Tokens of a conversation with its own tokenizer and chat template; None where it has no tokenizer here."""
    assumed: str = ""
    """Why the count may differ from what the model is trained with; empty where it is the same."""


def limits_of(folder: Path) -> Limits:
    """What the checkpoint in `folder` can read. Raises ArtifactError for a tokenizer.json or a config.json that is broken."""
    context, alone = _context(folder / "config.json"), (folder / "tokenizer.json").is_file()
    if not alone and not any((folder / name).is_file() for name in _OTHERS):
        return Limits(context=context, count=None)
    files = read_tokenizer(folder) if alone else None
    try:
        return Limits(context=context, count=counter(load_rebuilt(folder)))
    except (ArtifactError, MissingExtra) as error:
        why = f"{error}, which may make another tokenizer of its files" if isinstance(error, MissingExtra) else f"{error}"
    if files is None:
        return Limits(context=context, count=None, assumed=f"estimated at 4 characters a token: {why}")
    return Limits(context=context, count=counter(files), assumed=f"counted by tokenizer.json alone: {why}")


def counter(files: TokenizerFiles) -> CountTokens:
    """Counts the tokens of a conversation as the chat template renders it; without a template, of its texts and 4 around each."""

    def count(example: Example) -> int:
        whole = _rendered(files, example)
        if whole is not None:
            return len(files.encode(whole))
        texts = [text_of(message.get("content")) for message in example.messages]
        return sum(len(files.encode(text)) + _PER_MESSAGE for text in texts)

    return count


def _rendered(files: TokenizerFiles, example: Example) -> str | None:
    template = files.template_with(example.tools)
    if template is None:
        return None
    messages = [
        {**m, "content": text_of(m["content"])} if isinstance(m.get("content"), list) else dict(m) for m in example.messages
    ]
    tools: list[dict[str, Any]] | None = list(example.tools) or None
    try:
        said = files.prepared(messages)
        return render(template, said, add_generation_prompt=False, tools=tools, special=files.special(), now=lambda: _EPOCH)
    except ArtifactError:
        return None  # a template that refuses this order of roles


def _context(path: Path) -> int | None:
    """How long a text a config.json says that a model reads, also where that stands in the text part of one of several senses."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not JSON ({error})") from None
    for place in (value, value.get("text_config") if isinstance(value, dict) else None):
        told = [place.get(name) for name in _CONTEXT] if isinstance(place, dict) else []
        for found in told:
            if isinstance(found, int) and not isinstance(found, bool) and found > 0:
                return found
    return None
