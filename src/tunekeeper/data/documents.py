"""The rows of a `.json` document of one object: itself, what a list API answers, or a table as pandas and others write it.

pandas writes a table column by column unless told otherwise: read as one row, all questions would be a single one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunekeeper.data.columns import tells_both
from tunekeeper.data.outside import rows_of
from tunekeeper.data.rows import is_flat

_SIDES = frozenset(("train", "training", "test", "valid", "validation", "val", "eval", "evaluation", "dev"))
"""What the parts of a set are called: where a document holds nothing else, its rows are those of all parts."""


def rows_in(document: Any, mapping: Mapping[str, str]) -> list[Any] | None:
    """The rows of a document; None where it is neither an object nor a list. `mapping`: role → column."""
    found = rows_of(document)
    alone = found is not None and len(found) == 1 and found[0] is document
    if not alone or not isinstance(document, dict) or not is_flat(document, mapping):
        return found
    return _as_table(document, mapping) or found


def _as_table(document: dict[str, Any], mapping: Mapping[str, str]) -> list[Any] | None:
    """The rows of an object that holds a table; None for one that is a row."""
    values = list(document.values())
    if isinstance(document.get("columns"), list) and _are(document.get("data"), list):  # pandas, orient="split"
        return [dict(zip(map(str, document["columns"]), row, strict=False)) for row in document["data"]]
    if tells_both(map(str, document), mapping):
        return _by_column(document)
    if values and all(isinstance(value, dict) for value in values):  # orient="index": each row under its name
        return [value if "id" in value else {"id": name, **value} for name, value in document.items()]
    sides = {str(key).casefold().rpartition("_")[2] for key in document} <= _SIDES
    if sides and all(_are(value, list) and all(map(_is_pair, value)) for value in values):  # CLINC's, `oos_val` among them
        return [pair for each in values for pair in each]
    lists = [value for value in values if _are(value, dict)]
    if lists and sides:
        return [row for each in lists for row in each]
    if _are(document.get("rows"), dict):  # the viewer of Hugging Face
        lists = [[row["row"] if isinstance(row.get("row"), dict) else row for row in document["rows"]]]
    return lists[0] if len(lists) == 1 else None


def _by_column(document: dict[str, Any]) -> list[Any] | None:
    """The rows of a table written column by column, each a list or an object; None where that is not what it is."""
    first, *others = document.values()
    if isinstance(first, list) and all(isinstance(each, list) and len(each) == len(first) for each in others):
        return [dict(zip(document, cells, strict=True)) for cells in zip(*document.values(), strict=True)]
    if isinstance(first, dict) and all(isinstance(each, dict) and each.keys() == first.keys() for each in others):
        return [{column: cells[row] for column, cells in document.items()} for row in first]
    return None


def _is_pair(row: list[Any]) -> bool:
    return len(row) == 2 and all(isinstance(cell, str) for cell in row)


def _are(value: Any, kind: type) -> bool:
    """Whether a value is a list that holds something, all of a kind."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, kind) for each in value)
