"""Blame: the life of one example over the versions of a model: when it came in, out of what, who froze it, when it was edited."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import orjson

from tunekeeper.core.errors import NotFound
from tunekeeper.core.nouns.data import DatasetVersion, Example
from tunekeeper.data import lines, versions
from tunekeeper.data.differences import relabel, same_content
from tunekeeper.data.difftext import relabelled, word_changes
from tunekeeper.data.examples import decode, question_key
from tunekeeper.data.lines import Line
from tunekeeper.text.fingerprints import answer_of, prompt_of
from tunekeeper.workspace import Workspace

What = Literal["added", "edited", "metadata", "moved", "removed"]
_REQUESTS = ("inference:", "incident:")


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened to an example."""

    what: What
    """added, edited (what it says, its tools or its weight), metadata (that alone), moved (to the other side), removed."""
    version: str
    """The version in which it first shows; `draft` for what is not frozen yet."""
    at: datetime | None
    """When that version was frozen; None for the draft."""
    author: str | None
    """Who froze it; None for the draft."""
    id: str
    """The example's name there."""
    source: str
    """Where that content came from."""
    said_by: str | None = None
    """Who gave the answer, where the row says: a reviewer or whoever corrected."""
    detail: str = ""
    """Of an edit, the change word by word; of metadata, from what to what; of a move, from side to side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blame:
    """Where an example came from."""

    id: str
    """Its name now."""
    source: str
    """Where its content came from: file and line, request, incident."""
    request: str | None
    """The request it was made from; None where it was not."""
    events: tuple[Event, ...]
    """What happened to it, oldest first."""


def blame(ws: Workspace, id: str, model: str, *, version: str | None = None) -> Blame:
    """The life of the example `id` of `model`, up to `version` (default: the newest one, then the draft).

    A row that is named by its content gets another name when its answer is edited; it is followed by its question. Reads every
    version once. Raises NotFound.
    """
    tip = versions.latest(ws, model) if version is None else versions.resolve(ws, version, model)
    line = versions.lineage(ws, tip)
    places = [_Place(partial(versions.read_lines, ws, each)) for each in line]
    if version is None:
        places.append(_Place(partial(lines.of_draft, versions.draft_path(ws, model))))
    states = follow(id, [(place.find, place.asks) for place in places])
    last = next((state for state in reversed(states) if state is not None), None)
    if last is None:
        raise NotFound(
            f"no version of {model} up to {version or 'the draft'} has an example {id}", fix="tunekeeper data diff A B"
        )
    events = tuple(_events(ws, [*line, *([None] if version is None else [])], states))
    return Blame(id=last.id, source=last.source, request=_request(last), events=events)


Find = Callable[[str], Example | None]
"""The example with this id."""
Asks = Callable[[Example], Example | None]
"""The content-named example that asks what this one asks."""


def follow(id: str, places: Sequence[tuple[Find, Asks]]) -> list[Example | None]:
    """What the example was in each place, oldest first; None where it was not there.

    It is looked for by `id` from the newest place down, and from there to both ends by its name, or by its question where it is
    named by its content.
    """
    found: list[Example | None] = [None] * len(places)
    anchor = next((i for i in range(len(places) - 1, -1, -1) if places[i][0](id) is not None), None)
    if anchor is None:
        return found
    for step in (range(anchor, -1, -1), range(anchor, len(places))):
        known: Example | None = None
        for i in step:
            find, asks = places[i]
            found[i] = find(id if known is None else known.id)
            if found[i] is None and known is not None and known.id.startswith("ex_"):
                found[i] = asks(known)
            known = found[i] or known
    return found


class _Place:
    """Rows as lines, looked through without decoding those that cannot be meant."""

    def __init__(self, read: Callable[[], Iterable[Line]]) -> None:
        """`read`: gives all of them, each time it is called."""
        self._read = read

    def find(self, id: str) -> Example | None:
        """The row of this name."""
        rows = (row for row in self._rows(b'"id":' + orjson.dumps(id)) if row.id == id)
        return next(rows, None)

    def asks(self, example: Example) -> Example | None:
        """The content-named row that asks what `example` asks."""
        key = question_key(example)
        rows = (row for row in self._rows(b'"id":"ex_') if row.id.startswith("ex_") and question_key(row) == key)
        return next(rows, None)

    def _rows(self, mark: bytes) -> Iterator[Example]:
        return (decode(line, side) for line, side in self._read() if mark in line)


def _events(ws: Workspace, places: Sequence[DatasetVersion | None], states: Sequence[Example | None]) -> Iterator[Event]:
    before: Example | None = None
    for place, now in zip(places, states, strict=True):
        for what, detail in _changes(before, now):
            row = now or before
            if row is None:
                continue
            yield Event(
                what=what,
                version="draft" if place is None else place.id,
                at=None if place is None else place.created,
                author=None if place is None else versions.author_of(ws, place),
                id=row.id,
                source=row.source,
                said_by=_said_by(row) if what in ("added", "edited") else None,
                detail=detail,
            )
        before = now


def _changes(before: Example | None, now: Example | None) -> Iterator[tuple[What, str]]:
    if before is None or now is None:
        if now is not None:
            yield "added", ""
        elif before is not None:
            yield "removed", ""
        return
    if not same_content(before, now):
        asked = word_changes(prompt_of(before.messages), prompt_of(now.messages))
        yield "edited", f"{asked} => {word_changes(answer_of(before.messages), answer_of(now.messages))}"
    elif changed := relabelled(relabel(before, now)):
        yield "metadata", ", ".join(changed)
    if before.split != now.split:
        yield "moved", f"{before.split} -> {now.split}"


def _said_by(row: Example) -> str | None:
    named = row.metadata.get("said_by") or row.metadata.get("reviewer")
    return None if named is None else str(named)


def _request(row: Example) -> str | None:
    if not row.source.startswith(_REQUESTS):
        return None
    name = row.source.rpartition(":")[2]
    return name if name.startswith("req_") else None
