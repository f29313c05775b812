"""Rows of Parquet and Arrow files, and the files of a Hugging Face dataset that lies in a folder."""

from __future__ import annotations

import base64
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import DataError, MissingExtra
from tunekeeper.data import archives, arrowpacked
from tunekeeper.data.conversations import parse_json

GROUP_LIMIT = 1 << 30
"""Bytes of one row group after unpacking; a Parquet file with a larger one is refused before it is read."""
VALUES_LIMIT = 1 << 26
"""Values of one column in one row group."""
READ_AT_ONCE = 16_384
"""Rows read from Parquet at a time, each text once; fewer make the reader build its list of texts too often."""
BATCH = 256
"""Rows turned into Python objects at a time, fewer where they are large."""
ROW_LIMIT = 4 << 20
"""Bytes of one row after unpacking; a larger one is left out without being built."""
_DAMAGE = (OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError)
"""What pyarrow's errors are made of."""
_LOOK = """
import resource, sys
import pyarrow.parquet
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
said = pyarrow.parquet.ParquetFile(sys.argv[1], memory_map=True).metadata
for group in range(said.num_row_groups):
    for column in range(said.num_columns):
        said.row_group(group).column(column).statistics
"""
"""What a process of its own does with a Parquet file, so that nothing worse than that can end."""
NumberedRow = tuple[int, dict[str, Any] | None]
"""A row's number from 1 and its cells that hold something; None for a row above the limit."""
_PACKED = (".zst", ".gz", ".bz2", ".xz")
SUFFIXES = (".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", *_PACKED, ".xlsx", ".zip")
"""Kinds of files taken from a dataset folder. Of a file that is there in several kinds, the first of them."""
_NOT_ROWS = ("state.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json")


def read_parquet(path: Path, name: str) -> tuple[list[str], Iterator[NumberedRow]]:
    """Columns and rows of a Parquet file, each row with its number from 1. Raises DataError, MissingExtra."""
    parquet = _pyarrow("parquet")
    _refuse_deadly(path, name)
    try:
        file = parquet.ParquetFile(path, memory_map=True)
        _refuse_bomb(name, file.metadata)
        leaves = [file.schema.column(i) for i in range(len(file.schema))]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        # As dictionaries: a value that a file names a million times is held once, so a small file cannot swell in memory.
        file = parquet.ParquetFile(path, memory_map=True, read_dictionary=texts)
        names, classes = list(file.schema_arrow.names), _classes_in(file.schema_arrow)
    except _DAMAGE as error:
        raise DataError(f"{name}: not readable as Parquet: {_line(error)}", fix="write it again") from None
    # One row group after the other: each has its own texts, and those of nested columns cannot be put together.
    groups = range(file.metadata.num_row_groups)
    batches = (batch for group in groups for batch in file.iter_batches(batch_size=READ_AT_ONCE, row_groups=[group]))
    return names, _numbered(name, batches, classes)


