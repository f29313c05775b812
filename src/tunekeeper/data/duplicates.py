"""Near duplicates and exact ones: rows that say nearly, or just, what an earlier row says.

Two texts are as similar as the Jaccard similarity of their word 3-grams (`text/shingles.py`); how pairs are found without
comparing everything with everything is told in `nearness.py`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import orjson

from tunekeeper.core.errors import DataError, NotFound, OutsideError, TunekeeperError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import nearfile
from tunekeeper.data.findings import Finding, finding
from tunekeeper.data.frames import without_frames
from tunekeeper.data.nearfile import END, PAIR, Of, conversation_of
from tunekeeper.data.nearness import near_pairs

READ_AT_ONCE = 4096 * PAIR.size
MANY = 20_000
"""Texts from which they are compared in another process."""


def similar_pairs(texts: Iterable[str], threshold: float) -> Iterator[tuple[int, int, float]]:
    """Places (i < j) of texts that are at least `threshold` (above 0, to 1) similar, with the similarity; without the frames that
    many of them share.

    Of texts with the same words, each is paired with the first of them only. Many texts are compared by a process of its own and
    not held by this one; raises OutsideError when that dies or needs too much memory.
    """
    rest = without_frames(texts)
    few = list(islice(rest, MANY))
    if len(few) < MANY:
        yield from near_pairs(few, threshold)
        return
    with tempfile.TemporaryFile() as file:  # without a name: nothing of it stays, whatever happens
        for text in chain(few, rest):
            asked = {"role": "user", "content": text.encode("utf-8", "replace").decode()}
            file.write(orjson.dumps({"messages": [asked]}, option=orjson.OPT_APPEND_NEWLINE))
        file.seek(0)
        yield from _apart(Path(f"/dev/fd/{file.fileno()}"), threshold, "prompt", name="the texts", keep=(file.fileno(),))


def near_pairs_of_file(path: Path, threshold: float, *, of: Of) -> Iterator[tuple[int, int, float]]:
    """Like `similar_pairs`, for the rows of a JSONL file of ours (places from 0), in a process of its own, so that this one
    stays small: a million rows take up to 3.5 GB there. `of`: what is compared, the whole conversation or the prompt.

    Raises NotFound without the file, DataError for a line that is no row, OutsideError when the process dies or needs more.
    """
    if not path.is_file():
        raise NotFound(f"{path} is not there")
    yield from _apart(path, threshold, of, name=path.name)


def _apart(path: Path, threshold: float, of: Of, *, name: str, keep: tuple[int, ...] = ()) -> Iterator[tuple[int, int, float]]:
    """The pairs as a child finds them. `keep`: open files that it reads. The child ends when this process or iterator does."""
    command = [sys.executable, "-m", "tunekeeper.data.nearfile", str(path), repr(threshold), of, name]
    with tempfile.TemporaryFile() as complaint:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaint, pass_fds=keep)
        try:
            whole = yield from _pairs_from(child)
        finally:
            child.kill()  # nothing where it has ended; else whoever asked wants no more
            child.communicate()
        if not whole:
            complaint.seek(0)
            raise _failure(name, child.returncode, complaint.read().decode(errors="replace").strip())


def _pairs_from(child: subprocess.Popen[bytes]) -> Generator[tuple[int, int, float], None, bool]:
    """The pairs that the child writes; True when it came to its end."""
    assert child.stdout is not None
    last = b""
    while piece := child.stdout.read(READ_AT_ONCE):
        piece = last + piece
        sure = max(0, len(piece) // PAIR.size - 1) * PAIR.size
        last = piece[sure:]  # the mark of the end, if this is the end
        yield from PAIR.iter_unpack(piece[:sure])
    child.wait()
    return last == END


def _failure(name: str, code: int, complaint: str) -> TunekeeperError:
    line = complaint.splitlines()[-1] if complaint else "it said nothing"
    if code == nearfile.BAD_DATA:
        return DataError(line)
    if code == nearfile.NO_MEMORY:
        return OutsideError(line, fix="spread the rows over several models")
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return OutsideError(
        f"looking for near duplicates in {name} {how}: {line}", fix="see that memory is free and repeat the command"
    )


def near_duplicates(examples: Sequence[Example], threshold: float) -> list[Finding]:
    """A finding for each later row that is nearly an earlier one; rows that merely resemble each other stay unmentioned."""
    best: dict[int, tuple[float, int]] = {}
    for i, j, similarity in similar_pairs([conversation_of(e.messages) for e in examples], threshold):
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
