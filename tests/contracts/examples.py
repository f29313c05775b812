"""What each built-in implementation is tried with, and the look that none is left out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.registry import Registry

EXPECTED = {"category": "billing", "priority": "high"}
RIGHT = '{"category": "billing", "priority": "high"}'
WRONG = '{"category": "refund", "priority": "high"}'
CASE = Case(id="c1", messages=({"role": "user", "content": "I was charged twice."},), expected=EXPECTED, tags=("core",))
FORMAT = {"kind": "json", "fields": {"category": ["billing"], "priority": ["high"]}}

SCORERS: dict[str, list[tuple[dict[str, Any], str, str]]] = {
    "exact": [({}, RIGHT, WRONG), ({"ignore_case": True}, RIGHT, "")],
    "json_fields": [({}, RIGHT, WRONG), ({"fields": ["category"]}, RIGHT, WRONG)],
    "format": [({"spec": FORMAT}, RIGHT, WRONG), ({}, "words", " "), ({"spec": {"kind": "regex", "pattern": "a+"}}, "aa", "b")],
    "contains": [({"all_of": ["bill"], "none_of": ["refund"]}, RIGHT, WRONG)],
    "regex": [({"pattern": '"billing"'}, RIGHT, WRONG)],
    "refusal": [({}, "You were charged once.", "I'm sorry, I can't help with that.")],
    "word_limit": [({"at_most": 3, "at_least": 1}, "three little words", "these are four words")],
}
"""Name → options, a right answer to `CASE` and a wrong one."""
ENGINES: dict[str, dict[str, str]] = {
    "llamacpp": {"model": "m.gguf"},
    "fake": {"model": "rule.json"},
    "openai": {},
    "ollama": {},
    "vllm": {},
}
"""Name → files of a slot that it serves."""


def uncovered(registry: Registry, tried: Collection[str]) -> list[str]:
    """What is wrong: built-in names that no example tries, and examples of names that are not there."""
    missing = [f"{name} is registered and not tried" for name in registry.names() if name not in tried]
    return missing + [f"{name} is tried and not registered" for name in tried if name not in registry.names()]
