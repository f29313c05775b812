"""The rows of a draft too large to be held: read again and again as a stream, one by one where they are named by their place.

What is compared with each other is held as numbers. Near duplicates and leaks are looked for by the process that
`duplicates.near_pairs_of_file` starts.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, overload

from tunekeeper.core.errors import Busy
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import contradictions, coverage, sides
from tunekeeper.data.config import Config
from tunekeeper.data.drafts import HELD
from tunekeeper.data.duplicates import near_pairs_of_file, similar_pairs
from tunekeeper.data.examples import decode, question_key, read_file
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.nearfile import TEXT, Of
from tunekeeper.data.scores import state_of

MANY = 50_000
"""Rows of a draft above which it is not held."""


class FileRows(Sequence[Example]):
    """The rows of a JSONL file of ours, none of them held. Raises Busy once the file is another one than it was."""

    def __init__(self, path: Path) -> None:
        """`path`: a draft; it is read once, for where its lines begin."""
        self.path = path
        self._state = state_of(path)
        self._begins = array("Q")
        place = 0
        with path.open("rb") as file:
            for line in file:
                self._begins.append(place)
                place += len(line)

    def some(self, places: Sequence[int]) -> Sequence[Example]:
        """The rows at these places, none of them held either."""
        return _Some(self, array("q", places))

    def __len__(self) -> int:
        return len(self._begins)

    def __iter__(self) -> Iterator[Example]:
        self._look_again()
        return read_file(self.path)

    def at(self, places: Iterable[int]) -> Iterator[Example]:
        """The rows at these places."""
        self._look_again()
        with self.path.open("rb") as file:
            for place in places:
                file.seek(self._begins[place])
                yield decode(file.readline())

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(self.at(range(*index.indices(len(self)))))
        return next(self.at([index]))

    def _look_again(self) -> None:
        if state_of(self.path) != self._state:
            raise Busy("the draft was changed while it was read", fix="repeat the command")


class _Some(Sequence[Example]):
    """Some rows of a file."""

    def __init__(self, rows: FileRows, places: array[int]) -> None:
        self._rows, self._places = rows, places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Example]:
        return self._rows.at(self._places)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._rows[self._places[index]] if isinstance(index, int) else list(self._rows.at(self._places[index]))


def rows_of(path: Path) -> Sequence[Example]:
    """The rows of a draft's file: held where they are few and short, else one by one; none when it is missing."""
    if not path.exists():
        return []
    if path.stat().st_size > HELD:
        return FileRows(path)
    with path.open("rb") as file:
        few = sum(1 for _, _ in zip(range(MANY + 1), file, strict=False)) <= MANY
    return list(read_file(path)) if few else FileRows(path)


def near_pairs(rows: Sequence[Example], threshold: float, *, of: Of) -> Iterator[tuple[int, int, float]]:
    """Places (i < j) of rows that are at least `threshold` similar by their prompts or as a whole (`of`), with the similarity."""
    if isinstance(rows, FileRows):
        return near_pairs_of_file(rows.path, threshold, of=of)
    return similar_pairs([TEXT[of](row.messages) for row in rows], threshold)


def compared(rows: FileRows, section: Config) -> list[Finding]:
    """What a comparison of the rows with each other finds: duplicates, contradictions, leaks and bias between the sides.

    Nearly the same questions that contradict are looked for among rows that share `leak_similarity` of their prompts' 3-grams.
    """
    pairs = list(near_pairs_of_file(rows.path, section.leak_similarity, of="prompt"))
    step = len(rows) // sides.SAMPLE + 1
    return [
        *_exact(rows),
        *near_duplicates(rows, section.near_duplicate),
        *_contradicting(rows, pairs, section.near_duplicate),
        *_leaks(rows, pairs, section.leak_similarity),
        *sides.side_bias(sides.traits_of(row) for place, row in enumerate(rows) if place % step == 0),
    ]


def _exact(rows: FileRows) -> list[Finding]:
    first: dict[int, int] = {}
    found = []
    for place, row in enumerate(rows):
        earlier = first.setdefault(int(row.fingerprint.rpartition(":")[2][:16], 16), place)
        if earlier != place:
            found.append(finding("exact_duplicate", row, "the same conversation", of=rows[earlier].id))
    return found


def near_duplicates(rows: Sequence[Example], threshold: float, *, among: Set[int] | None = None) -> list[Finding]:
    """A finding for each later row (of the places `among`) that is nearly an earlier one, beside the one it resembles most."""
    best: dict[int, tuple[float, int]] = {}
    for i, j, similarity in near_pairs(rows, threshold, of="conversation"):
        if (among is None or j in among) and similarity > best.get(j, (0.0, 0))[0]:
            best[j] = (similarity, i)
    return [
        finding("near_duplicate", rows[j], f"{similarity:.0%} of the word 3-grams are the same", of=rows[i].id)
        for j, (similarity, i) in sorted(best.items())
    ]


def _contradicting(rows: FileRows, pairs: Sequence[tuple[int, int, float]], near: float) -> list[Finding]:
    """Contradictions among the rows that ask the same, or nearly: only these are read whole."""
    asked: dict[int, list[int]] = defaultdict(list)
    answers = array("q")
    for place, row in enumerate(rows):
        asked[hash(question_key(row))].append(place)
        answers.append(hash(contradictions.said_key(row)))
    places = {place for group in asked.values() if len({answers[i] for i in group}) > 1 for place in group}
    places |= {place for i, j, _ in pairs if answers[i] != answers[j] for place in (i, j)}
    return contradictions.contradictions([rows[place] for place in sorted(places)], near)


def _leaks(rows: FileRows, pairs: Sequence[tuple[int, int, float]], threshold: float) -> list[Finding]:
    """Leaks of the rows to learn from that a held-out one may know: by a near prompt, a conversation or a user."""
    held = bytearray(row.split == "eval" for row in rows)
    near = {place for i, j, _ in pairs if held[i] != held[j] or not held[i] for place in (i, j)}
    told = {hash(name) for place, row in enumerate(rows) if held[place] for name in coverage.names_of([row])}
    suspects = [
        place
        for place, row in enumerate(rows)
        if not held[place] and (place in near or not told.isdisjoint(map(hash, coverage.names_of([row]))))
    ]
    there = [place for place, is_held in enumerate(held) if is_held]
    return coverage.leaks(rows.some(suspects), rows.some(there), threshold, where="the held-out side")
