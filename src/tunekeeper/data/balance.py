"""Checks on the set as a whole: where rows come from, how old they are, which words are stale, how topics are spread."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import tallies
from tunekeeper.data.examples import TOPIC_KEYS, parsed, topic_of
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.thoughts import spoken
from tunekeeper.text.fingerprints import answer_of, prompt_of
from tunekeeper.text.vocabulary import Glossary

if TYPE_CHECKING:
    from tunekeeper.data.config import Config


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


LEAST_ROWS = 50
"""Rows of a set below which its balance is not judged."""
MOST_LABELS = 50
"""Different answers above which they are no labels."""
LONGEST_LABEL = 60
"""Characters of a label."""
ONCE = 0.1
"""Largest part of the answers, 0 to 1, whose label no other one has."""
_SENTENCE = re.compile(r"\S\s+\S.*[.!?…।؟۔]\W*$|.[。！？]\W*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """How the rows of a set are spread."""

    topics: dict[str, int]
    """Topic → rows, most first; rows without one under `none`."""
    field: str | None
    """Field of the JSON answers that is their label; `answer` where the whole answer is one; None where there are no labels."""
    labels: dict[str, int]
    """Label → rows, most first."""


def spread(examples: Iterable[Example]) -> Balance:
    """The spread of rows, which are read once and not held."""
    spreading = Spreading()
    for example in examples:
        spreading.take(example)
    return spreading.balance()


class Spreading:
    """The spread over topics, and over the labels that the answers teach, of rows that are told one after the other.

    Labels are the first field of the JSON answers that holds some in most rows (see `are_labels`), one that is called so before
    others, else the answers themselves. What a reasoning model thought before it answered does not count.
    """

    def __init__(self) -> None:
        self._rows, self._objects, self._topics = 0, 0, Counter[str]()
        self._fields: dict[str, _Few] = {}
        self._whole = _Few()

    def take(self, example: Example) -> None:
        """Count a row."""
        self._rows += 1
        self._topics[topic_of(example) or "none"] += 1
        answer = spoken(answer_of(example.messages)).strip()
        value = parsed(answer)
        if isinstance(value, dict):
            self._objects += 1
            for name in value if len(self._fields) < MOST_LABELS else self._fields.keys() & value.keys():
                self._fields.setdefault(name, _Few()).take(value.get(name))
        elif answer and "\n" not in answer:
            self._whole.take(" ".join(answer.split()))

    def balance(self) -> Balance:
        """How they are spread."""
        of_objects = 2 * self._objects >= self._rows
        called = sorted(self._fields.items(), key=lambda item: item[0] not in TOPIC_KEYS)
        fields = ((name, few) for name, few in called if not few.many and are_labels(few.values, self._objects, self._rows))
        field, labels = next(fields, (None, None)) if of_objects else (None, None)
        if not of_objects and not self._whole.many and are_labels(self._whole.values, self._rows, self._rows):
            field, labels = "answer", self._whole
        counted = {} if labels is None else dict(labels.values.most_common())
        return Balance(topics=dict(self._topics.most_common()), field=field, labels=counted)


@dataclass(slots=True)
class _Few:
    """Values that are counted as long as they are few and short enough to be labels."""

    values: Counter[str] = dataclasses.field(default_factory=Counter)
    many: bool = False

    def take(self, value: Any) -> None:
        if self.many or value == "" or not isinstance(value, str | bool | int):
            return
        text = str(value).casefold() if isinstance(value, bool) else str(value)
        self.values[text] += 1
        self.many = len(self.values) > MOST_LABELS or len(text) > LONGEST_LABEL


def are_labels(values: Mapping[str, int], answers: int, rows: int) -> bool:
    """Whether values, each said so often by `answers` answers of a set of `rows`, are labels: few, at least half of the answers
    have one, they are said again and again, and they are no sentences, as short answers of a chat are."""
    said, once = sum(values.values()), sum(n == 1 for n in values.values())
    sentences = sum(n for value, n in values.items() if _SENTENCE.search(value))
    few = 0 < len(values) <= min(MOST_LABELS, rows // 5)
    return few and 2 * said >= answers and once <= ONCE * said and 2 * sentences < said


def imbalance(found: Balance, rows: int, section: Config) -> list[Finding]:
    """A finding for each label, else topic, that has too large a part of so many rows or too few of them (DATA-20)."""
    if rows < LEAST_ROWS:
        return []
    what = "label" if found.labels else "topic"
    counted = found.labels or {topic: n for topic, n in found.topics.items() if topic != "none"}
    total = sum(counted.values())
    made = []
    for name, n in counted.items() if len(counted) > 1 else ():
        if n > section.label_share * total:
            detail = f"{what} {name!r} has {n} of {total} rows ({n / total:.0%}); {section.label_share:.0%} are allowed"
            made.append(Finding(kind="imbalance", topic=name, detail=detail))
        elif n < section.label_rows:
            detail = f"{what} {name!r} has {n} of {total} rows; {section.label_rows} are the least to learn it from"
            made.append(Finding(kind="imbalance", topic=name, detail=detail))
    return made


def synthetic_only(examples: Sequence[Example]) -> list[Finding]:
    """One finding when every row is made up (DATA-10)."""
    return tallies.synthetic_only(tallies.of_examples(examples))


def synthetic_share(examples: Sequence[Example], section: Config) -> list[Finding]:
    """One finding when more than the allowed part of the rows is made up, but not all of them."""
    return tallies.synthetic_share(tallies.of_examples(examples), section)


def refuse_made_up(model: str, tally: tallies.Tally) -> None:
    """Raise DataError when every row that was counted is made up: a model that learns from no real row is not what its users
    need."""
    for found in tallies.synthetic_only(tally):
        raise DataError(f"{model}: {found.detail}", fix="import real rows, or freeze them all the same with --force")


def mix(examples: Sequence[Example], section: Config) -> Mix:
    """How old the rows are and how many a machine made up."""
    return mix_of(tallies.of_examples(examples), section)


def mix_of(tally: tallies.Tally, section: Config) -> Mix:
    """`mix` for rows that were counted."""
    return Mix(
        examples=tally.rows,
        dated=len(tally.dates),
        recent=tallies.recent(tally, section),
        recent_days=section.recent_days,
        synthetic=tally.made_up,
    )


def recency(examples: Sequence[Example], section: Config) -> list[Finding]:
    """One finding when the recent days hold more than their share of a set that reaches further back (DATA-24)."""
    return tallies.recency(tallies.of_examples(examples), section)


def stale_vocabulary(examples: Iterable[Example], renames: Mapping[str, str]) -> list[Finding]:
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
