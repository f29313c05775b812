"""What the examples and another set (a suite, an evaluation file) share and do not share: leaks, and topics nobody covers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.duplicates import similar_pairs
from tunekeeper.data.examples import TALK_KEYS, USER_KEYS, tells, topic_of
from tunekeeper.data.findings import Finding, finding
from tunekeeper.text.fingerprints import prompt_key, prompt_of
from tunekeeper.text.vocabulary import content_words, document_frequency

MOST_TOPICS = 20
"""Topics that are named on each side."""


def leaks(train: Sequence[Example], held: Sequence[Example], threshold: float | None, *, where: str) -> list[Finding]:
    """A finding for each row to learn from that `held` knows: by its prompt, exactly or nearly, by its conversation, by its user.

    `where`: what the held rows are, for the reader. `threshold`: Jaccard similarity of prompts, 0 to 1; None: near ones do not
    count. The strongest reason is told, and named by the finding's topic: exact, conversation, near or user. Both are read again
    and again and not held.
    """
    same = _known(train, held)
    near = {} if threshold is None else _nearest(train, held, threshold)
    names = _names_at(held, {other for _, other in near.values()})
    found = []
    for place, row in enumerate(train):
        exact = same.get(("prompt", prompt_key(row.messages)))
        talk, user = (next((same[each] for each in _named(row, keys) if each in same), None) for keys in (TALK_KEYS, USER_KEYS))
        if exact is not None:
            found.append(finding("leak", row, f"the same prompt stands in {where}", of=exact, topic="exact"))
        elif talk is not None:
            found.append(finding("leak", row, f"the same conversation stands in {where}", of=talk, topic="conversation"))
        elif place in near:
            similarity, other = near[place]
            detail = f"{similarity:.0%} of the prompt's word 3-grams stand in {where}"
            found.append(finding("leak", row, detail, of=names[other], topic="near"))
        elif user is not None:
            found.append(finding("leak", row, f"the same user stands in {where}", of=user, topic="user"))
    return found


def _known(train: Iterable[Example], held: Iterable[Example]) -> dict[tuple[str, str], str]:
    """What a row to learn from has in common with a held one (its prompt, a conversation, a user) → the first such row's id."""
    asked = {hash(each) for row in train for each in _traits(row)}
    same: dict[tuple[str, str], str] = {}
    for row in held:
        for each in _traits(row):
            if hash(each) in asked:
                same.setdefault(each, row.id)
    return same


def _traits(row: Example) -> Iterator[tuple[str, str]]:
    yield "prompt", prompt_key(row.messages)
    yield from _named(row, (*TALK_KEYS, *USER_KEYS))


def _named(row: Example, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The conversations and users that a row names, with their keys."""
    return ((key, str(row.metadata[key])) for key in keys if tells(row.metadata.get(key)))


def _names_at(rows: Iterable[Example], places: Set[int]) -> dict[int, str]:
    """The ids of the rows at some places."""
    return {place: row.id for place, row in enumerate(rows) if place in places} if places else {}


def into_others(found: Sequence[Finding], rows: Iterable[Example]) -> list[Finding]:
    """The leaks of `rows` but those of held-out rows into themselves: a suite that was made of them has them by their own ids."""
    same = {each.id for each in found if each.id == each.of}
    cases = {row.id for row in rows if row.id in same and row.split == "eval"} if same else set()
    return [each for each in found if each.id not in cases]


def names_of(rows: Iterable[Example]) -> set[tuple[str, str]]:
    """What may give a held-out row away besides its prompt: (key, value) of the conversations and users of rows."""
    return {each for row in rows for each in _named(row, (*TALK_KEYS, *USER_KEYS))}


def _nearest(train: Sequence[Example], held: Sequence[Example], threshold: float) -> dict[int, tuple[float, int]]:
    """Place of a row to learn from → similarity and place of the held row whose prompt is most like its own.

    Texts with the same words are paired with the first of them only: the others have what the first one has.
    """
    texts = (prompt_of(row.messages) for rows in (held, train) for row in rows)
    best: dict[int, tuple[float, int]] = {}
    same: dict[int, int] = {}
    for i, j, similarity in similar_pairs(texts, threshold) if held else ():
        if i < len(held) <= j and similarity > best.get(j, (0.0, 0))[0]:
            best[j] = (similarity, i)
        elif i >= len(held) and similarity == 1:
            same[j] = i
    best |= {j: best[i] for j, i in same.items() if i in best and j not in best}
    return {j - len(held): found for j, found in best.items()}


def uncovered(rows: Sequence[Example], held: Sequence[Example], share: float, *, where: str) -> list[Finding]:
    """Topics that make up at least `share` (0 to 1) of one side and are absent from the other, both ways.

    A topic is the row's category where rows have one, else a word that tells a topic and occurs on one side only.
    """
    if not rows or not held:
        return []
    return [
        *_absent(rows, held, share, here="the dataset", there=where),
        *_absent(held, rows, share, here=where, there="the dataset"),
    ]


def _absent(rows: Sequence[Example], other: Sequence[Example], share: float, *, here: str, there: str) -> list[Finding]:
    least = max(1, round(share * len(rows)))
    mine, theirs = Counter(map(topic_of, rows)), Counter(map(topic_of, other))
    named = [(topic, n) for topic, n in mine.most_common() if topic and n >= least and topic not in theirs]
    if not any(theirs) or not any(mine):
        named = _absent_words(rows, other, max(3, least))
    return [
        Finding(kind="uncovered", topic=topic, detail=f"{n} of {len(rows)} rows in {here} ({n / len(rows):.1%}), none in {there}")
        for topic, n in named[:MOST_TOPICS]
    ]


def _absent_words(rows: Sequence[Example], other: Sequence[Example], least: int) -> list[tuple[str, int]]:
    """Words as topics: the most frequent one absent from the other side names its rows, then the next among the rest."""
    known = document_frequency(prompt_of(e.messages) for e in other)
    counted = document_frequency(prompt_of(e.messages) for e in rows)
    holders: dict[str, set[int]] = {word: set() for word, n in counted.items() if n >= least and word not in known}
    for place, row in enumerate(rows if holders else ()):
        for word in holders.keys() & content_words(prompt_of(row.messages)):
            holders[word].add(place)
    topics: list[tuple[str, int]] = []
    told: set[int] = set()
    for word in sorted(holders, key=lambda w: (-len(holders[w]), w)):
        fresh = holders[word] - told
        if len(fresh) >= least:
            topics.append((word, len(fresh)))
            told |= fresh
    return topics
