"""The Parquet side of the log: `log/<kind>/<hour>/<model>/<name>.parquet`, each file written whole or not at all.

Kinds: metrics, bodies, feedback, tokens. A merge of small files announces itself in a journal, so that readers of the folder
count every row once while both the merged file and its sources lie there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import xxhash

from tunekeeper.core.ids import time_of
from tunekeeper.store.log.columns import hour_of

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("metrics", "bodies", "feedback", "tokens")
STATEMENTS = ("feedback", "tokens")
"""Kinds of what is said about requests later; they lie beside the models'."""
ROW_GROUP = {"metrics": 8192, "bodies": 1024, "feedback": 8192, "tokens": 8192}
"""Rows of a group: one request is looked up by reading a group of each kind, bodies being a thousand times as large."""
DIFFERENT = frozenset(
    ("request_id", "origin", "body_id", "timestamp", "latency_ms", "ttft_ms", "client_request_id", "parent_id", "request",
     "response", "request64", "response64", "id", "attempts", "metadata", "value", "confidence")
)  # fmt: skip
"""Columns whose values rarely come twice: a dictionary of them costs time and room."""
RANGED = frozenset(("request_id", "timestamp", "model_id", "version", "variant", "rollout", "purpose", "status", "id"))
"""Columns whose least and greatest value are kept for each group of rows, for what is asked by them."""
_DOUBLES = b"tunekeeper.doubles"
_INSTANT = timedelta(microseconds=1)
_LOOKS = 3
_FEW, _AT_ONCE = 4, 8
"""Files that are written one after the other, and how many side by side where they are more."""
_HOUR = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """A merge: which file stands for which."""

    target: str
    """Name of the merged file; counts as soon as it exists."""
    sources: tuple[str, ...]
    """Names of the files it stands for."""


def model_folder(model: str | None) -> str:
    """The folder of a model's files: its name, or a hash where the name is no safe file name."""
    if model is not None and _PLAIN.fullmatch(model):
        return model
    return "_" if model is None else "_" + xxhash.xxh3_64_hexdigest(model.encode("utf-8", "replace"))


def folders(root: Path, kind: str, since: datetime | None, until: datetime | None, model: str | None = None) -> Iterator[Path]:
    """The folders that can hold rows of `[since, until)`, oldest first; of one model's, or all."""
    top = root / "log" / kind
    for hour in within(names(top), since, until):
        inside = [model_folder(model)] if model is not None else sorted(names(top / hour))
        for name in inside:
            if (top / hour / name).is_dir():
                yield top / hour / name


def hours(root: Path, kind: str) -> list[str]:
    """The hours that have a folder, oldest first."""
    return within(names(root / "log" / kind), None, None)


def within(found: Iterable[str], since: datetime | None, until: datetime | None) -> list[str]:
    """Of these folder names the hours that can hold rows of `[since, until)`, oldest first."""
    low, high = bounds(since, until)
    return sorted(name for name in found if low <= name <= high and _HOUR.fullmatch(name))


def bounds(since: datetime | None, until: datetime | None) -> tuple[str, str]:
    """The names of the first and the last hour that can hold rows of `[since, until)`."""
    return "" if since is None else hour_of(since), "~" if until is None else hour_of(until - _INSTANT)


def names(folder: Path) -> list[str]:
    """What lies in a folder; nothing where there is none."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def files(root: Path, kind: str, since: datetime | None, until: datetime | None, model: str | None = None) -> list[Path]:
    """Every Parquet file that can hold rows of `[since, until)`, oldest hour first, sources of a finished merge left out."""
    found: list[Path] = []
    for folder in folders(root, kind, since, until, model):
        found.extend(folder / name for name in visible(folder))
    return found


def model_of(root: Path, request_id: str) -> str | None:
    """The model that a request was asked of, by the hour in which its id was made; None where no file of that hour holds it, or
    it is not an id of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        made = time_of(request_id)
    except (ValueError, OverflowError):
        return None
    for _ in range(_LOOKS):
        try:
            for path in files(root, "metrics", made, made + _INSTANT):
                with suppress(pa.ArrowInvalid):  # a damaged file is named by `log verify`
                    found = pq.read_table(
                        path, columns=["model_id"], filters=[("request_id", "=", request_id)], partitioning=None
                    )
                    if len(found):
                        return str(found["model_id"][0])
            return None
        except FileNotFoundError:  # merged while we looked: its rows lie in another file
            continue
    return None


def visible(folder: Path) -> list[str]:
    """Names of the Parquet files in one folder that count."""
    inside = sorted(names(folder))
    parquet = {name for name in inside if name.endswith(".parquet") and not name.startswith(".")}
    for name in inside:
        if not name.endswith(".journal"):
            continue
        journal = read_journal(folder / name)
        if journal is not None and journal.target in parquet:
            parquet.difference_update(journal.sources)
    return sorted(parquet)


def read_journal(path: Path) -> Journal | None:
    """A merge's journal; None when it is gone. Journals are written whole, so a damaged one raises msgspec.DecodeError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Journal)
    except FileNotFoundError:
        return None


def doubles(schema: pa.Schema) -> int:
    """How often merging met an id of this file that was written again, and dropped it."""
    return int((schema.metadata or {}).get(_DOUBLES, b"0"))


def doubles_note(count: int) -> dict[bytes, bytes] | None:
    """What a file's schema carries so that `doubles` finds `count`; nothing for none."""
    return {_DOUBLES: str(count).encode()} if count else None


def write_table(folder: Path, name: str, kind: str, table: pa.Table) -> Path:
    """Write one Parquet file: hidden, synced, renamed. Writing the same again changes nothing that a reader sees."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    hidden = folder / f".{name}.new"
    pq.write_table(
        table,
        hidden,
        compression="zstd",
        row_group_size=ROW_GROUP[kind],
        write_page_checksum=True,
        use_dictionary=[column for column in table.column_names if column not in DIFFERENT],
        write_statistics=[column for column in table.column_names if column in RANGED],
    )
    path = folder / name
    settle(hidden, path)
    return path


def write_tables(tables: Iterable[tuple[Path, str, str, pa.Table]]) -> None:
    """`write_table` for each of these. Many are written side by side: what is waited for is the disk, which takes as long to make
    one file safe as to make several."""
    given = list(tables)
    if len(given) <= _FEW:
        for each in given:
            write_table(*each)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda each: write_table(*each), given))


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file: hidden, synced, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.new")
    hidden.write_bytes(data)
    settle(hidden, path)


def settle(hidden: Path, path: Path) -> None:
    """Give a written file its name, so that it survives the loss of power from then on."""
    sync(hidden)
    os.rename(hidden, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync a file or folder."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def drop_hour(root: Path, hour: str) -> None:
    """Delete everything of one hour: metrics, bodies, feedback, tokens and the index of body ids."""
    for kind in KINDS:
        shutil.rmtree(root / "log" / kind / hour, ignore_errors=True)
    for path in (root / "ids").glob(f"{hour}*"):
        path.unlink(missing_ok=True)
