"""What the numbers of a window are made of, request by request: memory holds counts, never the requests. Pure."""

from __future__ import annotations

import heapq
import math
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tunekeeper.stats.drift import js_distance
from tunekeeper.text.vocabulary import words

FREQUENT = 200
"""Words of the baseline that a distance is taken over, the most frequent ones."""
RECURS = 3
"""Requests of one window that must share an unknown word before it is a new term."""


class Share:
    """How often something happened, and the first requests where it did."""

    def __init__(self, kept: int) -> None:
        self.hits = 0
        self.samples: list[str] = []
        self._kept = kept

    def add(self, request_id: str) -> None:
        """It happened."""
        self.hits += 1
        if len(self.samples) < self._kept:
            self.samples.append(request_id)


class Spread:
    """Values whose mean and tail are wanted, eight bytes each, and the requests of the smallest."""

    def __init__(self, kept: int) -> None:
        self.values = array("d")
        self._kept = kept
        self._least: list[tuple[float, str]] = []
        self._bound = math.inf

    def add(self, value: float, request_id: str) -> None:
        """One more value."""
        self.values.append(value)
        if value > self._bound:
            return
        self._least.append((value, request_id))
        if len(self._least) > 8 * self._kept:  # now and then, not with every value
            self._least = heapq.nsmallest(self._kept, self._least)
            self._bound = self._least[-1][0]

    @property
    def lowest(self) -> list[str]:
        """Requests of the smallest values, the smallest first."""
        return [request_id for _, request_id in heapq.nsmallest(self._kept, self._least)]

    def at(self, share: float) -> float | None:
        """The value that `share` (0 to 1) of them do not exceed; None of none."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None

    def mean(self) -> tuple[float, float]:
        """Mean and the half width of its 95 % interval, of at least one value."""
        n = len(self.values)
        middle = math.fsum(self.values) / n
        spread = math.sqrt(math.fsum((value - middle) ** 2 for value in self.values) / max(1, n - 1))
        return middle, 1.96 * spread / math.sqrt(n)


class Words:
    """The words of a window beside those that are known: which are new, and how far the frequent ones have moved.

    A request counts as holding a new term from the moment on that the term recurs, and so do the few before it.
    """

    def __init__(self, features: Mapping[str, Any]) -> None:
        reference: Mapping[str, int] = features.get("vocabulary", {})
        self.known = {*reference, *features.get("learned", ())}
        self.requests = 0
        self._reference = reference
        self._frequent = Counter(dict.fromkeys(sorted(reference, key=lambda word: (-reference[word], word))[:FREQUENT], 0))
        self._total = 0
        self._unknown: Counter[str] = Counter()
        self._early: dict[str, list[int]] = {}
        """Unknown word that does not recur yet → the requests that hold it."""
        self._holding = bytearray()

    def add(self, text: str) -> None:
        """The words of one request."""
        said = [word for word in words(text) if word.isalpha()]
        self._total += len(said)
        number, self.requests = self.requests, self.requests + 1
        self._holding.append(0)
        for word in said:
            if word in self._frequent:
                self._frequent[word] += 1
        for word in {word for word in said if word not in self.known}:
            self._new(word, number)

    def _new(self, word: str, number: int) -> None:
        self._unknown[word] += 1
        if self._unknown[word] < RECURS:
            self._early.setdefault(word, []).append(number)
            return
        for each in (*self._early.pop(word, ()), number):
            self._holding[each] = 1

    def terms(self, kept: int) -> tuple[int, list[str]]:
        """How many requests hold a new term, and the most frequent terms: new words that `RECURS` requests share."""
        return sum(self._holding), [word for word, n in self._unknown.most_common(kept) if n >= RECURS]

    def distance(self) -> float | None:
        """Jensen-Shannon distance, 0 to 1, from the reference; None without one, or without a request."""
        if not self.requests or not self._reference:
            return None
        before = {word: float(self._reference[word]) for word in self._frequent}
        now = {word: float(n) for word, n in self._frequent.items()}
        rest_before, rest_now = float(sum(self._reference.values())) - sum(before.values()), self._total - sum(now.values())
        return js_distance({**before, "": rest_before}, {**now, "": rest_now})
