"""Checks on the set as a whole: where rows come from, how old they are, which words are stale, how topics are spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.examples import created_of, topic_of
from tunekeeper.data.findings import Finding, finding
from tunekeeper.text.fingerprints import answer_of, prompt_of
from tunekeeper.text.vocabulary import Glossary

_SYNTHETIC = ("synthetic", "generated", "augmented")


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
