"""Erasing a user: gone from spool, Parquet, feedback and index, whatever lies where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound
from tunekeeper.store.log import Log, Spool, erase, segments
from tunekeeper.store.log.bodyids import Index
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.merge import merge

Record = Callable[..., dict[str, Any]]
MALLORY = xxhash.xxh3_64_hexdigest(b"mallory")


def traces(root: Path) -> list[str]:
    """Files that still hold the name; Parquet is compressed, so its rows are read."""
    import pyarrow.parquet as pq

    found = [str(path) for path in (root / "spool").rglob("*") if path.is_file() and b"mallory" in path.read_bytes()]
    for path in (root / "log").rglob("*.parquet"):
        if "mallory" in str(pq.read_table(path, partitioning=None).to_pylist()):
            found.append(str(path))
    return found


def populate(root: Path, clock: ManualClock, record: Record) -> tuple[Spool, list[str], list[str]]:
    """Requests of mallory, named in four ways, among those of others; part of them will be compacted, part is hot."""
    spool = Spool(root, "gateway-0", clock)
    asked = b'{"user":"mallory","messages":[]}'
    theirs = [
        record(metadata={"user_id": "mallory"}),
        record(request=asked),
        record(request=b'{"metadata": {"user_id" : "mallory"}}', body_id="same"),
        record(unit_kind="user", unit=MALLORY),
        record(request=asked, response=b"\xff mallory"),
    ]
    others = [record(metadata={"user_id": "alice"}), record(request=b'{"messages":["I know mallory\'s user"]}', body_id="same")]
    for each in theirs + others:
        spool.ended(each)
    spool.feedback(
        {"id": "fb_1", "request_id": theirs[0]["request_id"], "timestamp": clock.utc(), "kind": "edit", "value": "mallory"}
    )
    spool.feedback(
        {"id": "fb_2", "request_id": others[0]["request_id"], "timestamp": clock.utc(), "kind": "thumb", "value": "up"}
    )
    spool.flush()
    return spool, [r["request_id"] for r in theirs], [r["request_id"] for r in others]


@pytest.mark.parametrize("where", ["open segment", "sealed", "parquet", "between merges"])
def test_everything_of_a_user_goes_and_everything_else_stays(root: Path, clock: ManualClock, record: Record, where: str) -> None:
    spool, theirs, others = populate(root, clock, record)
    if where != "open segment":
        spool.seal()
    with segments.maintenance(root):
        if where in ("parquet", "between merges"):
            compact(root)
    if where == "between merges":
        spool.ended(record(metadata={"user": "mallory"}))
        spool.flush()
        spool.seal()
        with segments.maintenance(root):
            compact(root)
            merge(root, clock.utc().replace(year=2027))
    log = Log(root, clock)
    report = log.erase("mallory")
    assert report["requests"] == len(theirs) + (where == "between merges")
    assert [i.request_id for i in Log(root, clock).find()] == others
    assert [f.id for f in Log(root, clock).feedback()] == ["fb_2"]
    assert [path for path in traces(root) if "alice" not in path and not _innocent(path)] == []
    with pytest.raises(NotFound):
        Log(root, clock).load(theirs[0])
    assert log.erase("mallory")["requests"] == 0
    spool.ended(record())
    spool.close()
    assert Log(root, clock).verify() == {"records": 3, "duplicates": 0, "open": 0, "corrupt": 0}


def _innocent(path: str) -> bool:
    """Whether the name stands there only in the words of somebody else."""
    import pyarrow.parquet as pq

    if path.endswith(".parquet"):
        return all(
            "mallory" not in str(row) or "I know" in str(row) for row in pq.read_table(path, partitioning=None).to_pylist()
        )
    return all(b"mallory" not in line or b"I know" in line for line in Path(path).read_bytes().split(b"\n"))


def test_whoever_has_read_the_log_before_sees_that_they_are_gone(root: Path, clock: ManualClock, record: Record) -> None:
    spool, theirs, others = populate(root, clock, record)
    spool.opened(record(metadata={"user_id": "mallory"}))
    spool.flush()
    reader = Log(root, clock)
    assert len(reader.find()) == len(theirs) + len(others)
    Log(root, clock).erase("mallory")
    assert [i.request_id for i in reader.find()] == others
    assert [f.id for f in reader.feedback()] == ["fb_2"]
    assert sum(row.requests for row in reader.window(None, None, None)) == len(others)
    spool.close()
    assert [i.request_id for i in reader.find(purpose=None)] == others, "nor as an interrupted one"


def test_the_index_of_body_ids_forgets_too(root: Path, clock: ManualClock, record: Record) -> None:
    spool, theirs, others = populate(root, clock, record)
    spool.close()
    with segments.maintenance(root):
        compact(root)
    hours = Index(root).hours()
    assert Index(root).find("same", hours) == {theirs[2], others[1]}
    Log(root, clock).erase("mallory")
    assert Index(root).find("same", hours) == {others[1]}


def test_an_erasure_that_was_killed_is_finished_by_the_next_pass(root: Path, clock: ManualClock, record: Record) -> None:
    spool, theirs, others = populate(root, clock, record)
    spool.close()
    with segments.maintenance(root):
        compact(root)
        # What a kill leaves right after the note was written, and after the bodies, by which two of them were known, had gone.
        (root / "log" / "erasing.json").write_text(json.dumps(theirs))
        for path in (root / "log" / "bodies").rglob("*.parquet"):
            path.unlink()
        erase.resume(root)
    assert [i.request_id for i in Log(root, clock).find(bodies=False)] == others
    assert not (root / "log" / "erasing.json").exists()


def test_a_damaged_segment_that_still_names_the_user_goes_whole(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    for name in ("alice", "mallory", "mallory"):
        spool.ended(record(metadata={"user_id": name}))
    spool.close()
    (segment,) = segments.list_segments(root)
    data = segment.path.read_bytes()
    segment.path.write_bytes(data.replace(b'"k":"E"', b'"k":"Z"', 2).replace(b'"k":"Z"', b'"k":"E"', 1))
    with segments.maintenance(root):
        assert compact(root).corrupt == 1
    assert len(list((root / "spool" / "damaged").iterdir())) == 1
    Log(root, clock).erase("mallory")
    assert list((root / "spool" / "damaged").iterdir()) == []
    assert len(Log(root, clock).find()) == 1


def test_whose_requests_would_go_can_be_asked_before(root: Path, clock: ManualClock, record: Record) -> None:
    spool, theirs, _ = populate(root, clock, record)
    log = Log(root, clock)
    assert log.requests_of("mallory") == set(theirs)
    spool.close()
    with segments.maintenance(root):
        compact(root)
    assert log.requests_of("mallory") == set(theirs)
    assert log.requests_of("nobody") == set()
