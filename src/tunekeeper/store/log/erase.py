"""Erasing a user: every request of theirs, its answer and what was said about it, in the spool and in Parquet.

Lines in the spool are overwritten in place by tombstones of the same length, which works beside a running writer; Parquet files
are written anew without the rows. The ids are noted first, so that an erasure that was killed is finished by the next pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from tunekeeper.store.log import partitions, segments
from tunekeeper.store.log.bodyids import Index
from tunekeeper.store.log.lines import Line, scan, tombstone
from tunekeeper.store.log.partitions import KINDS
from tunekeeper.store.log.records import body_bytes, decode, parse_body

_NOTE = "erasing.json"


def erase(root: Path, user: str, *, dry_run: bool = False) -> dict[str, int]:
    """Erase the requests whose `user`, `metadata.user_id`, `metadata.user` or assignment unit is `user`. Returns how many
    `requests`, spool `lines` and Parquet `rows` went; with `dry_run` only counts the requests."""
    with segments.maintenance(root):
        resume(root)
        ids = _spooled(root, user) | _stored(root, user)
        if dry_run or not ids:
            return {"requests": len(ids), "lines": 0, "rows": 0}
        partitions.write_whole(root / "log" / _NOTE, msgspec.json.encode(sorted(ids)))
        lines, rows = _remove(root, ids)
        _drop_damaged(root, user)
        (root / "log" / _NOTE).unlink()
    return {"requests": len(ids), "lines": lines, "rows": rows}


def requests_of(root: Path, user: str) -> set[str]:
    """Ids of the requests that `erase` would erase."""
    with segments.maintenance(root):
        return _spooled(root, user) | _stored(root, user)


def resume(root: Path) -> None:
    """Finish an erasure that was killed. The caller holds `segments.maintenance`."""
    note = root / "log" / _NOTE
    if note.exists():
        _remove(root, set(msgspec.json.decode(note.read_bytes(), type=list[str])))
        note.unlink()


def _belongs(record: Any, user: str) -> bool:
    metadata = getattr(record, "metadata", None) or {}
    unit = getattr(record, "unit", None)
    return _names(metadata, user) or (unit is not None and unit == _unit(user)) or _asked_by(body_bytes(record, "request"), user)


def _unit(user: str) -> str:
    return xxhash.xxh3_64_hexdigest(user.encode("utf-8", "replace"))


def _names(metadata: Any, user: str) -> bool:
    return isinstance(metadata, dict) and user in (metadata.get("user_id"), metadata.get("user"))


def _asked_by(body: bytes | None, user: str) -> bool:
    request = parse_body(body)
    return isinstance(request, dict) and (request.get("user") == user or _names(request.get("metadata"), user))


def _files(root: Path) -> list[Path]:
    spool = root / "spool"
    return [*spool.glob("*.jsonl"), *spool.glob("*.open"), *spool.glob("damaged/*.jsonl")]


def _records(path: Path) -> Iterator[tuple[Line, Any]]:
    for line in scan(path.read_bytes()).lines:
        record = decode(line)
        if record is not None:
            yield line, record


def _spooled(root: Path, user: str) -> set[str]:
    found = ((line, record) for path in _files(root) for line, record in _records(path))
    return {record.request_id for line, record in found if line.kind in "OPE" and _belongs(record, user)}


def _stored(root: Path, user: str) -> set[str]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: set[str] = set()
    for path in partitions.files(root, "metrics", None, None):
        table = pq.read_table(path, columns=["request_id", "metadata", "unit"], partitioning=None)
        mine = table.filter(pc.equal(table["unit"], _unit(user)))
        found.update(mine["request_id"].to_pylist())
        rows = table.filter(pc.match_substring(table["metadata"], "user")).to_pylist()
        found.update(row["request_id"] for row in rows if _names(msgspec.json.decode(row["metadata"]), user))
    for path in partitions.files(root, "bodies", None, None):
        for batch in pq.ParquetFile(path).iter_batches(4096, columns=["request_id", "request", "request64"]):
            rows = [row for row in batch.to_pylist() if '"user' in (row["request"] or "") or row["request64"] is not None]
            found.update(r["request_id"] for r in rows if _asked_by(r["request64"] or (r["request"] or "").encode(), user))
    return found


def _remove(root: Path, ids: set[str]) -> tuple[int, int]:
    lines = sum(_overwrite(path, ids) for path in _files(root))
    rows = sum(_rewrite(folder, kind, ids) for kind in KINDS for folder in partitions.folders(root, kind, None, None))
    Index(root).forget(ids)
    partitions.write_whole(segments.erased(root), b"")  # whoever has read the spool before reads it anew
    return lines, rows


def _overwrite(path: Path, ids: set[str]) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    count = 0
    try:
        for line, record in _records(path):
            if record.request_id in ids:
                os.pwrite(fd, tombstone(line.end - line.start), line.start)
                count += 1
        if count:
            os.fdatasync(fd)
    finally:
        os.close(fd)
    return count


def _rewrite(folder: Path, kind: str, ids: set[str]) -> int:
    """Write the files of one folder anew without these requests; every file, so that no source of a merge keeps them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    gone = pa.array(sorted(ids), pa.string())
    count = 0
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, partitioning=None)
        kept = table.filter(pc.invert(pc.is_in(table["request_id"], value_set=gone)))
        if len(kept) < len(table):
            partitions.write_table(folder, path.name, kind, kept)
            count += len(table) - len(kept)
    return count


def _drop_damaged(root: Path, user: str) -> None:
    """A damaged stretch cannot be searched record by record: where the name still stands in one, the file goes."""
    for path in (root / "spool" / "damaged").glob("*.jsonl"):
        if user.encode() in path.read_bytes():
            path.unlink()