def _refuse_deadly(path: Path, name: str) -> None:
    """Look at what a file says of itself in a process of its own: over some damage there, pyarrow does not raise, but ends the
    process it runs in. What it does raise is left to the reading."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _LOOK, str(path)], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode < 0:
        said = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if "what():" in line]
        why = said[-1].partition("what():")[2].strip() if said else signal.Signals(-done.returncode).name
        raise DataError(f"{name}: not readable as Parquet: {why}", fix="write it again")


def _refuse_bomb(name: str, metadata: Any) -> None:
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
        if max((column.num_values for column in columns), default=0) > VALUES_LIMIT:
            raise DataError(f"{name}: row group {group + 1} has a column of more than {VALUES_LIMIT} values")
        packed, size = (sum(getattr(c, f"total_{kind}_size") for c in columns) for kind in ("compressed", "uncompressed"))
        _refuse_large(f"{name}: row group {group + 1}", packed, size, fix="write it with smaller row groups, or as .jsonl")


def _refuse_large(what: str, packed: int, size: int, fix: str) -> None:
    archives.refuse_bomb(what, packed, size)
    if size > GROUP_LIMIT:
        raise DataError(f"{what} unpacks to {size >> 20} MB, at most {GROUP_LIMIT >> 20} MB are read at once", fix=fix)


def read_arrow(path: Path, name: str) -> tuple[list[str], Iterator[NumberedRow]]:
    """Columns and rows of an Arrow file (stream or file format), each row with its number from 1.

    Raises DataError, MissingExtra.
    """
    arrow = _pyarrow("")
    ipc = _pyarrow("ipc")
    try:
        mapped = arrow.memory_map(str(path))
        # The file format is the stream format behind eight bytes: read as such, what was looked at is what is read.
        start = 8 if mapped.read(6) == b"ARROW1" else 0
        mapped.seek(start)
        for number, message in enumerate(ipc.MessageReader.open_stream(mapped), 1):
            arrowpacked.refuse_bomb(f"{name}: batch {number}", message.metadata.to_pybytes(), message.body, GROUP_LIMIT)
        mapped.seek(start)
        reader = ipc.open_stream(mapped)
        names, classes = list(reader.schema.names), _classes_in(reader.schema)
    except _DAMAGE as error:
        raise DataError(f"{name}: not readable as Arrow: {_line(error)}", fix="write it again") from None
    return names, _numbered(name, iter(reader), classes)


def _classes_in(schema: Any) -> dict[str, list[Any]]:
    """Column → the names of its classes, of which a set of Hugging Face stores the places (`ClassLabel`)."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        told = {column: feature.get("feature", feature) for column, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    labels = {column: each for column, each in told.items() if isinstance(each, dict) and each.get("_type") == "ClassLabel"}
    return {column: each["names"] for column, each in labels.items() if isinstance(each.get("names"), list)}


def _class_of(place: Any, names: list[Any]) -> Any:
    """The name of a class, of a list of classes each; None for the place -1, which says that nobody told it."""
    if isinstance(place, list):
        return [_class_of(each, names) for each in place]
    if place == -1:
        return None
    return names[place] if isinstance(place, int) and 0 <= place < len(names) else place


def _numbered(name: str, batches: Iterator[Any], classes: Mapping[str, list[Any]]) -> Iterator[NumberedRow]:
    number = 0
    try:
        for batch in batches:
            batch.validate(full=True)  # offsets and indices of a damaged file lead outside its memory
            for start in range(0, batch.num_rows, BATCH):
                for piece in _pieces(batch.slice(start, BATCH)):
                    large = piece.num_rows == 1 and unpacked_size(piece) > ROW_LIMIT
                    rows = [None] if large else _as_rows(piece)
                    for row in rows:
                        number += 1
                        if row is not None and classes:
                            row |= {key: _class_of(row.get(key), names) for key, names in classes.items()}
                        yield number, None if row is None else {k: _plain(v) for k, v in row.items() if v is not None}
    except _DAMAGE as error:
        raise DataError(f"{name}: damaged after row {number}: {_line(error)}") from None


def _pieces(batch: Any) -> Iterator[Any]:
    """The batch in parts that may become Python objects at once."""
    if batch.num_rows <= 1 or unpacked_size(batch) <= ROW_LIMIT:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _pieces(batch.slice(0, half))
    yield from _pieces(batch.slice(half))


def _as_rows(piece: Any) -> list[dict[str, Any]]:
    arrow = _pyarrow("")
    plain = arrow.schema([arrow.field(field.name, _plain_type(field.type)) for field in piece.schema])
    held = piece if plain.equals(piece.schema) else piece.cast(plain)
    rows = list(held.to_pylist(maps_as_pydicts="lossy"))  # of a name that a map holds twice the last value
    coded = [field for field in piece.schema if _holds_json(field.type)]
    for row, field in itertools.product(rows if coded else (), coded):
        row[field.name] = _parsed(row[field.name], field.type)
    return rows


def _holds_json(kind: Any) -> bool:
    """Whether values of a type hold JSON as text, as `datasets` stores objects that differ from row to row."""
    if getattr(kind, "extension_name", "") == "arrow.json":
        return True
    return any(_holds_json(kind.field(place).type) for place in range(kind.num_fields))


def _parsed(value: Any, kind: Any) -> Any:
    """A value with what its JSON says in place of the text."""
    types = _pyarrow("types")
    if value is None or not _holds_json(kind):
        return value
    if types.is_struct(kind):
        return {field.name: _parsed(value[field.name], field.type) for field in kind}
    if types.is_list(kind) or types.is_large_list(kind):
        return [_parsed(each, kind.value_type) for each in value]
    try:
        return parse_json(value) if isinstance(value, str) else value
    except DataError:
        return value  # its reader says what is wrong with it


