"""What one file says of the rows of another: it waits until the row comes that it speaks of.

* The messages of OpenAI's stored completions (`GET /v1/chat/completions/{id}/messages`), each by the completion's id.
* Demonstrations of TensorZero, by the inference; corrections of Langfuse, by the observation or the trace.

The words wait in a file beside what is read, so that they take no more memory than the names of what they speak of.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, BinaryIO

import orjson

from tunekeeper.core.errors import DataError
from tunekeeper.data import langfuse, tensorzero
from tunekeeper.data.conversations import Unreadable

_MESSAGE = re.compile(r"(chatcmpl-.+)-(\d+)")
"""The id of a message of a stored completion: that of the completion, and its place."""
_COMPLETION = "chat.completion"
_SPEAKING = ("role", "inference_id", *langfuse.OF_SCORE)
"""Keys of which each row has one that speaks of another."""


def speaks_of(row: Any) -> tuple[str, ...]:
    """The ids of the rows elsewhere that a row speaks of; empty for one that stands for itself."""
    if not isinstance(row, dict) or row.keys().isdisjoint(_SPEAKING):
        return ()
    told = _MESSAGE.fullmatch(row["id"]) if "role" in row and isinstance(row.get("id"), str) else None
    return (told[1],) if told else tensorzero.demonstrates(row) or langfuse.corrects(row)


def _named(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids under which others may speak of a row."""
    if row.get("object") == _COMPLETION and isinstance(row.get("id"), str) and not row.get("messages"):
        return (row["id"],)
    return tensorzero.named_by(row) or langfuse.named_by(row)


def begins_with_words(row: Any) -> bool:
    """Whether a file that begins with this row says something of rows elsewhere."""
    return bool(speaks_of(row)) or (isinstance(row, dict) and langfuse.is_score(row))


class Words:
    """What was said of rows that are still to come."""

    def __init__(self, file: BinaryIO) -> None:
        """`file`: where they wait, as JSON; it may hold other things already, whose end is where it stands."""
        self._file = file
        self._places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._used: set[str] = set()
        self._others = False

    def put(self, row: Any) -> bool:
        """Put a row aside that speaks of another one; False for one that stands for itself. Raises Unreadable for one that cannot
        be kept."""
        ids = speaks_of(row)
        if not ids:
            self._others = True
            return False
        try:
            text = orjson.dumps(row)
        except TypeError as error:  # a number of more than 64 bits, half a character
            raise Unreadable(f"what the row says of {ids[0]!r} cannot be kept: {error}") from None
        start = self._file.seek(0, 2)
        self._file.write(text)
        for id in ids:
            self._places[id].append((start, len(text)))
        return True

    def joined(self, row: Any) -> Any:
        """A row with what was said of it; as it is where nothing was."""
        if not self._places or not isinstance(row, dict):
            return row
        id = next((id for id in _named(row) if id in self._places), None)
        if id is None:
            return row
        self._used.add(id)
        said = [self._at(*place) for place in self._places[id]]
        if row.get("object") == _COMPLETION:
            return {**row, "messages": sorted({m["id"]: m for m in said}.values(), key=_place)}
        return {**row, tensorzero.DEMONSTRATED if "function_name" in row else langfuse.CORRECTED: said[-1]}

    def unheard(self) -> tuple[str, ...]:
        """What was said of rows that did not come, in a sentence. Raises DataError where no other row came at all."""
        missing = len(self._places.keys() - self._used)
        if not missing:
            return ()
        why = f"messages, corrections or demonstrations of {missing} of {len(self._places)} rows, which are in none of the files"
        if not self._others:
            raise DataError(why, fix="name the file of those rows too: tunekeeper data import ROWS.json SAID.json --model NAME")
        return (why,)

    def _at(self, start: int, length: int) -> Any:
        self._file.seek(start)
        return orjson.loads(self._file.read(length))


def _place(message: Mapping[str, Any]) -> int:
    told = _MESSAGE.fullmatch(message["id"])
    return int(told[2]) if told else 0
