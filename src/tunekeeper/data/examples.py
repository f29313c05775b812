"""Examples: made from conversations, written as canonical JSONL and read back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.data import Example, Split
from tunekeeper.data.thoughts import spoken
from tunekeeper.store.moments import moment_of
from tunekeeper.text.fingerprints import answer_of, fingerprint, normalise, prompt_key, text_of

if TYPE_CHECKING:
    from tunekeeper.data.conversations import Conversation

TOPIC_KEYS = ("category", "topic", "intent", "label")
TALK_KEYS = ("conversation_id", "conversation", "session_id", "thread_id")
USER_KEYS = ("user_id", "user", "customer_id", "account_id")
GROUP_KEYS = (*TALK_KEYS, *USER_KEYS)
"""Metadata whose value rows of one conversation or one user share: they stay on one side."""
NOBODY = ("", "0", "-1", "none", "null", "unknown", "anonymous", "guest", "n/a", "false", "true")
"""Values that name no user and no conversation."""
ORIGINS = ("file:", "inference:", "incident:", "review:")
"""What the source of a row begins with."""
_BY_CONTENT = re.compile(r"ex_[0-9a-f]{16}(#[0-9]+)?")
"""How a row is named by its content."""
LINE = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
"""How a row is written: sorted keys, a line end."""


def make_example(conversation: Conversation, *, source: str, system: str | None = None, id: str | None = None) -> Example:
    """The example of a conversation. `system`: put first when the conversation has no system message of its own."""
    messages = conversation.messages
    if system and not any(m.get("role") in ("system", "developer") for m in messages):
        messages = ({"role": "system", "content": system}, *messages)
    digest = fingerprint(messages, conversation.tools)
    own = id or conversation.metadata.get("id")
    metadata = dict(conversation.metadata)
    # Our own name for it, which an export wrote down; be it for what it said before.
    if _BY_CONTENT.fullmatch(str(metadata.get("id"))):
        del metadata["id"]
    return Example(
        id=str(own) if own not in (None, "") else f"ex_{digest.removeprefix('sha256:')[:16]}",
        messages=messages,
        fingerprint=digest,
        source=source,
        metadata=metadata,
        tools=conversation.tools,
        weight=conversation.weight,
    )


def named(example: Example, id: str) -> Example:
    """The row under another name, which its metadata says as well where it says one, as it does when it was exported."""
    if example.id == id:
        return example
    metadata = {**example.metadata, "id": id} if "id" in example.metadata else example.metadata
    return replace(example, id=id, metadata=metadata)


def encode(example: Example, *, with_split: bool = False) -> bytes:
    """One line of JSON: sorted keys, UTF-8, a line end. `messages` and `metadata` are what other trainers read."""
    row: dict[str, Any] = {
        "id": example.id,
        "messages": example.messages,
        "fingerprint": example.fingerprint,
        "source": example.source,
    }
    row["metadata"] = example.metadata
    if example.tools:
        row["tools"] = example.tools
    if example.weight != 1.0:
        row["weight"] = example.weight
    if with_split:
        row["split"] = example.split
    try:
        return orjson.dumps(row, option=LINE)
    except TypeError as error:
        raise DataError(f"row {example.id}: cannot be written as JSON: {error}") from None


def decode(line: bytes, split: str | None = None) -> Example:
    """The example of a line that `encode` wrote; `split` where the line does not say. Raises DataError for one that is none."""
    try:
        row = orjson.loads(line)
        return Example(
            id=row["id"],
            messages=tuple(row["messages"]),
            fingerprint=row["fingerprint"],
            split=row.get("split", split or "train"),
            source=row.get("source", ""),
            metadata=row.get("metadata", {}),
            tools=tuple(row.get("tools", ())),
            weight=row.get("weight", 1.0),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError("a stored row is damaged", fix="tunekeeper store verify, which says where it stands") from None


class Messages(Sequence[dict[str, Any]]):
    """The messages of a row as they are written: of most rows that differ nobody looks at them."""

    __slots__ = ("written",)

    def __init__(self, written: msgspec.Raw) -> None:
        """`written`: a JSON list of objects."""
        self.written = written

    def __getitem__(self, place: Any) -> Any:
        return self._made()[place]

    def __len__(self) -> int:
        return len(self._made())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._made())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._made())

    def _made(self) -> list[dict[str, Any]]:
        return msgspec.json.decode(self.written, type=list[dict[str, Any]])


class Compared(msgspec.Struct, gc=False):
    """A row as it is compared with others: an `Example` by those fields that count, made in a sixth of the time."""

    id: str
    fingerprint: str
    written: msgspec.Raw = msgspec.field(name="messages")
    split: Split = "train"
    told: msgspec.Raw = msgspec.field(name="metadata", default=msgspec.Raw(b"{}"))
    offered: msgspec.Raw = msgspec.field(name="tools", default=msgspec.Raw(b"[]"))
    weight: float = 1.0

    @property
    def messages(self) -> Messages:
        """As of an `Example`."""
        return Messages(self.written)

    @property
    def metadata(self) -> dict[str, Any]:
        """As of an `Example`."""
        return msgspec.json.decode(self.told, type=dict[str, Any])

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """As of an `Example`."""
        return msgspec.json.decode(self.offered, type=tuple[dict[str, Any], ...])


Row = Example | Compared
_COMPARED = msgspec.json.Decoder(Compared)
_ANSWER = b'"role":"assistant"'
_LAST = b',{"content":'
"""How a message begins that is not the first one, as rows are written; in a text its quotes would stand behind a backslash."""


def compared(text: bytes, sides: Iterator[Split]) -> Sequence[Row]:
    """The rows of lines that `encode` wrote without their side, to be compared. `sides`: that of each; as many are taken."""
    try:
        rows = _COMPARED.decode_lines(text)
    except msgspec.ValidationError:  # somebody gave one e.g. a number for its id
        return [decode(line, side) for line, side in zip(text.split(b"\n")[:-1], sides, strict=False)]
    for row, side in zip(rows, sides, strict=False):
        row.split = side
    return rows


def written(row: Row) -> msgspec.Raw:
    """The messages of a row as JSON."""
    return row.written if isinstance(row, Compared) else msgspec.Raw(msgspec.json.encode(row.messages))


def asks_alike(a: Row | None, b: Row) -> bool:
    """Whether two rows differ in their last answer at most, as most edited rows do."""
    if a is None:
        return False
    if isinstance(a, Compared) and isinstance(b, Compared):
        before, after = bytes(a.written), bytes(b.written)
        last = after.rfind(_LAST)
        if last > 0 and before.rfind(_LAST) == last and before.startswith(after[:last]) and _ANSWER in after[last:]:
            return True
    one, other = list(a.messages), list(b.messages)
    return one[:-1] == other[:-1] and other[-1].get("role") == "assistant"


def same_beside(a: Row, b: Row) -> bool:
    """Whether two rows have the same metadata."""
    return (isinstance(a, Compared) and isinstance(b, Compared) and a.told == b.told) or a.metadata == b.metadata


def same_rest(a: Row, b: Row) -> bool:
    """Whether two rows that were read to be compared have the same metadata, tools and weight; of others nothing is said."""
    if not isinstance(a, Compared) or not isinstance(b, Compared):
        return False
    return a.told == b.told and a.offered == b.offered and a.weight == b.weight


def same_tools(a: Row, b: Row) -> bool:
    """Whether two rows offer the same tools."""
    return (isinstance(a, Compared) and isinstance(b, Compared) and a.offered == b.offered) or a.tools == b.tools


def read_file(path: Path, split: str | None = None) -> Iterator[Example]:
    """The examples of a JSONL file of ours, as a stream; none when the file is missing. Raises DataError for a damaged line."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                example = decode(line, split)
            except DataError:
                raise damaged(path, number) from None
            yield example


