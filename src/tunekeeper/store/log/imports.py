"""Adding records of models that were served elsewhere, so that they can be monitored too."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast, get_args

import msgspec

from tunekeeper.core.errors import Busy, DataError
from tunekeeper.core.nouns.serving import Attempt, Ending, Inference, Purpose, Variant
from tunekeeper.store.log import segments
from tunekeeper.store.log.aside import Aside
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.mapped import AS_IT_IS, NEEDED, Told, hint
from tunekeeper.store.log.records import BODIES
from tunekeeper.store.log.spool import Spool

if TYPE_CHECKING:
    from tunekeeper.store.log.reader import Log

_FLUSHED = 1 << 20
"""Bytes of lines that are written at once."""
_STRETCH, _STRETCH_BYTES = 50_000, 64 * 1024 * 1024
"""Records, and bytes of their bodies, that are held at once."""
_BOM = b"\xef\xbb\xbf"
_MOST_LINE = 64 * 1024 * 1024
_MOST_LIST = 1 << 30
"""Bytes of a list that is held as a whole; what is written line by line may be of any length."""
_MOST_ID = 256
_MOST = 2**53
_FIRST_YEAR, _YEARS_END = 1970, 3000
_STAMP = "write timestamp as 2026-01-05T09:30:00Z"
_TEXT = "write it as text, in quotes"
_FIELD = re.compile(r"`\$\.(\w+)[^`]*`$")
_UNKNOWN = "leave out what is not known"
_AMOUNTS = ("prompt_tokens", "completion_tokens", "latency_ms", "ttft_ms", "cost_usd", "route_version")
_BOUNDS: dict[str, tuple[float, float, str]] = {
    **dict.fromkeys(_AMOUNTS, (0, _MOST, _UNKNOWN)),
    "confidence": (0, 1, "give a probability, 0 to 1"),
    "quality_score": (0, 1, "give a score from 0 to 1"),
    "http_status": (100, 599, "give the status of the answer, 100 to 599, or leave it out"),
    "bucket": (0, 9_999, _UNKNOWN),
    "weight": (0, 10_000, "give ten-thousandths, 0 to 10000, or leave it out"),
}
"""Number of a record → least, most, and what to do about one beyond them."""
EACH = "give each line a JSON object with at least request_id, timestamp and model_id"
_LIST = "write each object of the list on a line of its own: jq -c '.[]'"
_ONE_OF = {"status": get_args(Ending), "purpose": get_args(Purpose)}
_PACKED = b"\x1f\x8b"
_ARMS: dict[str, Variant] = {"production": "champion", "control": "champion", "treatment": "challenger"}
"""What others call the parts that a version plays, and what we do."""


def read_file(path: Path, mapping: Told = AS_IT_IS) -> Iterator[Inference]:
    """The inferences of a JSONL file or of one list in JSON, packed with gzip or not; keys that nothing takes are passed over.
    Raises DataError naming file, line (of a list: its element) and field, and for a file without any."""
    empty = True
    try:
        with _opened(path) as file:
            for number, line in _rows(file, path):
                empty = False
                yield _parsed(line, f"{path}:{number}", mapping)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: not readable as gzip: {error}", fix="pack it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", fix="name a JSONL file that you may read") from error
    if empty:
        raise DataError(f"{path} holds no inferences", fix=EACH)


def read_rows(rows: Iterable[tuple[int, Mapping[str, Any]]], path: Path, mapping: Told) -> Iterator[Inference]:
    """The inferences of a table's rows, each with its number. Raises DataError as `read_file`."""
    empty = True
    for number, row in rows:
        empty = False
        yield _of_row(row, f"{path}:{number}", mapping, as_told=True)
    if empty:
        raise DataError(f"{path} holds no inferences", fix="give a table with a row for each")


