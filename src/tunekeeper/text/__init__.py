"""What every stage needs of text: chat templates, tokenizers, redaction, fingerprints, vocabulary.

In: messages, texts, a tokenizer's files. Out: rendered text, token ids, redacted text, fingerprints, words. Owns: nothing.
Never: reads a ledger, runs code of a checkpoint, or sends text anywhere.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["fingerprints", "redaction", "rendering", "tokenizers", "vocabulary"]


def __getattr__(name: str) -> ModuleType:
    # On first use: the gateway needs fingerprints and redaction only, and must start without the rest.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(name)
