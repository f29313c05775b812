"""What is wrong with a row or a set, as checks and imports report it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tunekeeper.core.nouns.data import Example

Kind = Literal[
    "exact_duplicate",
    "near_duplicate",
    "contradiction",
    "empty",
    "too_long",
    "truncated",
    "refusal",
    "answer_equals_prompt",
    "bad_roles",
    "mojibake",
    "template_leak",
    "stale_vocabulary",
    "language",
    "profanity",
    "format",
    "broken",
    "pii",
    "leak",
    "uncovered",
    "synthetic_only",
    "synthetic_share",
    "recency",
    "side_bias",
    "imbalance",
    "superseded",
    "outdated",
]
KINDS: tuple[str, ...] = Kind.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong, where, and beside what."""

    kind: Kind
    """What is wrong."""
    id: str | None = None
    """The row's own id; None for a row that cannot be read and for the set as a whole."""
    file: str | None = None
    """Name of the file it came from."""
    line: int | None = None
    """Line there, from 1."""
    of: str | None = None
    """The other row: the one it repeats, contradicts or leaks."""
    topic: str | None = None
    """The old term, or the topic nobody covers."""
    detail: str = ""
    """One sentence."""


def place_of(source: str) -> tuple[str | None, int | None]:
    """File and line of an example's source `file:tickets.csv:17`; None twice for any other source."""
    if not source.startswith("file:"):
        return None, None
    name, _, line = source.removeprefix("file:").rpartition(":")
    return (name, int(line)) if line.isdecimal() and name else (source.removeprefix("file:"), None)


def finding(kind: Kind, example: Example, detail: str, *, of: str | None = None, topic: str | None = None) -> Finding:
    """A finding about one example."""
    file, line = place_of(example.source)
    return Finding(kind=kind, id=example.id, file=file, line=line, of=of, topic=topic, detail=detail)


def personal(example: Example, redacted: Mapping[str, int]) -> Finding:
    """A finding about a row that held personal data. `redacted`: kind → pieces that placeholders stand for now."""
    return finding("pii", example, "redacted: " + ", ".join(f"{kind} {n}" for kind, n in sorted(redacted.items())))


def row_of(example: Example, *, of_draft: bool = False) -> dict[str, Any]:
    """What is kept of a row that is dropped, so that it can be brought back as it was. `of_draft`: it stood in a draft, and comes
    back to the side where it stood."""
    row: dict[str, Any] = {"messages": example.messages, "metadata": example.metadata, "source": example.source}
    if example.tools:
        row["tools"] = example.tools
    if example.weight != 1.0:
        row["weight"] = example.weight
    return row | ({"split": example.split} if of_draft else {})


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Kind → number of findings, most frequent first."""
    return dict(Counter(f.kind for f in findings).most_common())


def as_row(found: Finding, **more: Any) -> dict[str, Any]:
    """A line of a report: the finding's fields, its kind also as `reason`."""
    row = {"kind": found.kind, "reason": found.kind, "id": found.id, "file": found.file, "line": found.line}
    return row | {"of": found.of, "topic": found.topic, "detail": found.detail} | more
