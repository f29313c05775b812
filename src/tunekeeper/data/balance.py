"""Checks on the set as a whole: where rows come from, how old they are, which words are stale, how topics are spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.examples import created_of, topic_of
from tunekeeper.data.findings import Finding, finding
from tunekeeper.text.fingerprints import answer_of, prompt_of
from tunekeeper.text.vocabulary import Glossary

_SYNTHETIC = ("synthetic", "generated", "augmented")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mix:
    """Where the rows of a set come from in time, and from whom."""

    examples: int
    """Rows."""
    dated: int
    """Rows with a date."""
    recent: int
    """Dated rows from the recent days before the newest."""
    recent_days: float
    """How many days those are."""
    synthetic: int
    """Rows that a machine made up."""


def is_synthetic(example: Example) -> bool:
    """Whether the row's metadata says that a machine made it up."""
    flag = example.metadata.get("synthetic")
    if isinstance(flag, str):
        flag = flag.casefold() in ("true", "yes", "1")
    return bool(flag) or str(example.metadata.get("source", example.metadata.get("origin", ""))).casefold() in _SYNTHETIC


def synthetic_only(examples: Sequence[Example]) -> list[Finding]:
    """One finding when every row is made up (DATA-10)."""
    if not examples or not all(map(is_synthetic, examples)):
        return []
    return [Finding(kind="synthetic_only", detail=f"all {len(examples)} rows are synthetic; none shows real traffic")]


def synthetic_share(examples: Sequence[Example], section: Config) -> list[Finding]:
    """One finding when more than the allowed part of the rows is made up, but not all of them."""
    made_up = sum(map(is_synthetic, examples))
    if made_up == len(examples) or made_up <= section.synthetic_share * len(examples):
        return []
    share = f"{made_up} of {len(examples)} rows ({made_up / len(examples):.0%}) are synthetic"
    return [Finding(kind="synthetic_share", detail=f"{share}; {section.synthetic_share:.0%} are allowed")]


def refuse_synthetic_only(model: str, examples: Sequence[Example]) -> None:
    """Raise DataError when every row is made up: a model that learns from no real row is not what its users need."""
    for found in synthetic_only(examples):
        raise DataError(f"{model}: {found.detail}", fix="import real rows, or freeze them all the same with --force")


def mix(examples: Sequence[Example], section: Config) -> Mix:
    """How old the rows are and how many a machine made up."""
    dates = [date for date in (created_of(e.metadata) for e in examples) if date is not None]
    start = max(dates) - timedelta(days=section.recent_days) if dates else None
    return Mix(
        examples=len(examples),
        dated=len(dates),
        recent=sum(date > start for date in dates) if start is not None else 0,
        recent_days=section.recent_days,
        synthetic=sum(map(is_synthetic, examples)),
    )


def recency(examples: Sequence[Example], section: Config) -> list[Finding]:
    """One finding when the recent days hold more than their share of a set that reaches further back (DATA-24)."""
    dates = [date for date in (created_of(e.metadata) for e in examples) if date is not None]
    if not dates:
        return []
    newest, span = max(dates), timedelta(days=section.recent_days)
    recent = sum(date > newest - span for date in dates)
    if recent == len(dates) or recent <= section.recent_share * len(dates):
        return []
    share = recent / len(dates)
    allowed = f"the last {section.recent_days:g} days; {section.recent_share:.0%} are allowed"
    detail = f"{recent} of {len(dates)} dated rows ({share:.0%}) are from {allowed}"
    return [Finding(kind="recency", detail=detail)]


def stale_vocabulary(examples: Sequence[Example], renames: Mapping[str, str]) -> list[Finding]:
    """A finding for each row and each old term of the glossary in it, with the new one (DATA-26)."""
    glossary = Glossary(renames)
    found = []
    for example in examples:
        text = f"{prompt_of(example.messages)}\n{answer_of(example.messages)}"
        for old, new in glossary.suggestions(text):
            suggestion = f"write {new!r}" if new else "remove it"
            found.append(finding("stale_vocabulary", example, f"{old!r} is out of use: {suggestion}", topic=old))
    return found


def topics(examples: Sequence[Example]) -> dict[str, int]:
    """Topic → rows, most first; rows without one under `none`."""
    return dict(Counter(topic_of(e) or "none" for e in examples).most_common())


def side_bias(examples: Sequence[Example]) -> str | None:
    """One sentence when a topic's share differs by more than 10 points between the sides, 50 held-out rows at least (DATA-25)."""
    held = [e for e in examples if e.split == "eval"]
    train = [e for e in examples if e.split == "train"]
    if len(held) < 50 or not train:
        return None
    a, b = topics(train), topics(held)
    gap, topic = max((abs(a.get(t, 0) / len(train) - b.get(t, 0) / len(held)), t) for t in {*a, *b})
    return f"topic {topic!r}: {gap:.0%} apart between train and eval" if gap > 0.1 else None
