"""Rows of an import: the rows themselves on disk, what is compared of them in memory, about 400 bytes a row.

Two rows are the same, ask the same or answer the same when 64 bits of a digest are the same: of ten million rows two wrongly are
with probability 0.000003.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.contradictions import said_key
from tunekeeper.data.examples import GROUP_KEYS, created_of, decode, encode, named, topic_of
from tunekeeper.data.split import Rows, group_number, prompt_number
from tunekeeper.text.fingerprints import normalise, prompt_key, text_of

_UNDATED = float("nan")


@dataclass(slots=True)
class Shelf:
    """Rows by place, from 0 in the order they were added."""

    file: BinaryIO
    """Where their lines lie."""
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    """Where each line begins, and the end of the last."""
    ids: list[str] = field(default_factory=list)
    """Their ids."""
    sources: list[str] = field(default_factory=list)
    """Where they come from."""
    prints: array[int] = field(default_factory=lambda: array("Q"))
    """Digests of their fingerprints."""
    questions: array[int] = field(default_factory=lambda: array("Q"))
    """Digests of instructions, prompt and tools: rows that share one ask the same."""
    answers: array[int] = field(default_factory=lambda: array("Q"))
    """Digests of their answers as they are compared."""
    prompts: array[int] = field(default_factory=lambda: array("Q"))
    """Digests of their prompts as they are compared."""
    groups: dict[str, array[int]] = field(default_factory=lambda: {key: array("Q") for key in GROUP_KEYS})
    """Kind of group → digest of the group's name, 0 for a row in none."""
    created: array[float] = field(default_factory=lambda: array("d"))
    """Their dates in Unix seconds; NaN for none."""
    topics: array[int] = field(default_factory=lambda: array("q"))
    """Their topics, as places in `topic_names`."""
    topic_names: dict[str, int] = field(default_factory=dict)
    """Topic → its number."""
    renamed: set[int] = field(default_factory=set)
    """Places of rows whose id is another than their line says."""
    amended: dict[int, int] = field(default_factory=dict)
    """Place of a row whose metadata came to be another → place of the row that has it."""

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, example: Example) -> int:
        """Put a row down; gives its place. Raises DataError for one that cannot be written."""
        line = encode(example)
        self.file.write(line)
        self.starts.append(self.starts[-1] + len(line))
        self.ids.append(example.id)
        self.sources.append(example.source)
        self.prints.append(print_of(example.fingerprint))
        prompt = prompt_key(example.messages)
        self.prompts.append(prompt_number(prompt))
        system = "\n".join(text_of(m.get("content")) for m in example.messages if m.get("role") in ("system", "developer"))
        tools = json.dumps(example.tools, sort_keys=True) if example.tools else ""
        self.questions.append(_digest("\x00".join((_normalised(system), prompt, tools))))
        self.answers.append(_digest(said_key(example)))
        for key, numbers in self.groups.items():
            numbers.append(group_number(example.metadata.get(key)))
        date = created_of(example.metadata)
        self.created.append(_UNDATED if date is None else date.timestamp())
        self.topics.append(self.topic_names.setdefault(topic_of(example), len(self.topic_names)))
        return len(self.ids) - 1

    def rename(self, place: int, id: str) -> None:
        """Give a row another id."""
        self.ids[place] = id
        self.renamed.add(place)

    def tell_apart(self, places: Iterable[int]) -> None:
        """Give rows that share an id `#2`, `#3` …, so that each can be named."""
        seen: Counter[str] = Counter()
        for place in places:
            id = self.ids[place]
            seen[id] += 1
            if seen[id] > 1:
                self.rename(place, f"{id}#{seen[id]}")

    def amend(self, place: int, example: Example) -> None:
        """Put a row with other metadata in the place of one; what it says stays."""
        self.amended[place] = lies = self.add(example)
        self.created[place], self.topics[place] = self.created[lies], self.topics[lies]

    def line(self, place: int) -> bytes:
        """The canonical line of a row, without its side. What was added must have been flushed."""
        lies = self.amended.get(place, place)
        start = self.starts[lies]
        line = os.pread(self.file.fileno(), self.starts[lies + 1] - start, start)
        return encode(named(decode(line), self.ids[place])) if place in self.renamed else line

    def lines(self, places: Iterable[int]) -> Iterator[bytes]:
        """The lines of rows, one after the other."""
        return (self.line(place) for place in places)

    def is_just(self, places: npt.NDArray[np.int64]) -> bool:
        """Whether the file holds just these rows, in this order."""
        return len(places) == len(self) and not self.renamed and bool((np.diff(places) == 1).all())

    def rows(self, places: npt.NDArray[np.int64]) -> Rows:
        """What the split has to know of rows."""
        return Rows(
            prompts=np.frombuffer(self.prompts, dtype=np.uint64)[places],
            groups=tuple(np.frombuffer(numbers, dtype=np.uint64)[places] for numbers in self.groups.values()),
            topics=np.frombuffer(self.topics, dtype=np.int64)[places],
            topic_names=tuple(self.topic_names),
        )

    def example(self, place: int) -> Example:
        """A row."""
        return decode(self.line(place))


def print_of(fingerprint: str) -> int:
    """64 bits of a fingerprint `sha256:<hex digits>`."""
    return int(fingerprint[7:23], 16)


def _digest(text: str) -> int:
    """64 bits of a text's digest, never 0."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


@lru_cache(maxsize=64)
def _normalised(system: str) -> str:
    return normalise(system)
