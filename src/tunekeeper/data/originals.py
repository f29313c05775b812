"""What a format of other trainers cannot say, carried beside it, so that an export which is imported again loses nothing.

Weight and metadata have keys of their own. Where the format would give other messages back (names of calls, parts, speakers it
does not know), the messages stand as JSON text under `original`; they count again as long as they still say what the row says:
what somebody changed in the row is what comes in. Texts rather than objects: whoever loads such a file into a table has one type
for a column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.conversations import Conversation

KEY = "original"
"""Where the messages stand that a row alone does not give back."""


def with_rest(row: dict[str, Any], example: Example, read: Callable[[dict[str, Any]], Conversation]) -> dict[str, Any]:
    """The row of an example with what it does not say. `read`: how an import reads such a row."""
    metadata = {key: value for key, value in example.metadata.items() if key != "id"}
    row |= {"weight": example.weight} if example.weight != 1.0 else {}
    row |= {"metadata": _text(metadata)} if metadata else {}
    if read(row).messages != example.messages:
        row[KEY] = _text(list(example.messages))
    return row


def original_of(row: Mapping[str, Any], says: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]] | None:
    """The messages that a row was written from, where `says` them to be what it still says; None where there are none."""
    found = row.get(KEY)
    if not isinstance(found, list) or not found or not all(isinstance(message, dict) for message in found):
        return None
    try:
        return found if says(found) else None
    except (DataError, AttributeError, TypeError):  # not written by us
        return None


def keys_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a row is such messages, or was: no metadata of it."""
    return (KEY,) if isinstance(row.get(KEY), list) else ()


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
