"""What is wrong with an answer that a reviewer wrote, said before it is saved."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache
from itertools import islice

from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import versions
from tunekeeper.data.config import Config
from tunekeeper.data.conversations import Conversation
from tunekeeper.data.examples import make_example, parsed
from tunekeeper.data.quality import examine
from tunekeeper.data.redacting import redactor_of
from tunekeeper.scoring import formats
from tunekeeper.text.answers import called_in
from tunekeeper.text.fingerprints import answer_of
from tunekeeper.workspace import Workspace

MOST_ROWS = 5000
"""Rows of the newest version that known values are taken from."""
MOST_VALUES = 40
"""Different values above which a field of the answers is no choice among a few."""
LEAST_ROWS = 50
"""Rows below which nothing is said about values."""


def complaints(ws: Workspace, task: Model, answer: str, *, section: Config | None = None) -> tuple[str, ...]:
    """What speaks against an answer, in words, most serious first: the model's format, what an import would drop it for, personal
    data that will be replaced, and values that no example of the newest version has. Empty when nothing does."""
    section = section or Config()
    if not answer.strip():
        return ("the answer is empty",)
    reason = breach(task, answer)
    found = [f"not in the format of {task.name}: {reason}"] if reason else []
    talk = Conversation(messages=({"role": "user", "content": "…"}, {"role": "assistant", "content": answer}), metadata={})
    found += [each.detail for each in examine(make_example(talk, source="review"), section)]
    kinds = redactor_of(section).redact(answer)[1]
    found += [f"personal data will be replaced: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}"] if kinds else []
    return (*found, *(() if reason else _unknown_values(ws, task, answer)))


def breach(task: Model, answer: str) -> str:
    """How an answer breaks the model's format; empty where it does not, as nothing but calls of tools cannot."""
    text, calls = called_in(answer)
    return "" if calls and not text.strip() else formats.check(text, task.format)[1]


def _unknown_values(ws: Workspace, task: Model, answer: str) -> list[str]:
    value, newest = parsed(answer), versions.latest(ws, task.name)
    if not isinstance(value, dict) or newest is None:
        return []
    known = _known_values(ws, newest.id)
    return [
        f"{name} {text!r} stands in no example of {newest.id}"
        for name, text in value.items()
        if isinstance(text, str) and name in known and text not in known[name]
    ]


@lru_cache(maxsize=4)
def _known_values(ws: Workspace, version: str) -> dict[str, frozenset[str]]:
    """Field → its values, of the fields in which examples of a version choose among a few."""
    found: DatasetVersion = versions.resolve(ws, version)
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for example in islice(versions.read_examples(ws, found), MOST_ROWS):
        answer = parsed(answer_of(example.messages))
        for name, value in answer.items() if isinstance(answer, dict) else ():
            if isinstance(value, str):
                values[name][value] += 1
    few = {name: seen for name, seen in values.items() if len(seen) <= MOST_VALUES and seen.total() >= LEAST_ROWS}
    return {name: frozenset(seen) for name, seen in few.items()}
