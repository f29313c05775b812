"""Adding records of models that were served elsewhere, so that they can be monitored too."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast, get_args

import msgspec

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.serving import Attempt, Ending, Inference, Purpose, Variant
from tunekeeper.store.log import segments
from tunekeeper.store.log.columns import hour_of
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.records import BODIES
from tunekeeper.store.log.spool import Spool

if TYPE_CHECKING:
    from tunekeeper.store.log.reader import Log

_BATCH = 500
_STRETCH, _STRETCH_BYTES = 50_000, 64 * 1024 * 1024
"""Records, and bytes of their bodies, that are sorted at once."""
_BOM = b"\xef\xbb\xbf"
_MOST_LINE = 64 * 1024 * 1024
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
NEEDED = "give each line a JSON object with at least request_id, timestamp and model_id"
_LIST = "write each object of the list on a line of its own: jq -c '.[]'"
_ONE_OF = {"status": get_args(Ending), "purpose": get_args(Purpose)}
_PACKED = b"\x1f\x8b"
_ARMS: dict[str, Variant] = {"production": "champion", "control": "champion", "treatment": "challenger"}
"""What others call the parts that a version plays, and what we do."""


def read_file(path: Path) -> Iterator[Inference]:
    """The inferences of a JSONL file, packed with gzip or not; unknown keys are passed over. Raises DataError naming file, line
    and field, and for a file without any."""
    empty = True
    try:
        with _opened(path) as file:
            for number, line in enumerate(iter(partial(file.readline, _MOST_LINE + 1), b""), 1):
                if len(line) > _MOST_LINE:
                    fix = "leave request and response out of it"
                    raise DataError(f"{path}:{number}: the line is longer than {_MOST_LINE >> 20} MiB", fix=fix)
                if number == 1:
                    line = line.removeprefix(_BOM)
                if line.strip():
                    empty = False
                    yield _parsed(line, path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: not readable as gzip: {error}", fix="pack it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", fix="name a JSONL file that you may read") from error
    if empty:
        raise DataError(f"{path} holds no inferences", fix=NEEDED)


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(len(_PACKED)) == _PACKED
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _parsed(line: bytes, path: Path, number: int) -> Inference:
    try:
        try:
            found = msgspec.json.decode(line, type=Inference, strict=False)
        except msgspec.ValidationError:
            found = msgspec.convert(_in_our_words(msgspec.json.decode(line)), Inference, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        begins = line.lstrip()[:1]
        why = str(error) if begins == b"{" else "the line does not begin a JSON object"
        raise DataError(f"{path}:{number}: not an inference: {why}", fix=_LIST if begins == b"[" else _way_out(why)) from error
    for name in ("request_id", "model_id"):
        if not 0 < len(id := getattr(found, name)) <= _MOST_ID or not id.isprintable():
            what = f"{name} must have 1 to {_MOST_ID} characters, none of them a line break or another that cannot be seen"
            raise DataError(f"{path}:{number}: {what}", fix=f"give each line its {name}")
    if not _FIRST_YEAR <= found.timestamp.year < _YEARS_END:  # in any zone, far from where calendars end
        raise DataError(f"{path}:{number}: timestamp lies in the year {found.timestamp.year}", fix=_STAMP)
    _within(found, _BOUNDS, f"{path}:{number}: ")
    for index, attempt in enumerate(found.attempts):
        _within(
            attempt, {"ms": (0, _MOST, _UNKNOWN), "confidence": _BOUNDS["confidence"]}, f"{path}:{number}: attempts[{index}]."
        )
    return found


def _way_out(why: str) -> str:
    """What to do about what msgspec says of a record."""
    where = _FIELD.search(why)
    if where is None:
        return NEEDED
    if where[1] in _ONE_OF:
        return f"write one of {', '.join(_ONE_OF[where[1]])}, or leave it out"
    return {"timestamp": _STAMP, "request_id": _TEXT, "model_id": _TEXT}.get(where[1], f"mend {where[1]}, or leave it out")


def passed_over(path: Path, most: int = 100) -> list[str]:
    """Keys of the first `most` lines of a file that no field takes, in their order; of a file that `read_file` takes."""
    fields = {"event", *(field.name for field in dataclasses.fields(Inference))}  # "event": what a sink puts in front
    found: dict[str, None] = {}
    with _opened(path) as file:
        for line in islice(file, most):
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found |= dict.fromkeys(msgspec.json.decode(line.removeprefix(_BOM)))
    return [key for key in found if key not in fields]


def _within(noun: Inference | Attempt, bounds: Mapping[str, tuple[float, float, str]], where: str) -> None:
    """Raises DataError for a number that is not within its bounds, or none at all."""
    for name, (least, most, fix) in bounds.items():
        amount = getattr(noun, name)
        if amount is not None and not least <= amount <= most:
            raise DataError(f"{where}{name} is {amount}", fix=fix)


def _in_our_words(record: Any) -> Any:
    """A record without its nulls, by which others say that nothing is known; and whose `variant`, where it is a word of somebody
    else's, is ours where it means one of ours, else absent. Theirs stays in `metadata`.
    """
    if not isinstance(record, dict):
        return record
    record = {name: value for name, value in record.items() if value is not None}
    said = record.get("variant")
    if not isinstance(said, str) or said in get_args(Variant):
        return record
    metadata = record.get("metadata") or {}
    kept = {"variant": said} | metadata if isinstance(metadata, dict) else metadata
    return record | {"variant": _ARMS.get(said.lower()), "metadata": kept}


def append(log: Log, inferences: Iterable[Inference]) -> tuple[int, int]:
    """Write what the log does not know yet, each id once. Returns `(added, skipped)`. Raises DiskFull.

    Written hour by hour: a segment with many hours in it becomes as many files, and others' exports are in any order.
    """
    spool = Spool(log.root, "import", log.clock)
    added = skipped = 0
    written: set[str] = set()
    try:
        for stretch in _stretches(map(_record, inferences)):
            fresh: dict[str, dict[str, Any]] = {}
            for record in stretch:
                if record["request_id"] not in written:
                    fresh.setdefault(record["request_id"], record)
            written |= fresh.keys()
            skipped += len(stretch) - len(fresh)
            source = iter(sorted(fresh.values(), key=_hour))
            while batch := list(islice(source, _BATCH)):
                known = log.known([record["request_id"] for record in batch])
                for record in batch:
                    if record["request_id"] not in known:
                        spool.ended(record)
                        added += 1
                skipped += len(known)
                spool.flush()
    finally:
        spool.close()
    with segments.maintenance(log.root, wait=False) as ours:
        if ours:  # where no keeper runs, a large import should not stay in the tail
            compact(log.root)
    return added, skipped


def _hour(record: dict[str, Any]) -> str:
    return hour_of(record["timestamp"])


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
