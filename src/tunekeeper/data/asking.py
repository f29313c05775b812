"""Which column is what, guessed, shown with the first rows and confirmed by a person before anything is read in earnest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.data.columns import as_option, check_mapping, guess_columns, named_by
from tunekeeper.data.formats import STDIN, Peek, peek

SAMPLES = 3
"""Rows that are shown."""
_WIDTH = 100
"""Characters shown of one cell."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Proposal:
    """How the columns of one file would be read."""

    name: str
    """Name of the file."""
    header: list[str]
    """Its columns."""
    columns: dict[str, str]
    """Field → column, as told and as guessed."""
    open: dict[str, list[str]]
    """Question or answer → the columns that could be it, the likeliest first; none for a field that no column could be."""
    samples: list[tuple[int, dict[str, Any]]]
    """The first rows with their lines."""


def _proposal(seen: Peek, mapping: Mapping[str, str]) -> _Proposal:
    columns, open_ = guess_columns(seen.header, mapping, seen.name)
    return _Proposal(name=seen.name, header=seen.header, columns=columns, open=open_, samples=seen.rows)


def _as_lines(found: _Proposal) -> list[str]:
    """What a person is shown: fields and columns, what is unsure, and the first rows as they would be read."""
    width = max(map(len, found.columns), default=0)
    lines = [f"{found.name}: {'columns would be read as' if found.columns else 'which columns are what?'}"]
    lines += [f"  {role:<{width}}  {column}" for role, column in found.columns.items()]
    for role, names in found.open.items():
        lines.append(f"  unsure: {role} could be {', '.join(names)}" if names else f"  missing: no column looks like {role}")
    rest = [name for name in found.header if name not in named_by(found.columns.values())]
    lines += [f"  kept beside each row: {', '.join(rest)}"] if rest else []
    shown: dict[str, str] = {
        role: found.columns[role] for role in ("system", "user", "context", "assistant", "category") if role in found.columns
    }
    if not all(found.open.values()):  # one is missing: the columns themselves say what they are
        shown = {name: name for name in found.header}
        width = max(map(len, shown), default=0)
    for line, row in found.samples:
        lines.append(f"row {line}")
        lines += [f"  {name:<{width}}  {_short(row, column)}" for name, column in shown.items()]
    return lines


def confirmed(
    paths: Sequence[Path], mapping: Mapping[str, str], ask: Callable[[str], str], say: Callable[[str], None]
) -> dict[Path, dict[str, str]]:
    """Path → field → column, as a person confirmed or changed it, for each file of flat rows that is not fully told.

    `ask`: shows a question and gives the answer. `say`: shows a line. Raises UserError when the person says no.
    """
    if {"user", "assistant"} <= mapping.keys():
        return {}
    answers: dict[Path, dict[str, str]] = {}
    for path in paths:
        seen = peek(path, mapping, SAMPLES) if path != STDIN else None
        if seen is not None:
            answers[path] = _settled(seen, dict(mapping), ask, say)
    return answers


def _settled(seen: Peek, told: dict[str, str], ask: Callable[[str], str], say: Callable[[str], None]) -> dict[str, str]:
    while True:
        found = _proposal(seen, told)
        for line in _as_lines(found):
            say(line)
        missing = [each for each, names in found.open.items() if not names]
        what = (
            f"which column is {missing[0]}? [{missing[0]}=COLUMN, or n] "
            if missing
            else "is that right? [y, n, or FIELD=COLUMN] "
        )
        answer = ask(what).strip()
        role, mark, column = (part.strip() for part in answer.partition("="))
        if mark:
            told = _edited(seen, told, {role: column}, say)
        elif answer.casefold() in ("n", "no", "q", "quit"):
            line = " ".join(as_option(role, column) for role, column in found.columns.items() if role in ("user", "assistant"))
            raise UserError(f"{seen.name}: not confirmed, nothing was imported", fix=line or "--map user=COLUMN")
        elif answer.casefold() not in ("y", "yes"):
            say(f"answer y, n, or for instance user={seen.header[0] if seen.header else 'COLUMN'}")
        elif missing:
            say(f"which column is {missing[0]}? answer {missing[0]}=COLUMN")
        else:
            return found.columns


def _edited(seen: Peek, told: dict[str, str], change: dict[str, str], say: Callable[[str], None]) -> dict[str, str]:
    """What was told, with the change where there are such a field and such a column."""
    try:
        check_mapping(change)
        guess_columns(seen.header, change, seen.name)
    except (UserError, DataError) as error:
        say(error.message)
        return told
    return told | change


def _short(row: Mapping[str, Any], column: str) -> str:
    names = [column] if column in row else column.split(",")
    parts = [" ".join(str(row.get(part) if row.get(part) is not None else "").split()) for part in names]
    text = ", ".join(parts)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
