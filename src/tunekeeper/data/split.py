"""Which rows are held out: by group, in proportion per topic, and for good.

Rows that belong together (the same question, near-duplicate prompts, one conversation or user) stay on one side, since a row
that nearly stands in the training side tells nothing. A row that has a side keeps it when the set grows, even where a new row
shows that rows on both sides belong together: the new one goes where the first of them stands, and is named.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.examples import GROUP_KEYS, tells, topic_of
from tunekeeper.text.fingerprints import prompt_key

Numbers = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Sides = npt.NDArray[np.int8]
Pairs = Iterable[tuple[int, int, float]]
TRAIN, EVAL, OPEN = 0, 1, -1
SIDE: tuple[Split, Split] = ("train", "eval")
MOST_ALIKE = 50
"""Rows of a group that merely resemble each other; no more than are to be held out either."""
MOST_PAIRS = 2_000_000
"""Pairs of such rows that are looked at."""
_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("test", "testing", "validation", "validate", "valid", "val", "dev", "eval", "evaluation", "heldout"), EVAL),
}
"""Word → the side that it names."""
_LETTERS = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What the split has to know of rows, a number each."""

    prompts: Numbers
    """Digest of the question as it is compared; also the order in which groups are chosen, on every machine the same."""
    groups: tuple[Numbers, ...]
    """Digest of the conversation, the user and so on; 0 for a row that names none."""
    topics: Places
    """Number of the topic."""
    topic_names: tuple[str, ...]
    """Its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dealt:
    """The sides of rows."""

    sides: Sides
    """0 to learn from, 1 held out."""
    torn: tuple[tuple[int, int], ...]
    """New rows that belong to rows on both sides, each with the first of those on the other side; of rows that brought their own
    those to learn from."""


class _Alike(NamedTuple):
    """Pairs of rows that resemble each other."""

    first: array[int]
    """Place of one of each pair."""
    second: array[int]
    """Place of the other."""
    similarity: array[float]
    """How similar they are, 0 to 1."""

    def add(self, first: int, second: int, similarity: float) -> None:
        """One more pair."""
        self.first.append(first)
        self.second.append(second)
        self.similarity.append(similarity)


def numbers_of(examples: Iterable[Example]) -> Rows:
    """What the split has to know of rows; they are read once and not held."""
    prompts, topics, names = array("Q"), array("q"), dict[str, int]()
    groups = tuple(array("Q") for _ in GROUP_KEYS)
    for example in examples:
        prompts.append(prompt_number(prompt_key(example.messages)))
        topics.append(names.setdefault(topic_of(example), len(names)))
        for numbers, key in zip(groups, GROUP_KEYS, strict=True):
            numbers.append(group_number(example.metadata.get(key)))
    return Rows(
        prompts=np.frombuffer(prompts, np.uint64),
        groups=tuple(np.frombuffer(numbers, np.uint64) for numbers in groups),
        topics=np.frombuffer(topics, np.int64),
        topic_names=tuple(names),
    )


def deal(
    rows: Rows,
    placed: Sides,
    pairs: Pairs,
    share: float,
    *,
    near: float = 0.0,
    brought: Sides | None = None,
) -> Dealt:
    """The sides of rows. `placed`: the side that each row has, or -1; it keeps that one. `pairs`: places of rows that ask nearly
    the same; those at least `near` similar stay together, the others where they are few. `share`: part held out, 0 to 0.5.
    `brought`: the side that each row brings along, or -1: which of those placed are new."""
    sides, torn = placed.copy(), []
    fresh: list[Places] = []
    for members in _groups(rows, pairs, near, placed, round(share * len(placed))):
        known = members[placed[members] != OPEN]
        if not len(known):
            # The first by digest stands for a group, so that the order of the rows decides nothing.
            fresh.append(members[np.argsort(rows.prompts[members], kind="stable")] if len(members) > 1 else members)
            continue
        side = placed[known[0]]
        new = members[placed[members] == OPEN]
        sides[new] = side
        other = known[placed[known] != side]
        torn += [(place, int(other[0])) for place in new.tolist()] if len(other) else []
        if len(other) and brought is not None:
            torn += _apart(members[brought[members] != OPEN], sides, {placed[known[0]]: known[0], placed[other[0]]: other[0]})
    wanted = _quotas(rows, sides, share)
    fresh.sort(key=lambda members: int(rows.prompts[members[0]]))
    taken = dict.fromkeys(wanted, 0)
    for members in fresh:
        topic = int(rows.topics[members[0]])
        held = taken[topic] + len(members) <= wanted[topic]
        taken[topic] += len(members) if held else 0
        sides[members] = EVAL if held else TRAIN
    if (left := sum(wanted.values()) - sum(taken.values())) > 0:
        _fill(rows, sides, fresh, wanted, left)
    _keep_one_each(rows, sides, fresh, share)
    return Dealt(sides=sides, torn=tuple(sorted(torn)))


def _apart(brought: Places, sides: Sides, first: Mapping[int, int]) -> list[tuple[int, int]]:
    """Rows of a torn group that came on the side where they stand, each with the first row of the other: those to learn from,
    where none was brought those held out. `first`: side → its first row."""
    learned = brought[sides[brought] == TRAIN]
    return [(place, int(first[EVAL - int(sides[place])])) for place in (learned if len(learned) else brought).tolist()]


def check_share(model: str, share: float) -> None:
    """Raise ConfigError for a share that makes no sense."""
    if not 0 <= share <= 0.5:
        raise ConfigError(f"models/{model}.yaml: data.eval_share is {share:g}", fix="choose 0 to 0.5")


@lru_cache(maxsize=256)
def side_named(name: str) -> int:
    """The side that the words of a name tell (`test_sft`: held out); -1 for none, and for names of both."""
    words = _LETTERS.findall(name.casefold().replace("held-out", "heldout").replace("held_out", "heldout"))
    sides = {_WORDS[word] for word in words if word in _WORDS}
    return sides.pop() if len(sides) == 1 else OPEN


@lru_cache(maxsize=256)
def side_of_file(name: str) -> int:
    """The side that a file's name tells, else that of the nearest of its folders; -1 for none."""
    parts = reversed(name.split("/"))
    return next((side for side in map(side_named, parts) if side != OPEN), OPEN)


