"""The next draft of a model, of any size: its rows lie in a file, those that have a side keep it, new ones are dealt out."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import starmap
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson

from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data import drafts, filerows, lines, versions
from tunekeeper.data.archives import nameless
from tunekeeper.data.config import Config
from tunekeeper.data.split import OPEN, SIDE, check_share, deal, numbers_of
from tunekeeper.workspace import Workspace


class Came(Enum):
    """How a row came into the next draft."""

    STAYED = 0
    """It stands in the draft as it is."""
    CHANGED = 1
    """It takes the place of a row of the draft, with its side."""
    NEW = 2
    """It has no side yet, unless the newest version gave it one."""


Put = tuple[bytes, Came]
"""A line as a draft has it, with its side, and how it came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NextDraft:
    """The rows of a draft before they are written in the place of the one that is there."""

    rows: Sequence[Example]
    """They, in order; the side of a new one is that of `sides`."""
    came: array[int]
    """Places of those that changed or are new."""
    sides: Mapping[int, Split]
    """Place of a new row → its side."""
    path: Path
    """The file in which they lie."""

    def lines(self) -> Iterator[bytes]:
        """The lines of the draft."""
        with self.path.open("rb") as file:
            for place, line in enumerate(file):
                side = self.sides.get(place)
                yield line if side is None else lines.for_draft(lines.row_of(line)[0], side)


@contextmanager
def working(ws: Workspace, model: str) -> Iterator[Callable[[], Iterator[bytes]]]:
    """What gives the lines of the draft from the first on, each time it is called, whatever is put in its place meanwhile; those
    of the newest version where the draft holds none."""
    if versions.has_draft(ws, model):
        with versions.draft_path(ws, model).open("rb") as file:
            yield lambda: _from_the_first(file)
        return
    newest = versions.latest(ws, model)
    yield lambda: iter(()) if newest is None else starmap(lines.for_draft, versions.read_lines(ws, newest))


def _from_the_first(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    yield from iter(file.readline, b"")  # not from the file itself, which would be closed where somebody stops


@contextmanager
def next_draft(ws: Workspace, model: str, put: Iterable[Put], section: Config) -> Iterator[NextDraft]:
    """The draft of these lines, in a file that vanishes with this process. Raises ConfigError, DiskFull."""
    check_share(model, section.eval_share)
    came, new = array("q"), array("q")
    with nameless(ws.root) as (file, path):
        for place, (line, how) in enumerate(put):
            file.write(line)
            if how is not Came.STAYED:
                came.append(place)
            if how is Came.NEW:
                new.append(place)
        file.flush()
        rows = filerows.rows_of(path)
        yield NextDraft(rows=rows, came=came, sides=_dealt(ws, model, rows, new, section), path=path)


def save(ws: Workspace, model: str, put: Iterable[Put], section: Config) -> int:
    """Make these lines the draft; the caller holds its lock. Returns how many there are. Raises ConfigError, DiskFull."""
    with next_draft(ws, model, put, section) as made:
        drafts.save_lines(ws, model, made.lines())
        return len(made.rows)


def _dealt(ws: Workspace, model: str, rows: Sequence[Example], new: Sequence[int], section: Config) -> dict[int, Split]:
    """The sides of the new rows: what the newest version gave them, else dealt out."""
    if not new:
        return {}
    placed = np.fromiter((SIDE.index(row.split) for row in rows), np.int8, len(rows))
    places = np.array(new, np.int64)
    placed[places] = OPEN
    newest = versions.latest(ws, model)
    if newest is not None:
        names = {rows[place].id: place for place in new}
        for line, side in versions.read_lines(ws, newest):
            if (place := names.get(orjson.loads(line)["id"])) is not None:
                placed[place] = SIDE.index(side)
    if OPEN in placed:
        near = section.near_duplicate
        pairs = filerows.near_pairs(rows, min(near, section.leak_similarity), of="prompt")
        placed = deal(numbers_of(rows), placed, pairs, section.eval_share, near=near).sides
    return {place: SIDE[side] for place, side in zip(new, placed[places].tolist(), strict=True)}
