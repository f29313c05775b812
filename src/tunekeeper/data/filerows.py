"""The rows of a draft too large to be held: read again and again as a stream, one by one where they are named by their place.

What is compared with each other is held as numbers. Near duplicates and leaks are looked for by the process that
`duplicates.near_pairs_of_file` starts.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from tunekeeper.core.errors import Busy
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import contradictions, coverage, sides
from tunekeeper.data.config import Config
from tunekeeper.data.duplicates import near_pairs_of_file
from tunekeeper.data.examples import answer_key, decode, question_key, read_file
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.scores import state_of

MANY = 50_000
"""Rows of a draft above which it is not held."""
HELD = 16 << 20
"""Bytes of a draft above which it is not held, however few its rows are: held ones take some three times as many."""


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

    def __len__(self) -> int:
        return len(self._begins)

    def __iter__(self) -> Iterator[Example]:
        self._look_again()
        return read_file(self.path)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        self._look_again()
        with self.path.open("rb") as file:
            file.seek(self._begins[index])
            return decode(file.readline())

    def _look_again(self) -> None:
        if state_of(self.path) != self._state:
            raise Busy("the draft was changed while it was read", fix="repeat the command")


def rows_of(path: Path) -> Sequence[Example]:
    """The rows of a draft's file: held where they are few and short, else one by one; none when it is missing."""
    if not path.exists():
        return []
    if path.stat().st_size > HELD:
        return FileRows(path)
    with path.open("rb") as file:
        few = sum(1 for _, _ in zip(range(MANY + 1), file, strict=False)) <= MANY
    return list(read_file(path)) if few else FileRows(path)


def compared(rows: FileRows, section: Config) -> list[Finding]:
    """What a comparison of the rows with each other finds: duplicates, contradictions, leaks and bias between the sides.

    Nearly the same questions that contradict are looked for among rows that share `leak_similarity` of their prompts' 3-grams.
    """
    pairs = list(near_pairs_of_file(rows.path, section.leak_similarity, of="prompt"))
    step = len(rows) // sides.SAMPLE + 1
    return [
        *_exact(rows),
        *_near(rows, section.near_duplicate),
        *_contradicting(rows, pairs, section.near_duplicate),
        *_leaks(rows, pairs, section.leak_similarity),
        *sides.side_bias([row for place, row in enumerate(rows) if place % step == 0]),
    ]


def _exact(rows: FileRows) -> list[Finding]:
    first: dict[int, int] = {}
    found = []
    for place, row in enumerate(rows):
        earlier = first.setdefault(int(row.fingerprint.rpartition(":")[2][:16], 16), place)
        if earlier != place:
            found.append(finding("exact_duplicate", row, "the same conversation", of=rows[earlier].id))
    return found


def _near(rows: FileRows, threshold: float) -> list[Finding]:
    best: dict[int, tuple[float, int]] = {}
    for i, j, similarity in near_pairs_of_file(rows.path, threshold, of="conversation"):
        if similarity > best.get(j, (0.0, 0))[0]:
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
        answers.append(hash(answer_key(row)))
    places = {place for group in asked.values() if len({answers[i] for i in group}) > 1 for place in group}
    places |= {place for i, j, _ in pairs if answers[i] != answers[j] for place in (i, j)}
    return contradictions.contradictions([rows[place] for place in sorted(places)], near)


def _leaks(rows: FileRows, pairs: Sequence[tuple[int, int, float]], threshold: float) -> list[Finding]:
    """Leaks of the rows to learn from that a held-out one may know: by a near prompt, a conversation or a user."""
    held = [row for row in rows if row.split == "eval"]
    sides = bytearray(row.split == "eval" for row in rows)
    near = {place for i, j, _ in pairs if sides[i] != sides[j] or not sides[i] for place in (i, j)}
    told = coverage.names_of(held)
    suspects = [
        row
        for place, row in enumerate(rows)
        if not sides[place] and (place in near or not told.isdisjoint(coverage.names_of([row])))
    ]
    return coverage.leaks(suspects, held, threshold, where="the held-out side")
