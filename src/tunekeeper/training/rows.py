"""Training rows: OpenAI chat JSONL in, conversations out; which of them a continued run learns. Standard library only."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError
from tunekeeper.core.ids import digest_json
from tunekeeper.text.answers import as_message, written_message

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
    rejected: str | None = None
    """The answer that the last one was preferred over; None where nobody compared."""
    further: tuple[str, ...] = ()
    """Other answers that it was preferred over as well."""

    @property
    def key(self) -> str:
        """Digest of messages and tools: equal conversations have equal keys."""
        return digest_json([list(self.messages), list(self.tools)])

    @property
    def other(self) -> Row:
        """The same conversation with the rejected answer at its end."""
        said = as_message(self.rejected or "", tools=bool(self.tools))
        return replace(self, messages=(*self.messages[:-1], said), rejected=None, further=())

    @property
    def compared(self) -> list[Row]:
        """The same conversation once for each answer that its last one was preferred over."""
        answers = () if self.rejected is None else (self.rejected, *self.further)
        return [replace(self, rejected=answer, further=()) for answer in answers]


def read_rows(path: Path) -> list[Row]:
    """The rows of a chat JSONL file (or of a dataset's blob), in order. Raises DataError naming file and line."""
    rows: list[Row] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append(_row(line, f"{path}:{number}", number))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"{path}: cannot be read: {why}", fix="name a JSONL file that you may read") from error
    if not rows:
        raise DataError(f"{path}: holds no rows", fix='write one {"messages": [...]} a line')
    return rows


def read_questions(path: Path) -> list[Row]:
    """Questions without their answers, `{id, messages, tools}` a line, as `collect` scores the answers to them."""
    with path.open(encoding="utf-8") as file:
        values = [json.loads(line) for line in file]
    return [Row(id=value["id"], messages=tuple(value["messages"]), tools=tuple(value.get("tools") or ())) for value in values]


def question(row: Row) -> list[dict[str, Any]]:
    """The row's messages before its last answer."""
    last = max(i for i, message in enumerate(row.messages) if message["role"] == "assistant")
    return list(row.messages[:last])


def last_only(row: Row) -> Row:
    """The row with only its last answer to learn."""
    last = len(row.messages) - 1
    return replace(
        row,
        messages=tuple(
            {**message, "weight": 0} if message["role"] == "assistant" and place < last else message
            for place, message in enumerate(row.messages)
        ),
    )


def of_objective(rows: list[Row], objective: str, *, needed: bool = True) -> list[Row]:
    """The rows that say something to the objective: all of them, or for preferences one for each rejected answer. Raises
    DataError when nothing is left and something is `needed`."""
    if objective != "dpo":
        return rows
    found = [each for row in rows for each in row.compared]
    if not found and needed:
        raise DataError(
            f"none of {len(rows)} rows has a rejected answer to learn a preference from",
            fix="collect preferences with `tunekeeper data review --model M`, or set training.objective to sft",
        )
    return found


def sides(row: Row) -> tuple[Row, Row]:
    """The two conversations of a preference: with the chosen and with the rejected answer."""
    return last_only(row), last_only(row.other)


def weight_of(message: dict[str, Any]) -> float:
    """How much each token of a message counts in the loss, 0 to 1: 0 for whatever is no answer."""
    if message["role"] != "assistant":
        return 0.0
    weight = message.get("weight")
    return 1.0 if weight is None else float(weight)


def learned_places(row: Row) -> list[int]:
    """Where the answers stand that the row has to learn."""
    return [place for place, message in enumerate(row.messages) if weight_of(message) > 0]


def one_each(row: Row) -> list[Row]:
    """The row once for each answer that it has to learn, up to that answer and with it alone to learn."""
    return [last_only(replace(row, messages=row.messages[: place + 1])) for place in learned_places(row)]


def nothing_fits(count: int, most: int) -> DataError:
    """What to say when every row is too long or weighs nothing."""
    return DataError(f"none of {count} rows has at most {most} tokens and a weight above 0", fix="raise training.max_tokens")


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
    value = _flat(value) if isinstance(value, dict) else value
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: no list of messages", fix='write {"messages": [{"role": …, "content": …}, …]}')
    messages = [message_of(message, where) for message in messages]
    tools = value.get("tools") or ()
    if not isinstance(tools, list | tuple) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{where}: tools must be a list of objects")
    if not any(message["role"] == "assistant" for message in messages):
        raise DataError(f"{where}: no assistant message to learn")
    weight = value.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise DataError(f"{where}: weight must be from 0 to 1, not {weight!r}")
    rejected = _rejected(value, messages, where)
    return Row(
        id=_id(value, number),
        messages=tuple(messages),
        tools=tuple(tools),
        weight=float(weight),
        rejected=rejected[0] if rejected else None,
        further=tuple(rejected[1:]),
    )


def message_of(message: Any, where: str) -> dict[str, Any]:
    """A message as templates take it: its content one text, also where it came in parts. Raises DataError."""
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise DataError(f"{where}: a message needs a role out of {', '.join(ROLES)}")
    weight = message.get("weight")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1):
        raise DataError(f"{where}: the weight of a message must be from 0 to 1, not {weight!r}")
    content = message.get("content")
    if isinstance(content, list):
        content = _joined(content)
        message = {**message, "content": content}
        if content is None:
            raise DataError(f"{where}: content of a {message['role']} message has a part that is no text")
    if not isinstance(content, str | None):
        raise DataError(f"{where}: content of a {message['role']} message must be text")
    if message["role"] == "assistant" and content is None and not message.get("tool_calls"):
        raise DataError(f"{where}: an assistant message has neither content nor tool_calls")
    return dict(message)


def _joined(parts: list[Any]) -> str | None:
    """The text of a content in parts, a line each, as servers join them; None where one of them is no text."""
    texts = [part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else part for part in parts]
    known = [text for text in texts if isinstance(text, str)]
    return "\n".join(known) if len(known) == len(texts) else None


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    """A preference row of OpenAI's shape (`input`, `preferred_output`, `non_preferred_output`) in ours; any other as it is."""
    asked, good, bad = value.get("input"), value.get("preferred_output"), value.get("non_preferred_output")
    if not isinstance(asked, dict) or not isinstance(asked.get("messages"), list) or not isinstance(good, list):
        return value
    rejected = written_message(bad[-1]) if isinstance(bad, list) and bad and isinstance(bad[-1], dict) else None
    metadata = value.get("metadata") if isinstance(value.get("metadata"), dict) else {}
    kept: dict[str, Any] = {key: value[key] for key in ("id", "weight") if key in value}
    return {
        **kept,
        "messages": [*asked["messages"], *good],
        "tools": asked.get("tools") or (),
        "metadata": {**(metadata or {}), "rejected": rejected},
    }


def _rejected(value: dict[str, Any], messages: list[dict[str, Any]], where: str) -> list[str]:
    """The answers that the last one was preferred over, each once."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("rejected") is None:
        return []
    more = metadata.get("rejected_more")
    found = [metadata["rejected"], *(each.get("answer") for each in more or () if isinstance(each, dict))]
    if not all(isinstance(answer, str) for answer in found) or messages[-1]["role"] != "assistant":
        raise DataError(f"{where}: metadata.rejected must be the text of another answer to the last question")
    return list(dict.fromkeys(answer for answer in found if answer != written_message(messages[-1])))


def _id(value: dict[str, Any], number: int) -> str:
    metadata = value.get("metadata")
    own = value.get("id") or (metadata.get("id") if isinstance(metadata, dict) else None)
    return str(own) if own else f"line {number}"
