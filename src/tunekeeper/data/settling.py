"""Rows that contradict each other in an import: found by digests, settled by dates and votes, looked at one row at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from tunekeeper.data.contradictions import describe
from tunekeeper.data.findings import Finding
from tunekeeper.data.shelf import Shelf


def contradicting(shelf: Shelf, places: Sequence[int] | npt.NDArray[np.int64]) -> list[list[int]]:
    """Groups of rows that ask the same and answer differently, in the order of their first row; `places`: which rows, in which
    order."""
    rows = np.asarray(places, dtype=np.int64)
    if len(rows) < 2:
        return []
    questions = np.frombuffer(shelf.questions, dtype=np.uint64)[rows]
    answers = np.frombuffer(shelf.answers, dtype=np.uint64)[rows]
    return [rows[group].tolist() for group in differing(questions, answers)]


def differing(questions: npt.NDArray[np.integer[Any]], answers: npt.NDArray[np.integer[Any]]) -> Iterator[list[int]]:
    """Places that share a question and differ in the answer, a group for each question, in the order of their first place; of
    both, digests are given."""
    order = np.argsort(questions, kind="stable")
    starts = np.flatnonzero(np.diff(questions[order], prepend=~questions[order][:1]) != 0)
    ends, ordered = np.r_[starts[1:], len(questions)], answers[order]
    if not len(starts):
        return
    differ = np.minimum.reduceat(ordered, starts) != np.maximum.reduceat(ordered, starts)
    groups = [order[start:end] for start, end in zip(starts[differ], ends[differ], strict=True)]
    yield from (group.tolist() for group in sorted(groups, key=lambda group: int(group[0])))


def believed(shelf: Shelf, group: Sequence[int], votes: Callable[[int], int]) -> int | None:
    """The answer (its digest) to keep of a group: the newest where every row has a date and one is the newest, else that of more
    than half of the votes (place → times seen), else None: nobody can tell."""
    dates = [shelf.created[place] for place in group]
    if not any(map(isnan, dates)):
        newest = max(dates)
        answers = {shelf.answers[place] for place, date in zip(group, dates, strict=True) if date == newest}
        if len(answers) == 1:
            return answers.pop()
    count: Counter[int] = Counter()
    for place in group:
        count[shelf.answers[place]] += votes(place)
    answer, most = count.most_common(1)[0]
    return answer if most * 2 > sum(count.values()) else None


def is_later(shelf: Shelf, a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether the newest date among rows `a` is later than that among `b`; not when either has none."""
    dates = [[shelf.created[place] for place in side if not isnan(shelf.created[place])] for side in (a, b)]
    return all(dates) and max(dates[0]) > max(dates[1])


def described(shelf: Shelf, losers: Sequence[int], group: Sequence[int]) -> Iterator[tuple[int, Finding]]:
    """Place and finding of each loser, beside the first row of the group that answers otherwise."""
    first = group[0]
    second = next(place for place in group if shelf.answers[place] != shelf.answers[first])
    beside = {place: shelf.example(place) for place in (first, second)}
    for place in losers:
        other = beside[second if shelf.answers[place] == shelf.answers[first] else first]
        own = shelf.example(place)
        yield from ((place, found) for found in describe([own], [own, other]))
