"""Old terms in rows: written anew, and remembered, so that the text of before is known again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.text.fingerprints import fingerprint, text_of
from tunekeeper.text.vocabulary import Glossary

REWRITTEN = "rewritten"
"""Key of an example's metadata: each time old terms were replaced in it, when, which, and the row's fingerprint before."""
_INSTRUCTIONS = ("system", "developer")


def rewritten_example(example: Example, glossary: Glossary, at: datetime) -> Example:
    """The row with every old term of its talk written anew, which it remembers with the moment `at`; the row itself where it has
    none. Instructions (system messages) stay: they belong to the model file."""
    own = [m for m in example.messages if m.get("role") not in _INSTRUCTIONS]
    terms = dict(pair for m in own for pair in glossary.suggestions(text_of(m.get("content"))))
    if not terms:
        return example
    messages = tuple(
        m if m.get("role") in _INSTRUCTIONS else {**m, "content": renamed(m.get("content"), glossary)} for m in example.messages
    )
    earlier = example.metadata.get(REWRITTEN)
    note = {"at": at.isoformat(), "terms": terms, "was": example.fingerprint}
    metadata = {**example.metadata, REWRITTEN: [*(earlier if isinstance(earlier, list) else ()), note]}
    return replace(example, messages=messages, metadata=metadata, fingerprint=fingerprint(messages, example.tools))


def fingerprints_of(example: Example) -> list[str]:
    """The row's fingerprint and those it had before its terms were written anew: a file with the old text brings nothing new."""
    notes = example.metadata.get(REWRITTEN)
    was = [note.get("was") for note in notes if isinstance(note, Mapping)] if isinstance(notes, list) else []
    return [example.fingerprint, *(each for each in was if isinstance(each, str))]


def renamed(content: Any, glossary: Glossary) -> Any:
    """A message's content with every old term written anew, in a text or in the text parts of a list."""
    if isinstance(content, str):
        return glossary.rewrite(content)
    if isinstance(content, list):
        return [
            {**p, "text": glossary.rewrite(p["text"])} if isinstance(p, dict) and isinstance(p.get("text"), str) else p
            for p in content
        ]
    return content