def _plain_type(kind: Any) -> Any:
    """The type without dictionaries, which turn into Python objects ten times as slowly."""
    arrow = _pyarrow("")
    if arrow.types.is_dictionary(kind):
        return kind.value_type
    if arrow.types.is_list(kind):
        return arrow.list_(_plain_type(kind.value_type))
    if arrow.types.is_struct(kind):
        return arrow.struct([arrow.field(field.name, _plain_type(field.type)) for field in kind])
    return kind


def unpacked_size(array: Any) -> int:
    """Bytes of an Arrow batch or array as Python will hold them: a value that many cells share counts in each of them."""
    types, compute = _pyarrow("types"), _pyarrow("compute")
    if not hasattr(array, "type"):
        return sum(unpacked_size(column) for column in array.columns)
    if types.is_dictionary(array.type):
        lengths = compute.take(compute.binary_length(array.dictionary), array.indices)
        return int(compute.sum(lengths).as_py() or 0)
    if types.is_list(array.type) or types.is_large_list(array.type):
        return unpacked_size(array.flatten())
    if types.is_struct(array.type):
        return sum(unpacked_size(field) for field in array.flatten())
    return int(array.nbytes)


def _plain(value: Any) -> Any:
    """A cell as JSON knows it; fields of structs that hold nothing are left out, since a column fills every row up with them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return _text(value)
    return str(value)


BYTES = "data:;base64,"
"""How a cell of bytes begins that are no text."""


def _text(value: bytes) -> str:
    """Bytes as the text they are, else as an address that holds them, so that nothing of a picture is lost."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\x00"
    return text if "\x00" not in text else BYTES + base64.b64encode(value).decode()


def nul_in(value: Any) -> bool:
    """Whether a text in a cell holds a NUL, which no JSON of ours may."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(map(nul_in, value.values()))
    return isinstance(value, list) and any(map(nul_in, value))


def shards(folder: Path) -> list[Path]:
    """The files with rows of a dataset folder, in order: what `save_to_disk` of Hugging Face wrote, or a copy of its repository;
    of any other folder every file of a kind that can be read.

    Raises DataError for a folder with neither, and for a state that names a file outside its folder.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits")
        names = _names(folder, splits, "dataset_dict.json")
        return [shard for name in names for shard in shards(folder / name)]
    if (folder / "state.json").is_file():
        listed = _json(folder / "state.json").get("_data_files")
        files = [item.get("filename") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else None
        return [_there(folder / name) for name in _names(folder, files, "state.json")]
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path, folder))
    kinds = [path.suffix.casefold() for path in found]
    columnar = next((kind for kind in SUFFIXES[:3] if kind in kinds), None)
    if columnar is not None:  # a repository of Hugging Face: what else lies there says the same, or what it is
        return [path for path, kind in zip(found, kinds, strict=True) if kind == columnar]
    chosen: dict[Path, Path] = {}
    for suffix in SUFFIXES:
        for path in (path for path, kind in zip(found, kinds, strict=True) if kind == suffix):
            chosen.setdefault(_bare(path), path)
    if chosen:
        return sorted(chosen.values())
    raise DataError(f"{folder.name}: no file with rows in this folder", fix="give a folder with .parquet, .arrow, .jsonl")


def _bare(path: Path) -> Path:
    """The path without the endings that say of which kind it is."""
    while path.suffix.casefold() in SUFFIXES:
        path = path.with_suffix("")
    return path


def _hidden(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return any(part.startswith((".", "cache-")) for part in parts) or path.name in _NOT_ROWS


def _names(folder: Path, names: Any, file: str) -> list[str]:
    if not isinstance(names, list) or not names:
        raise DataError(f"{folder.name}/{file}: names no files", fix="save the dataset again with save_to_disk")
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise DataError(f"{folder.name}/{file}: {name!r} is no file of this folder")
    return names


def _there(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path.parent.name}/{path.name}: named by state.json, but no such file")
    return path


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(16 << 20))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path.parent.name}/{path.name}: {_line(error)}") from None
    return value if isinstance(value, dict) else {}


def _pyarrow(part: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"pyarrow.{part}" if part else "pyarrow")
    except ImportError:
        raise MissingExtra("pyarrow is not installed", fix="pip install pyarrow") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
