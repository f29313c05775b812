"""Adding records of models that were served elsewhere, so that they can be monitored too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tunekeeper.core.errors import DataError
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.store.log import segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.records import BODIES
from tunekeeper.store.log.spool import Spool

if TYPE_CHECKING:
    from tunekeeper.store.log.reader import Log

_BATCH = 500


def read_file(path: Path) -> Iterator[Inference]:
    """The inferences of a JSONL file; unknown keys are passed over. Raises DataError naming file, line and field."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parsed(line, path, number)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _parsed(line: bytes, path: Path, number: int) -> Inference:
    try:
        found = msgspec.json.decode(line, type=Inference, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        fix = "give at least request_id, timestamp and model_id"
        raise DataError(f"{path}:{number}: not an inference: {error}", fix=fix) from error
    if not found.request_id or not found.model_id:
        raise DataError(f"{path}:{number}: request_id and model_id must not be empty")
    return found


def append(log: Log, inferences: Iterable[Inference]) -> tuple[int, int]:
    """Write what the log does not know yet, each id once. Returns `(added, skipped)`. Raises DiskFull."""
    spool = Spool(log.root, "import", log.clock)
    added = skipped = 0
    written: set[str] = set()
    source = iter(inferences)
    try:
        while batch := list(islice(source, _BATCH)):
            known = log.known([inference.request_id for inference in batch]) | written
            for inference in batch:
                if inference.request_id in known:
                    skipped += 1
                    continue
                known.add(inference.request_id)
                written.add(inference.request_id)
                spool.ended(_record(inference))
                added += 1
            spool.flush()
    finally:
        spool.close()
    with segments.maintenance(log.root, wait=False) as ours:
        if ours:  # where no keeper runs, a large import should not stay in the tail
            compact(log.root)
    return added, skipped


def _record(inference: Inference) -> dict[str, Any]:
    values = {f.name: getattr(inference, f.name) for f in dataclasses.fields(inference)}
    record = {name: value for name, value in values.items() if name not in BODIES and value is not None}
    bodies = {name: msgspec.json.encode(values[name]) for name in BODIES if values[name] is not None}
    return record | bodies