def damaged(path: Path, line: int) -> DataError:
    """What is to be said of a line of a file of ours that nobody can read."""
    return DataError(f"{path}: line {line} is damaged", fix="put the line right or take it out, or restore a backup")


def is_origin(key: str, value: object) -> bool:
    """Whether a field of metadata is the `source` that an export of ours wrote for the row's own."""
    return key == "source" and isinstance(value, str) and value.startswith(ORIGINS)


def answer_key(example: Example) -> str:
    """The answer as it is compared: JSON by value, text normalised."""
    return comparable(answer_of(example.messages))


def comparable(answer: str) -> str:
    """An answer as it is compared, without its thoughts: JSON by value, text normalised."""
    answer = spoken(answer)
    value = parsed(answer)
    if value is None:
        return normalise(answer)
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def parsed(answer: str) -> Any:
    """The JSON object or list of an answer; None when it is none."""
    text = answer.strip()
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text, parse_float=_number)
    except (ValueError, RecursionError):
        return None


def _number(written: str) -> float | int:
    """A number of JSON: 1.0 is what 1 is."""
    number = float(written)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def question_key(example: Example) -> str:
    """What two rows must share to ask the same: system message and prompt, normalised, and the tools."""
    return question_in(example.messages, example.tools)


def question_in(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> str:
    """`question_key` for a row by its parts."""
    system = "\n".join(text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer"))
    called = json.dumps(tools, sort_keys=True) if tools else ""
    return "\x00".join((normalise(system), prompt_key(messages), called))


def tells(value: object) -> bool:
    """Whether a value names one conversation or one user: a word for nobody, and what redaction left, names many."""
    return isinstance(value, str | int) and str(value).strip().casefold() not in NOBODY and not str(value).startswith("[")


def topic_of(example: Example) -> str:
    """The row's topic: its category by metadata, else the first such field of a JSON answer, else empty."""
    return topic_in(example.metadata, example.messages)


def topic_in(metadata: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str:
    """`topic_of` for a row by its parts."""
    named = _named(metadata)
    if named:
        return named
    value = parsed(spoken(answer_of(messages)))
    return _named(value) if isinstance(value, dict) else ""


def _named(place: Mapping[str, Any]) -> str:
    for key in TOPIC_KEYS:
        if isinstance(found := place.get(key), str) and found:
            return found
    return ""


def created_of(metadata: Mapping[str, Any]) -> datetime | None:
    """The row's date, as `moment_of` reads it: ISO 8601, `31.01.2026 14:05`, seconds since 1970, …; None when none can be read,
    or it lies where calendars end, as programs write one that they do not have."""
    value = metadata.get("created")
    try:
        found = moment_of(value) if value else None
    except ValueError:
        return None
    return found if found is not None and 1 < found.year < 9999 else None
