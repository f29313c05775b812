"""Which rows are held out: by group, in proportion per topic, and for good.

Rows that belong together (the same question, near-duplicate prompts, one conversation or user) stay on one side, since a row
that nearly stands in the training side tells nothing. A row that has a side keeps it when the set grows, even where a new row
shows that rows on both sides belong together: the new one goes where the first of them stands, and is named.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.examples import GROUP_KEYS, tells, topic_of
from tunekeeper.text.fingerprints import prompt_key

Numbers = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Pairs = Iterable[tuple[int, int, float]]
TRAIN, EVAL, OPEN = 0, 1, -1
SIDE: tuple[Split, Split] = ("train", "eval")


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

    sides: npt.NDArray[np.int8]
    """0 to learn from, 1 held out."""
    torn: tuple[tuple[int, int], ...]
    """New rows that belong to rows on both sides, each with the first of those on the other side."""


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


def deal(rows: Rows, placed: npt.NDArray[np.int8], pairs: Pairs, share: float) -> Dealt:
    """The sides of rows. `placed`: the side that each row has, or -1; it keeps that one. `pairs`: places of near duplicates.
    `share`: part held out, 0 to 0.5."""
    sides, torn = placed.copy(), []
    fresh: list[Places] = []
    for members in _groups(rows, pairs):
        known = members[placed[members] != OPEN]
        if not len(known):
            fresh.append(members)
            continue
        side = placed[known[0]]
        new = members[placed[members] == OPEN]
        sides[new] = side
        other = known[placed[known] != side]
        torn += [(place, int(other[0])) for place in new.tolist()] if len(other) else []
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


def check_share(model: str, share: float) -> None:
    """Raise ConfigError for a share that makes no sense."""
    if not 0 <= share <= 0.5:
        raise ConfigError(f"models/{model}.yaml: data.eval_share is {share:g}", fix="choose 0 to 0.5")


def prompt_number(prompt: str) -> int:
    """Where a question stands in the order of choice: 64 bits of its digest."""
    return int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def group_number(name: object) -> int:
    """64 bits of the digest of a conversation's or user's name; 0 for none, and for a word that names nobody."""
    if not tells(name):
        return 0
    return int.from_bytes(hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


def _groups(rows: Rows, pairs: Pairs) -> Iterator[Places]:
    """The places of each group, in order; groups by their first place."""
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
    for i, j, _ in pairs:
        join(i, j)
    roots = np.array([root(i) for i in range(len(parents))], dtype=np.int64)
    order = np.argsort(roots, kind="stable")
    yield from np.split(order, np.flatnonzero(roots[order][1:] != roots[order][:-1]) + 1) if len(roots) else ()


def _quotas(rows: Rows, sides: npt.NDArray[np.int8], share: float) -> dict[int, int]:
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


def _fill(rows: Rows, sides: npt.NDArray[np.int8], fresh: list[Places], wanted: Mapping[int, int], left: int) -> None:
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


def _keep_one_each(rows: Rows, sides: npt.NDArray[np.int8], fresh: list[Places], share: float) -> None:
    """With at least two free groups and a share above 0, neither side stays empty: the smallest group crosses over."""
    if len(fresh) < 2 or share <= 0:
        return
    for empty in (EVAL, TRAIN):
        if empty not in sides:
            sides[min(fresh, key=lambda members: (len(members), int(rows.prompts[members[0]])))] = empty
