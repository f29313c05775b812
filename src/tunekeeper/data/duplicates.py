"""Near duplicates: MinHash finds candidates, the exact Jaccard similarity of word 3-grams decides.

120 hashes in 20 bands of 6 find a pair of similarity 0.85 with probability above 0.999, one of 0.7 with 0.92.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.findings import Finding, finding
from tunekeeper.text.fingerprints import text_of
from tunekeeper.text.vocabulary import jaccard, shingles

HASHES = 120
BANDS = 20
SEED = 42
MOST_PARTNERS = 64
"""Candidates looked at per text: templated traffic would otherwise compare everything with everything."""


def similar_pairs(texts: Sequence[str], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Places (i < j) of texts that are at least `threshold` (0 to 1) similar, with the similarity.

    Of texts with the same words, each is paired with the first of them only.
    """
    sets = [shingles(text) for text in texts]
    first: dict[frozenset[str], int] = {}
    for j, words in enumerate(sets):
        if words and first.setdefault(words, j) != j:
            yield first[words], j, 1.0
    places = list(first.values())
    for a, b in _candidates([sets[i] for i in places]):
        similarity = jaccard(sets[places[a]], sets[places[b]])
        if similarity >= threshold:
            yield places[a], places[b], similarity


def _candidates(sets: Sequence[frozenset[str]]) -> Iterator[tuple[int, int]]:
    if len(sets) < 2:
        return
    from rensa import RMinHash, RMinHashLSH

    # Sorted: the digest does not depend on the order, but a set's order depends on the process's hash seed.
    hashes = RMinHash.from_token_sets([sorted(words) for words in sets], HASHES, SEED)
    index = RMinHashLSH(0.8, HASHES, BANDS)
    index.insert_many(hashes)
    for i, found in enumerate(index.query_all(hashes)):
        for j in sorted(j for j in found if j > i)[:MOST_PARTNERS]:
            yield i, j


def conversation_text(example: Example) -> str:
    """What near duplicates are compared by: every message but the system's."""
    return "\n".join(text_of(m.get("content")) for m in example.messages if m.get("role") not in ("system", "developer"))


def near_duplicates(examples: Sequence[Example], threshold: float) -> list[Finding]:
    """A finding for each later row that is nearly an earlier one; rows that merely resemble each other stay unmentioned."""
    best: dict[int, tuple[float, int]] = {}
    for i, j, similarity in similar_pairs([conversation_text(e) for e in examples], threshold):
        if similarity > best.get(j, (0.0, 0))[0]:
            best[j] = (similarity, i)
    return [
        finding("near_duplicate", examples[j], f"{similarity:.0%} of the word 3-grams are the same", of=examples[i].id)
        for j, (similarity, i) in sorted(best.items())
    ]


def exact_duplicates(examples: Sequence[Example]) -> list[Finding]:
    """A finding for each row that repeats an earlier one letter by letter."""
    first: dict[str, Example] = {}
    found = []
    for example in examples:
        earlier = first.setdefault(example.fingerprint, example)
        if earlier is not example:
            found.append(finding("exact_duplicate", example, "the same conversation", of=earlier.id))
    return found


class Groups:
    """Disjoint sets of things that belong together (union by the smaller place)."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, i: int) -> int:
        """The first place of the group that `i` is in."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Put the groups of `i` and `j` together."""
        a, b = sorted((self.root(i), self.root(j)))
        self._parent[b] = a

    def join_equal(self, keys: Sequence[Hashable | None]) -> None:
        """Put together places whose key is the same; None belongs to nothing."""
        seen: dict[Hashable, int] = {}
        for place, key in enumerate(keys):
            if key is not None:
                self.join(seen.setdefault(key, place), place)

    def members(self) -> dict[int, list[int]]:
        """First place → all places of its group."""
        groups: dict[int, list[int]] = defaultdict(list)
        for place in range(len(self._parent)):
            groups[self.root(place)].append(place)
        return groups
