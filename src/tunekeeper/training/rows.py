"""Training rows: OpenAI chat JSONL in, conversations out; which of them a continued run learns. Standard library only."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.core.ids import digest_json

ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One conversation to learn from."""

    id: str
    """The row's own id, else `line <number>`."""
    messages: tuple[dict[str, Any], ...]
    """OpenAI chat messages; at least one assistant message."""
    tools: tuple[dict[str, Any], ...] = ()
    """Tool definitions."""
    weight: float = 1.0
    """Chance of being used in an epoch, 0 to 1."""

    @property
    def key(self) -> str:
        """Digest of messages and tools: equal conversations have equal keys."""
        return digest_json([list(self.messages), list(self.tools)])


def read_rows(path: Path) -> list[Row]:
    """The rows of a chat JSONL file (or of a dataset's blob), in order. Raises DataError naming file and line."""
    rows: list[Row] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append(_row(line, f"{path}:{number}", number))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not rows:
        raise DataError(f"{path}: holds no rows", fix='write one {"messages": [...]} a line')
    return rows


def select(rows: Sequence[Row], known: Sequence[Row], replay: float, seed: int) -> tuple[list[Row], int]:
    """What a continued run learns: every row not in `known`, and `replay` times as many of those that are, drawn by `seed`.

    Returns (rows in their order, how many of them are old). With no new row at all every row is returned, all old.
    """
    before = {row.key for row in known}
    old = [i for i, row in enumerate(rows) if row.key in before]
    fresh = [i for i, row in enumerate(rows) if row.key not in before]
    if not fresh:
        return list(rows), len(rows)
    drawn = random.Random(seed).sample(old, min(len(old), round(replay * len(fresh))))
    return [rows[i] for i in sorted((*fresh, *drawn))], len(drawn)


def _row(line: str, where: str, number: int) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: no list of messages", fix='write {"messages": [{"role": …, "content": …}, …]}')
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise DataError(f"{where}: a message needs a role out of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str | None) and not isinstance(message.get("content"), list):
            raise DataError(f"{where}: content of a {message['role']} message must be text")
    if not any(message["role"] == "assistant" for message in messages):
        raise DataError(f"{where}: no assistant message to learn")
    weight = value.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise DataError(f"{where}: weight must be from 0 to 1, not {weight!r}")
    return Row(id=_id(value, number), messages=tuple(messages), tools=tuple(value.get("tools") or ()), weight=float(weight))


def _id(value: dict[str, Any], number: int) -> str:
    metadata = value.get("metadata")
    own = value.get("id") or (metadata.get("id") if isinstance(metadata, dict) else None)
    return str(own) if own else f"line {number}"