def _rows(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """The JSON values of a file, numbered: its lines, or the elements of the one list that it is."""
    first = file.readline(_MOST_LINE + 1).removeprefix(_BOM)
    if first.lstrip()[:1] == b"[":
        yield from enumerate(_elements(first + file.read(_MOST_LIST), path), 1)
        return
    for number, line in enumerate(chain([first], iter(partial(file.readline, _MOST_LINE + 1), b"")), 1):
        if len(line) > _MOST_LINE:
            fix = "leave request and response out of it"
            raise DataError(f"{path}:{number}: the line is longer than {_MOST_LINE >> 20} MiB", fix=fix)
        if line.strip():
            yield number, line


def _elements(text: bytes, path: Path) -> Iterator[bytes]:
    if len(text) > _MOST_LIST:
        raise DataError(f"{path}: a list of more than {_MOST_LIST >> 20} MiB", fix=_LIST)
    try:
        return map(bytes, msgspec.json.decode(text, type=list[msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not one list in JSON: {error}", fix=_LIST) from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(len(_PACKED)) == _PACKED
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _parsed(line: bytes, place: str, mapping: Told) -> Inference:
    begins, row, why = line.lstrip()[:1], None, "the line does not begin a JSON object"
    try:
        if not mapping:
            with contextlib.suppress(msgspec.ValidationError):
                return _checked(msgspec.json.decode(line, type=Inference, strict=False), place)
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = str(error) if begins == b"{" else why
    if not isinstance(row, dict):
        raise DataError(f"{place}: not an inference: {why}", fix=_LIST if begins == b"[" else EACH)
    return _of_row(row, place, mapping)


def _of_row(row: Mapping[str, Any], place: str, mapping: Told, *, as_told: bool = False) -> Inference:
    """What a row of somebody's log is to us. `as_told`: its values are read as those of a mapping, though there be none: cells of
    a table are texts."""
    record: dict[str, Any] = {}
    try:
        record = _in_our_words(mapping.record(row) if mapping or as_told else row)
        found = msgspec.convert(record, Inference, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        lacking = [field for field in NEEDED if field not in record]
        fix = hint(row, mapping) if lacking else _way_out(str(error))
        why = f"it has no {', no '.join(lacking)}" if lacking and record else str(error)
        raise DataError(f"{place}: not an inference: {why}", fix=fix) from error
    return _checked(found, place)


def _checked(found: Inference, place: str) -> Inference:
    for name in ("request_id", "model_id"):
        if not 0 < len(id := getattr(found, name)) <= _MOST_ID or not id.isprintable():
            what = f"{name} must have 1 to {_MOST_ID} characters, none of them a line break or another that cannot be seen"
            raise DataError(f"{place}: {what}", fix=f"give each line its {name}")
    if not _FIRST_YEAR <= found.timestamp.year < _YEARS_END:  # in any zone, far from where calendars end
        raise DataError(f"{place}: timestamp lies in the year {found.timestamp.year}", fix=_STAMP)
    _within(found, _BOUNDS, f"{place}: ")
    for index, attempt in enumerate(found.attempts):
        _within(attempt, {"ms": (0, _MOST, _UNKNOWN), "confidence": _BOUNDS["confidence"]}, f"{place}: attempts[{index}].")
    return found


def _way_out(why: str) -> str:
    """What to do about what msgspec says of a record."""
    where = _FIELD.search(why)
    if where is None:
        return EACH
    if where[1] in _ONE_OF:
        return f"write one of {', '.join(_ONE_OF[where[1]])}, or leave it out"
    return {"timestamp": _STAMP, "request_id": _TEXT, "model_id": _TEXT}.get(where[1], f"mend {where[1]}, or leave it out")


def passed_over(path: Path, mapping: Told = AS_IT_IS, most: int = 100) -> list[str]:
    """Keys of the first `most` rows of a file that nothing takes, in their order; of a file that `read_file` takes."""
    found: dict[str, None] = {}
    with _opened(path) as file:
        for _, line in islice(_rows(file, path), most):
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found |= dict.fromkeys(msgspec.json.decode(line))
    return [key for key in mapping.left(list(found)) if key != "event"]  # which is what a sink puts in front


def _within(noun: Inference | Attempt, bounds: Mapping[str, tuple[float, float, str]], where: str) -> None:
    """Raises DataError for a number that is not within its bounds, or none at all."""
    for name, (least, most, fix) in bounds.items():
        amount = getattr(noun, name)
        if amount is not None and not least <= amount <= most:
            raise DataError(f"{where}{name} is {amount}", fix=fix)


def _in_our_words(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without its nulls, by which others say that nothing is known; and whose `variant`, where it is a word of somebody
    else's, is ours where it means one of ours, else absent. Theirs stays in `metadata`.
    """
    record = {name: value for name, value in record.items() if value is not None}
    said = record.get("variant")
    if not isinstance(said, str) or said in get_args(Variant):
        return record
    metadata = record.get("metadata") or {}
    kept = {"variant": said} | metadata if isinstance(metadata, dict) else metadata
    return record | {"variant": _ARMS.get(said.lower()), "metadata": kept}


def append(log: Log, inferences: Iterable[Inference]) -> tuple[int, int]:
    """Write what the log does not know yet, each id once. Returns `(added, skipped)`. Raises DiskFull, and Busy beside another
    import.

    Written by hour and model: a segment with many hours in it becomes as many files, and others' exports are in any order.
    """
    rows = 0
    with alone(log.root), contextlib.closing(Aside(log.root / "run")) as aside:
        _compact(log.root)  # what a killed import left need not be held in memory
        for stretch in _stretches(map(_record, inferences)):
            rows += len(stretch)
            known = log.known([record["request_id"] for record in stretch])
            aside.put(record for record in stretch if record["request_id"] not in known)
        added = _write(log, aside.lines())
        _compact(log.root)
    return added, rows - added


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """One import or erasure at a time: two imports would both find that the log does not know a record, and an erasure would
    miss what an import has yet to write. Raises Busy."""
    (root / "run").mkdir(parents=True, exist_ok=True)
    try:
        lock = segments.hold(root / "run" / "import.lock")
    except BlockingIOError as error:
        raise Busy(f"an import into {root} runs, or an erasure", fix="wait for its end, then repeat the command") from error
    try:
        yield
    finally:
        os.close(lock)


def _write(log: Log, lines: Iterable[bytes]) -> int:
    """Write lines to the spool; returns how many. Where no keeper runs they become files on the way: the spool stays small."""
    spool = Spool(log.root, "import", log.clock)
    written = buffered = spooled = 0
    try:
        for line in lines:
            spool.ended({}, line=line)
            written, buffered = written + 1, buffered + len(line)
            if buffered >= _FLUSHED:
                spooled, buffered = spooled + spool.flush(), 0
            if spooled >= _STRETCH_BYTES:
                spool.seal()
                _compact(log.root)
                spooled = 0
    finally:
        spool.close()
    return written


def _compact(root: Path) -> None:
    """Where no keeper runs, a large import should not stay in the tail."""
    with segments.maintenance(root, wait=False) as ours:
        if ours:
            compact(root)


def _stretches(records: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The records in lists that fit into memory."""
    held: list[dict[str, Any]] = []
    size = 0
    for record in records:
        held.append(record)
        size += sum(len(record.get(name, b"")) for name in BODIES)
        if len(held) >= _STRETCH or size >= _STRETCH_BYTES:
            yield held
            held, size = [], 0
    if held:
        yield held


def _record(inference: Inference) -> dict[str, Any]:
    values = {f.name: getattr(inference, f.name) for f in dataclasses.fields(inference)}
    record = {name: value for name, value in values.items() if name not in BODIES and value is not None}
    bodies = {name: msgspec.json.encode(values[name]) for name in BODIES if values[name] is not None}
    return record | bodies
