"""What an erasure leaves to people: files of the project folder that still hold an erased person's examples.

Suites, exports and sources in the project folder are the user's own, often in Git: they are named, with how many of their rows
have to go, and never changed. A row is known by the ids that our exports, suites and incident cases give it, or by naming the
person in its metadata.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from tunekeeper.data.csvrows import unguarded
from tunekeeper.data.erase import names_one

ID_KEYS = ("id", "request_id", "source", "of")
LARGEST = 64 << 20
"""Bytes above which a file that can only be read whole is not looked into."""
SKIPPED = ("node_modules", "__pycache__")
Row = Any
"""Whatever a file holds as one row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """One file of the project folder."""

    path: str
    """Relative to the project folder."""
    rows: int
    """Rows that hold an erased example or name the person; 0 where it could not be looked into."""
    why: str = ""
    """Why it could not be looked into; empty when it was."""


def leftovers(project: Path, ids: Set[str], user: str, *, apart: Path) -> list[Leftover]:
    """The files below `project` with rows whose id is one of `ids`, or that name `user`; in order of path. `apart`: the data
    directory, which is erased by itself. Hidden folders and links are passed over."""
    found = []
    for path in _files(project, apart):
        name = path.relative_to(project).as_posix()
        try:
            rows = sum(_holds(row, ids, user) for row in READERS[path.suffix.lower()](path))
        except (OSError, ValueError, RecursionError, csv.Error, yaml.YAMLError) as error:
            found.append(Leftover(path=name, rows=0, why=_first_line(error)))
            continue
        if rows:
            found.append(Leftover(path=name, rows=rows))
    return found


def _files(project: Path, apart: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(project):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED and here / name != apart)
        for name in sorted(names):
            path = here / name
            if path.suffix.lower() in READERS and not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


def _holds(row: Row, ids: Set[str], user: str) -> bool:
    """Whether a row, anything in it included, is of one of the ids or names the user."""
    if isinstance(row, list):
        return any(_holds(each, ids, user) for each in row)
    if not isinstance(row, Mapping):
        return False
    if names_one(row, {user}) or any(_known(row.get(key), ids) for key in ID_KEYS):
        return True
    inside = _opened(row.get("metadata"))
    return _holds(inside, ids, user) or any(isinstance(v, dict | list) and _holds(v, ids, user) for v in row.values())


def _opened(metadata: Any) -> Row:
    """Metadata that stands in a cell as JSON text; None for anything else."""
    if not isinstance(metadata, str) or not metadata.startswith("{"):
        return None
    try:
        return orjson.loads(metadata)
    except orjson.JSONDecodeError:
        return None


def _known(value: Any, ids: Set[str]) -> bool:
    """An id as it is, as the end of a source (`incident:request`), or numbered by an import (`id#2`)."""
    if not isinstance(value, str):
        return False
    return value in ids or value.rpartition(":")[2] in ids or value.partition("#")[0] in ids


def _lines(path: Path) -> Iterator[Row]:
    """JSONL; a line that is no JSON holds no row of ours."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                continue


def _json(path: Path) -> Iterator[Row]:
    value = orjson.loads(_whole(path))
    yield from value if isinstance(value, list) else [value]


def _yaml(path: Path) -> Iterator[Row]:
    """A suite with its cases inside, or any other YAML: lists at the top, or under a key of the top, are rows."""
    for value in yaml.safe_load_all(_whole(path)):
        for part in value.values() if isinstance(value, dict) else [value]:
            yield from part if isinstance(part, list) else [part]


def _table(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","):
            yield {key: unguarded(cell) if isinstance(cell, str) else cell for key, cell in row.items()}


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(4096):
        yield from batch.to_pylist()


def _whole(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{size:,} bytes are too many to be looked into")
    return path.read_bytes()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
}
"""Ending of a file → how its rows are read."""
