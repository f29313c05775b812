"""Rows as a CSV table that a person opens in a spreadsheet, changes there, and imports again.

No cell begins like a formula: one that would is written with an apostrophe before it, which reading takes away again, so that
every value comes back as it was. Cells are all quoted: none falls apart where a list separator is another.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from tunekeeper.core.nouns.data import Example
from tunekeeper.data import drafts
from tunekeeper.text.fingerprints import answer_of, text_of

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet would evaluate."""
HEADER = (
    "id",
    "category",
    "created",
    "split",
    "system",
    "user",
    "assistant",
    "messages",
    "tools",
    "weight",
    "metadata",
    "source",
)
"""The columns. `messages` is filled where system, user and assistant do not say all of it; `split` and `source` are not read."""
_OWN = ("id", "category", "created")
BOM = b"\xef\xbb\xbf"
"""Mark of UTF-8, without which a spreadsheet takes a table that is opened by a double click for one of its own code page."""


def guarded(value: str) -> str:
    """The value as a cell that no spreadsheet evaluates: an apostrophe before what begins like a formula."""
    return f"'{value}" if value.lstrip("'").startswith(FORMULA) else value


def unguarded(cell: str) -> str:
    """The value of a cell that `guarded` made; any other cell as it is."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA) else cell


def write_csv(rows: Iterable[Example], out: Path, *, mark: bool = False) -> int:
    """Write a table of rows, whole or not at all; `mark`: begin with the mark of UTF-8. Returns how many there were."""
    count = 0

    def pieces() -> Iterator[bytes]:
        nonlocal count
        yield (BOM if mark else b"") + _line(HEADER)
        for example in rows:
            count += 1
            yield _line(map(guarded, cells_of(example)))

    drafts.write_whole(out, pieces())
    return count


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def cells_of(example: Example) -> list[str]:
    """The cells of a row, by `HEADER`."""
    asked = [m for m in example.messages if m.get("role") == "user"]
    system = [m for m in example.messages if m.get("role") == "system"]
    metadata = {key: value for key, value in example.metadata.items() if key != "id"}
    shown = {key: metadata.pop(key) for key in _OWN if isinstance(metadata.get(key), str) and metadata[key]}
    return [
        example.id,
        shown.get("category", ""),
        shown.get("created", ""),
        example.split,
        text_of(system[0].get("content")) if system else "",
        text_of(asked[-1].get("content")) if asked else "",
        answer_of(example.messages),
        "" if _is_plain(example) else _json(list(example.messages)),
        _json(list(example.tools)) if example.tools else "",
        "" if example.weight == 1 else repr(example.weight),
        _json(metadata) if metadata else "",
        example.source,
    ]


def _is_plain(example: Example) -> bool:
    """Whether the three columns say all of the conversation: one question and its answer, perhaps with an instruction."""
    roles = [m.get("role") for m in example.messages]
    texts = all(m.keys() == {"role", "content"} and isinstance(m["content"], str) and m["content"] for m in example.messages)
    return texts and roles in (["user", "assistant"], ["system", "user", "assistant"])


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def is_ours(cells: Mapping[str, Any]) -> bool:
    """Whether a row stands in a table that `write_csv` wrote, whatever columns somebody added."""
    return cells.keys() >= set(HEADER)


def row_of(cells: Mapping[str, Any], parse: Callable[[str], Any]) -> dict[str, Any]:
    """The row of such a table in OpenAI's shape: what somebody changed in its question or answer is what counts.

    `parse`: reads JSON text, and raises for what is none.
    """
    text = {name: "" if cells.get(name) is None else str(cells[name]) for name in cells}
    messages = parse(text["messages"]) if text["messages"] else []
    if not messages:
        messages = [
            {"role": role, "content": text[role]} for role in ("system", "user", "assistant") if role != "system" or text[role]
        ]
    elif isinstance(messages, list) and all(isinstance(m, dict) for m in messages):
        _take_change(messages, "user", text["user"])
        _take_change(messages, "assistant", text["assistant"])
    metadata = parse(text["metadata"]) if text["metadata"] else {}
    more = {name: value for name, value in text.items() if name not in HEADER and value}
    row: dict[str, Any] = {
        "messages": messages,
        "metadata": {**metadata, **more, **{key: text[key] for key in _OWN if text[key]}},
    }
    if text["tools"]:
        row["tools"] = parse(text["tools"])
    if text["weight"]:
        row["weight"] = parse(text["weight"])
    return row


def _take_change(messages: list[dict[str, Any]], role: str, cell: str) -> None:
    """Put a cell that is another than the last text of a role in its place; line ends are a spreadsheet's own matter."""
    last = next((m for m in reversed(messages) if m.get("role") == role), None)
    if last is None or not isinstance(last.get("content"), str) or (role == "assistant" and last is not messages[-1]):
        return
    if cell.replace("\r\n", "\n") != last["content"].replace("\r\n", "\n"):
        last["content"] = cell
