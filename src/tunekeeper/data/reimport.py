"""Rows that an import brings again: what they tell anew beside their conversation, and which of them left the draft before.

Whoever imports the same export every week wants what people corrected, pruned or judged since to stay as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tunekeeper.core.nouns.data import Example
from tunekeeper.data.admission import said_at
from tunekeeper.data.examples import decode, encode, is_origin
from tunekeeper.data.preferences import REJECTED, taught_by, with_rejected
from tunekeeper.data.quality import READMITTED
from tunekeeper.data.shelf import Shelf
from tunekeeper.data.terms import REWRITTEN, fingerprints_of
from tunekeeper.text.fingerprints import fingerprint

LEFT = ("superseded", "contradiction", "outdated", "stale_vocabulary")
"""Kinds of findings for which a row leaves a draft that it stood in."""
_OURS = frozenset((*REJECTED, READMITTED, REWRITTEN, "sealed"))
"""Metadata that is noted here, not brought by a row."""

_ALWAYS = datetime.max.replace(tzinfo=UTC)
"""Up to when a row stays out whose words are out of use."""


class Left:
    """The conversations that left a draft: for their age, for a term, or for another row's answer, as long as that stands in the
    draft or left it in the same way."""

    def __init__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """`lines`: what imports and checks reported, dropped rows under `row`; none is held."""
        self._rows = dict[int, tuple[int, datetime]]()  # hash of a text → that of whose answer took its place, or 0; its date
        self._after = dict[int, int]()  # hash of a row's name → that of whose answer took its place, or 0
        for line in lines:
            row = line.get("row")
            if line.get("action") == "dropped" and line["kind"] in LEFT and isinstance(row, Mapping):
                known = Example(
                    id=str(line["id"]),
                    messages=tuple(row["messages"]),
                    fingerprint=fingerprint(tuple(row["messages"]), tuple(row.get("tools", ()))),
                    metadata=dict(row.get("metadata") or {}),
                )
                other = hash(line["of"]) if line["of"] is not None else 0
                last = _ALWAYS if line["kind"] == "stale_vocabulary" else said_at(known)
                self._rows |= {hash(each): (other, last) for each in fingerprints_of(known)}
                self._after[hash(known.id)] = other
        self._others, self._there = {other for other, _ in self._rows.values()}, {0}

    def stands(self, row: Example) -> None:
        """A row that the draft holds."""
        if (name := hash(row.id)) in self._others:
            self._there.add(name)

    def holds(self, row: Example) -> bool:
        """Whether a row left the draft and is to stay out, until somebody brings it back or says it later than it was said."""
        left = self._rows.get(hash(row.fingerprint))
        if left is None or said_at(row) > left[1]:
            return False
        after, seen = left[0], set[int]()
        while after not in self._there and after in self._after and after not in seen:
            seen.add(after)
            after = self._after[after]
        return after in self._there


def renewed(row: Example, again: Example) -> Example | None:
    """A row of the draft with what the same row tells anew, such as its date or its topic; None where that is nothing. What it
    does not tell any more stays."""
    told = {key: value for key, value in again.metadata.items() if key not in _OURS and not _is_known(row, key, value)}
    if not told:
        return None
    read = decode(encode(replace(again, metadata=told))).metadata  # as it will be read, where it holds more than texts
    metadata = {**row.metadata, **read}
    return None if metadata == row.metadata else replace(row, metadata=metadata)


def _is_known(row: Example, key: str, value: Any) -> bool:
    """Whether a field of metadata tells nothing anew of a row: what it says (be it as text, as tables do), or what an export of
    ours wrote beside it."""
    if key not in row.metadata:
        return value in (None, "") or is_origin(key, value) or (key == "id" and str(value) == row.id)
    return bool(row.metadata[key] == value or str(row.metadata[key]) == value)


def teach(shelf: Shelf, known: int, example: Example) -> tuple[set[str], bool]:
    """A preference about a conversation that is there: its rejected answer goes to that row. Gives where the row's rejected
    answers came from, and whether this one is new."""
    if "rejected" not in example.metadata:
        return set(), False
    shelf.file.flush()
    row = shelf.example(known)
    taught = with_rejected(row, example)
    if taught is not None:
        shelf.amend(known, taught)
    return taught_by(row), taught is not None
