"""How much of real usage a suite covers, and which kinds of request it misses (EVAL-31).

A request is covered when the suite has cases of its topic and one of them shares at least a third of the words that tell what it
is about. Words that only one request has (names, numbers) tell nothing. What is missed is either a topic without any case, or a
new way of asking, named by the word that most of these requests share and no case has.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Literal

from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.data.examples import TOPIC_KEYS, parsed, topic_of
from tunekeeper.data.sources import asked_messages, served_answer
from tunekeeper.text.fingerprints import prompt_of
from tunekeeper.text.vocabulary import content_words
from tunekeeper.workspace import Workspace

NEAR = 1 / 3
"""Part of a request's telling words that a case must share, 0 to 1."""
MOST = 10_000
"""Newest requests of a window that are looked at."""
SHOWN = 3
"""Requests that a missing kind is shown by."""
MOST_KINDS = 20
"""Missing kinds that are named."""
LEAST = 2
"""Requests from which a word tells a kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request, or one case."""

    text: str
    """What was asked."""
    topic: str = ""
    """Its topic where it is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingKind:
    """Requests that the suite does not cover, of one kind."""

    kind: Literal["topic", "phrasing"]
    """A topic without cases, or a way of asking that no case has."""
    name: str
    """The topic, or the word that these requests share; empty for what is left, each of its own kind."""
    requests: int
    """How many there are."""
    share: float
    """Part of all requests, 0 to 1."""
    examples: tuple[str, ...]
    """The first of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageCoverage:
    """What part of usage a suite covers."""

    requests: int
    """Requests that were looked at."""
    cases: int
    """Cases of the suite."""
    covered: int
    """Requests that it covers."""
    share: float | None
    """Part of them, 0 to 1; None without requests."""
    missing: tuple[MissingKind, ...]
    """What it misses, most first."""


def coverage_of_usage(asked: Sequence[Asked], cases: Sequence[Asked]) -> UsageCoverage:
    """What `cases` cover of what was `asked`, and what they miss."""
    found = [frozenset(content_words(each.text)) for each in (*asked, *cases)]
    frequent = Counter(word for words in found for word in words)
    told = [frozenset(word for word in words if frequent[word] >= LEAST) for words in found]
    suite = _Suite(cases, told[len(asked) :])
    near = {words: suite.is_near(words) for words in set(told[: len(asked)])}
    unknown = [each for each in asked if suite.lacks(each.topic)]
    missed = set(map(id, unknown))
    novel = [(a, words) for a, words in zip(asked, told, strict=False) if id(a) not in missed and not (cases and near[words])]
    missing = [*_by_topic(unknown, len(asked)), *_by_word(novel, suite.words, len(asked))]
    covered = len(asked) - len(unknown) - len(novel)
    return UsageCoverage(
        requests=len(asked),
        cases=len(cases),
        covered=covered,
        share=covered / len(asked) if asked else None,
        missing=tuple(sorted(missing, key=lambda m: -m.requests)[:MOST_KINDS]),
    )


def covered_share(rows: Sequence[Example], cases: Sequence[Asked]) -> float | None:
    """`UsageCoverage.share` of what rows ask; they are read twice and not held. None without rows."""
    once, again = set[int](), set[int]()  # hashes of words
    for text in chain((prompt_of(row.messages) for row in rows), (case.text for case in cases)):
        words = set(map(hash, content_words(text)))
        again |= words & once
        once |= words
    told = [frozenset(word for word in content_words(case.text) if hash(word) in again) for case in cases]
    suite, covered = _Suite(cases, told), 0
    for row in rows:
        words_here = {word for word in content_words(prompt_of(row.messages)) if hash(word) in again}
        covered += bool(cases) and not suite.lacks(topic_of(row)) and suite.is_near(words_here)
    return covered / len(rows) if rows else None


class _Suite:
    """Cases by their topics and by the words that tell what they are about."""

    def __init__(self, cases: Sequence[Asked], told: Sequence[Set[str]]) -> None:
        """`told`: these words of each case."""
        self._topics = {case.topic.casefold() for case in cases if case.topic}
        self._holders: dict[str, int] = defaultdict(int)
        for place, words in enumerate(told):
            for word in words:
                self._holders[word] |= 1 << place

    @property
    def words(self) -> Set[str]:
        """The words of all cases."""
        return self._holders.keys()

    def lacks(self, topic: str) -> bool:
        """Whether no case has the topic, where topics are known."""
        return bool(self._topics and topic) and topic.casefold() not in self._topics

    def is_near(self, words: Set[str]) -> bool:
        """Whether one case shares `NEAR` of the words; where there are none, a request holds nothing new.

        All cases are counted at once: bit `c` of plane `p` is bit `p` of the words that case `c` shares.
        """
        planes: list[int] = []
        for word in words & self._holders.keys():
            carry = self._holders[word]
            for p, plane in enumerate(planes):
                planes[p], carry = plane ^ carry, plane & carry
            if carry:
                planes.append(carry)
        most, best = 0, -1
        for p in range(len(planes) - 1, -1, -1):
            if higher := best & planes[p]:
                most, best = most + (1 << p), higher
        return most >= NEAR * len(words)


def _by_topic(asked: Sequence[Asked], total: int) -> list[MissingKind]:
    groups: dict[str, list[str]] = defaultdict(list)
    for each in asked:
        groups[each.topic].append(each.text)
    return [_missing("topic", topic, texts, total) for topic, texts in groups.items()]


def _by_word(novel: Sequence[tuple[Asked, frozenset[str]]], known: Iterable[str], total: int) -> list[MissingKind]:
    """Requests by the most frequent word that no case has, then those left by the next; the rest together without a name."""
    left, taught = list(novel), set(known)
    groups: list[MissingKind] = []
    while left and len(groups) < MOST_KINDS:
        counted = Counter(word for _, words in left for word in words if word not in taught)
        word, n = min(counted.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
        if n < LEAST:
            break
        groups.append(_missing("phrasing", word, [a.text for a, words in left if word in words], total))
        left = [(a, words) for a, words in left if word not in words]
    return groups + ([_missing("phrasing", "", [a.text for a, _ in left], total)] if left else [])


def _missing(kind: Literal["topic", "phrasing"], name: str, texts: Sequence[str], total: int) -> MissingKind:
    shown = tuple(" ".join(text.split())[:200] for text in list(dict.fromkeys(texts))[:SHOWN])
    return MissingKind(kind=kind, name=name, requests=len(texts), share=len(texts) / total, examples=shown)


def asked_of_examples(examples: Iterable[Example]) -> list[Asked]:
    """Rows, or cases read as rows, as what they ask."""
    return [Asked(text=prompt_of(e.messages), topic=topic_of(e)) for e in examples]


def asked_of_log(ws: Workspace, model: str, since: datetime, until: datetime) -> list[Asked]:
    """What users asked in a window, the newest 10,000 answered requests whose bodies were kept. The topic is that of the
    answer's JSON, else of the request's segments."""
    window = ws.log.find(model=model, since=since, until=until, status="ok", limit=MOST, newest_first=True)
    found = []
    for inference in window:
        messages = asked_messages(inference)
        if messages is not None:
            found.append(Asked(text=prompt_of(messages), topic=_topic(inference)))
    return found


def _topic(inference: Inference) -> str:
    value = parsed(served_answer(inference) or "")
    places = (value if isinstance(value, dict) else {}, inference.segments, inference.metadata or {})
    return next((place[key] for place in places for key in TOPIC_KEYS if isinstance(place.get(key), str) and place[key]), "")
