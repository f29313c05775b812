"""Which rows are held out: by group, in proportion per topic, and for good.

Rows that belong together (the same question, near-duplicate prompts, one conversation or user) stay on one side, since a row
that nearly stands in the training side tells nothing. A row that has a side keeps it when the set grows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.duplicates import Groups, similar_pairs
from tunekeeper.data.examples import GROUP_KEYS, topic_of
from tunekeeper.text.fingerprints import prompt_key, prompt_of


def assign(examples: Sequence[Example], placed: Mapping[str, Split], share: float, near: float) -> list[Example]:
    """The examples with their sides. `placed`: id → side that a row already has. `share`: part held out, 0 to 0.5.
    `near`: Jaccard similarity of prompts from which rows stay together."""
    sides: dict[int, Split] = {}
    groups = _groups(examples, near)
    for members in groups:
        known = next((placed[examples[i].id] for i in members if examples[i].id in placed), None)
        sides.update({i: placed.get(examples[i].id, known) for i in members} if known is not None else {})
    fresh = [members for members in groups if not any(i in sides for i in members)]
    wanted = _quotas(examples, sides, share)
    taken: dict[str, int] = defaultdict(int)
    for members in sorted(fresh, key=lambda m: _hash(examples[m[0]])):
        topic = topic_of(examples[members[0]])
        side: Split = "eval" if taken[topic] + len(members) <= wanted.get(topic, 0) else "train"
        taken[topic] += len(members) if side == "eval" else 0
        sides.update(dict.fromkeys(members, side))
    _keep_one_each(examples, sides, fresh, share)
    return [replace(example, split=sides[i]) for i, example in enumerate(examples)]


def _groups(examples: Sequence[Example], near: float) -> list[list[int]]:
    groups = Groups(len(examples))
    groups.join_equal([prompt_key(e.messages) for e in examples])
    for key in GROUP_KEYS:
        groups.join_equal([str(e.metadata[key]) if e.metadata.get(key) else None for e in examples])
    for i, j, _ in similar_pairs([prompt_of(e.messages) for e in examples], near):
        groups.join(i, j)
    return list(groups.members().values())


def _quotas(examples: Sequence[Example], sides: Mapping[int, Split], share: float) -> dict[str, int]:
    """Topic → rows still to hold out, by largest remainders, so that the whole comes to `share` as closely as it can."""
    total: dict[str, int] = defaultdict(int)
    held: dict[str, int] = defaultdict(int)
    for i, example in enumerate(examples):
        topic = topic_of(example)
        total[topic] += 1
        held[topic] += sides.get(i) == "eval"
    exact = {topic: share * n for topic, n in total.items()}
    quota = {topic: int(value) for topic, value in exact.items()}
    missing = round(share * len(examples)) - sum(quota.values())
    for topic in sorted(exact, key=lambda t: (quota[t] - exact[t], t))[: max(0, missing)]:
        quota[topic] += 1
    return {topic: quota[topic] - held[topic] for topic in quota}


def _keep_one_each(examples: Sequence[Example], sides: dict[int, Split], fresh: list[list[int]], share: float) -> None:
    """With at least two free groups and a share above 0, neither side stays empty: the smallest group crosses over."""
    if len(fresh) < 2 or share <= 0:
        return
    both: tuple[Split, Split] = ("eval", "train")
    for empty_side in both:
        if empty_side not in sides.values():
            smallest = min(fresh, key=lambda m: (len(m), _hash(examples[m[0]])))
            sides.update(dict.fromkeys(smallest, empty_side))


def _hash(example: Example) -> str:
    """Where a group stands in the order of choice: by its question alone, so that another machine chooses the same."""
    return hashlib.sha256(prompt_key(example.messages).encode("utf-8", "surrogatepass")).hexdigest()
