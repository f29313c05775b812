"""Batches: what was asked lies in one file, what was answered in another, in an order of its own.

OpenAI's (and Mistral's, Groq's, Together's) and Anthropic's rows find each other by `custom_id`, Gemini's by `key`. The requests
wait in a file beside what is read, so that a batch of any size takes no more memory than its names.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import zstandard

from tunekeeper.core.errors import DataError
from tunekeeper.data.apart import Words, begins_with_words
from tunekeeper.data.conversations import Conversation, Unreadable

ALONE = "of a batch comes without its request"
"""What is said of an answer whose request is in none of the files."""
_NAMES = ("custom_id", "key")
_OPENED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstandard.open}
_FIRST = 1 << 20
"""Bytes of the first row that are looked at."""


def name_in(row: Mapping[str, Any]) -> str | None:
    """What a row of a batch is called; None for one without a name."""
    return next((row[key] for key in _NAMES if isinstance(row.get(key), str)), None)


def asked_in(row: Any) -> dict[str, Any] | None:
    """The request in a row of a batch's requests; None for any other row."""
    if not isinstance(row, dict) or name_in(row) is None or not {"response", "result", "error"}.isdisjoint(row):
        return None
    told = row.get("body") if {"url", "method"} & row.keys() else row.get("params", row.get("request"))
    return told if isinstance(told, dict) else None


def is_answer(row: Any) -> bool:
    """Whether a row answers one of another file."""
    if not isinstance(row, dict) or name_in(row) is None or not {"request", "body", "params"}.isdisjoint(row):
        return False
    said = row.get("response", row.get("result"))
    return isinstance(said, dict) or (said is None and isinstance(row.get("error"), dict))


def alone(row: dict[str, Any]) -> Conversation:
    """Raises Unreadable: an answer that met no request says nothing."""
    raise Unreadable(f"the answer to {name_in(row)!r} {ALONE}")


def first_asked(paths: Sequence[Path]) -> list[Path]:
    """The files, first those of requests and of what is said of rows elsewhere: a row is read when that is known."""
    return sorted(paths, key=lambda path: not _asks(path)) if len(paths) > 1 else list(paths)


def _asks(path: Path) -> bool:
    """Whether a file begins with a request of a batch or with words about another row; False for one that cannot be looked at
    so."""
    if path.is_dir():
        return any(_asks(file) for file in sorted(path.iterdir())[:1])
    kind = path.suffix.casefold()
    if kind not in ("", ".txt", ".json", ".jsonl", ".ndjson", *_OPENED) or not path.is_file():
        return False
    try:
        with _OPENED.get(kind, open)(path, "rb") as file:
            first = _first_row(file.read(_FIRST).removeprefix(b"\xef\xbb\xbf").lstrip())
        return asked_in(first) is not None or begins_with_words(first)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error, lzma.LZMAError, zstandard.ZstdError):
        return False


def _first_row(text: bytes) -> Any:
    """The first row of a file that begins so: of a line, of a list, or of a page of an API. Raises ValueError."""
    if text.startswith(b"["):
        return json.JSONDecoder().raw_decode(text[1:].decode("utf-8", "ignore").lstrip())[0]
    try:
        row = orjson.loads(text.partition(b"\n")[0])
    except ValueError:
        row = orjson.loads(text)
    page = row.get("data") if isinstance(row, dict) else None
    return page[0] if isinstance(page, list) and page else row


class Requests:
    """The requests of batches that were met, each by its name."""

    def __init__(self, file: BinaryIO) -> None:
        """`file`: where they wait, as JSON."""
        self._file = file
        self._places: dict[str, tuple[int, int] | None] = {}
        self.words = Words(file)
        """What the files say of rows elsewhere."""
        self._answers = False

    def joined(self, row: Any) -> Any:
        """A row as it is; an answer with its request, where that is known; None for a request, which is put aside.

        Raises Unreadable for an answer that says that its request failed, and for one that could be the answer to two.
        """
        if row is None:
            raise Unreadable("a row must be an object, not NoneType")
        asked = asked_in(row)
        if self.words.put(row):
            return None
        if asked is not None:
            try:
                self._put(str(name_in(row)), orjson.dumps(asked))
            except TypeError as error:  # a number of more than 64 bits, half a character
                raise Unreadable(f"the request {name_in(row)!r} of a batch cannot be kept: {error}") from None
            return None
        if not is_answer(row):
            return self.words.joined(row)
        self._answers = True
        name = str(name_in(row))
        if name not in self._places:
            return row
        place = self._places[name]
        if place is None:
            raise Unreadable(f"{name!r} is the name of two requests: import each batch by itself")
        return _exchange(row, self._at(*place))

    def refuse_unanswered(self) -> None:
        """Raise DataError where there were requests and not one answer, or words about other rows and not one other row."""
        self.words.unheard()
        if self._places and not self._answers:
            why = f"{len(self._places)} requests of a batch, and none of the files holds an answer"
            raise DataError(
                why, fix="name the file of the answers too: tunekeeper data import REQUESTS.jsonl ANSWERS.jsonl --model NAME"
            )

    def _put(self, name: str, text: bytes) -> None:
        if name in self._places:
            known = self._places[name]
            self._places[name] = known if known is not None and self._at(*known) == orjson.loads(text) else None
            return
        self._places[name] = (self._file.seek(0, 2), len(text))
        self._file.write(text)

    def _at(self, start: int, length: int) -> Any:
        self._file.seek(start)
        return orjson.loads(self._file.read(length))


def _exchange(row: Mapping[str, Any], asked: Any) -> dict[str, Any]:
    """The row of a log that an answer and its request make. Raises Unreadable for one that failed."""
    said = row.get("response", row.get("result"))
    error = row.get("error") or (said.get("error") if isinstance(said, dict) else None)
    if error or not isinstance(said, dict) or said.get("type") in ("errored", "canceled", "expired"):
        raise Unreadable(f"the request {name_in(row)!r} of a batch failed: {error or said}"[:300])
    answer = next((said[key] for key in ("body", "message") if isinstance(said.get(key), dict)), said)
    return {"id": row.get("id"), "request_id": said.get("request_id"), "custom_id": name_in(row)} | {
        "request": asked,
        "response": answer,
    }