def prompt_number(prompt: str) -> int:
    """Where a question stands in the order of choice: 64 bits of its digest."""
    return int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def group_number(name: object) -> int:
    """64 bits of the digest of a conversation's or user's name; 0 for none, and for a word that names nobody."""
    if not tells(name):
        return 0
    return int.from_bytes(hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _groups(rows: Rows, pairs: Pairs, near: float, placed: Sides, held: int) -> Iterator[Places]:
    """The places of each group, in order; groups by their first place. `held`: rows to hold out."""
    parents = list(range(len(rows.prompts)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    def join(i: int, j: int) -> None:
        a, b = root(i), root(j)
        parents[max(a, b)] = min(a, b)

    for numbers, empty in ((rows.prompts, False), *((each, True) for each in rows.groups if each.any())):
        order = np.argsort(numbers, kind="stable")
        same = (numbers[order][1:] == numbers[order][:-1]) & (not empty or numbers[order][1:] != 0)
        for i, j in zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True):
            join(i, j)
    alike = _Alike(array("q"), array("q"), array("d"))
    for i, j, similarity in pairs:
        if similarity >= near:
            join(i, j)
        elif len(alike.first) < MOST_PAIRS:
            alike.add(i, j, similarity)
    if len(alike.first):
        _join_alike(rows, alike, placed, min(held, MOST_ALIKE), root, join)
    roots = np.array([root(i) for i in range(len(parents))], dtype=np.int64)
    order = np.argsort(roots, kind="stable")
    yield from np.split(order, np.flatnonzero(roots[order][1:] != roots[order][:-1]) + 1) if len(roots) else ()


def _join_alike(
    rows: Rows, alike: _Alike, placed: Sides, most: int, root: Callable[[int], int], join: Callable[[int, int], None]
) -> None:
    """Put groups together of which rows resemble each other, the most similar first, whatever their order: up to `most` rows,
    since of a form that many fill in all resemble some; and none that stand on different sides already."""
    first, second = np.frombuffer(alike.first, np.int64), np.frombuffer(alike.second, np.int64)
    low, high = (choose(rows.prompts[first], rows.prompts[second]) for choose in (np.minimum, np.maximum))
    sizes, sides = Counter[int](), dict[int, int]()
    for place, side in enumerate(placed.tolist()):
        group = root(place)
        sizes[group] += 1
        if side != OPEN:
            sides.setdefault(group, side)
    for at in np.lexsort((high, low, -np.frombuffer(alike.similarity))).tolist():
        a, b = sorted((root(int(first[at])), root(int(second[at]))))
        apart = a in sides and b in sides and sides[a] != sides[b]
        if a == b or apart or sizes[a] + sizes[b] > most:
            continue
        join(a, b)
        sizes[a] += sizes[b]
        if b in sides:
            sides.setdefault(a, sides[b])


def _quotas(rows: Rows, sides: Sides, share: float) -> dict[int, int]:
    """Topic → rows still to hold out, by largest remainders, so that the whole comes to `share` as closely as it can."""
    size = len(rows.topic_names)
    total = np.bincount(rows.topics, minlength=size).tolist()
    held = np.bincount(rows.topics[sides == EVAL], minlength=size).tolist()
    exact = [share * n for n in total]
    quota = [int(value) for value in exact]
    missing = round(share * len(sides)) - sum(quota)
    for topic in sorted(range(size), key=lambda t: (quota[t] - exact[t], rows.topic_names[t]))[: max(0, missing)]:
        quota[topic] += 1
    return {topic: quota[topic] - held[topic] for topic in range(size)}


def _fill(rows: Rows, sides: Sides, fresh: list[Places], wanted: Mapping[int, int], left: int) -> None:
    """Hold out groups that no topic's quota has room for, while the whole lacks `left` rows: those of which half the rows are of
    topics that lack some."""
    held = Counter[int]()
    for members in fresh:
        held.update(rows.topics[members].tolist() if sides[members[0]] == EVAL else ())
    lacking = {topic: quota - held[topic] for topic, quota in wanted.items()}
    for members in fresh:
        if not 1 < len(members) <= left or sides[members[0]] == EVAL:
            continue
        counts = Counter(rows.topics[members].tolist())
        if 2 * sum(n for topic, n in counts.items() if lacking[topic] > 0) >= len(members):
            sides[members] = EVAL
            left -= len(members)
            lacking.update({topic: lacking[topic] - n for topic, n in counts.items()})


def _keep_one_each(rows: Rows, sides: Sides, fresh: list[Places], share: float) -> None:
    """With at least two free groups and a share above 0, neither side stays empty: the smallest group crosses over."""
    if len(fresh) < 2 or share <= 0:
        return
    for empty in (EVAL, TRAIN):
        if empty not in sides:
            sides[min(fresh, key=lambda members: (len(members), int(rows.prompts[members[0]])))] = empty
