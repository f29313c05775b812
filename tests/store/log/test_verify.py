"""`log verify`: what is lost, doubled, open or damaged is counted, wherever it lies."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact

Record = Callable[..., dict[str, Any]]


def report(root: Path, clock: ManualClock) -> dict[str, int]:
    return Log(root, clock).verify()


def compacted(root: Path, clock: ManualClock, record: Record, records: int) -> None:
    """A log of so many records, all of them in Parquet files."""
    spool = Spool(root, "gateway-0", clock)
    for _ in range(records):
        spool.ended(record())
    spool.close()
    with segments.maintenance(root):
        compact(root)


def test_an_empty_log_is_sound(root: Path, clock: ManualClock) -> None:
    assert report(root, clock) == {"records": 0, "duplicates": 0, "open": 0, "corrupt": 0}


def test_open_requests_are_those_of_living_writers(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    for _ in range(2):
        spool.opened({k: v for k, v in record().items() if k in ("request_id", "timestamp", "model_id")})
    spool.ended(record())
    spool.flush()
    assert report(root, clock) == {"records": 1, "duplicates": 0, "open": 2, "corrupt": 0}
    spool.close()
    assert report(root, clock) == {"records": 3, "duplicates": 0, "open": 0, "corrupt": 0}


def test_a_line_that_stands_twice_is_a_duplicate_before_and_after_compaction(
    root: Path, clock: ManualClock, record: Record
) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    (segment,) = segments.list_segments(root)
    segment.path.write_bytes(segment.path.read_bytes() * 2)
    assert report(root, clock) == {"records": 1, "duplicates": 1, "open": 0, "corrupt": 0}
    with segments.maintenance(root):
        compact(root)
    assert report(root, clock) == {"records": 1, "duplicates": 1, "open": 0, "corrupt": 0}


def test_the_same_id_in_two_segments_is_a_duplicate(root: Path, clock: ManualClock, record: Record) -> None:
    made = record()
    for compacted in (True, False):
        spool = Spool(root, "gateway-0", clock)
        spool.ended(made)
        spool.close()
        if compacted:
            with segments.maintenance(root):
                compact(root)
    assert report(root, clock)["duplicates"] == 1


def test_a_segment_half_compacted_by_a_killed_keeper_is_no_duplicate(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    (segment,) = segments.list_segments(root)
    data = segment.path.read_bytes()
    with segments.maintenance(root):
        compact(root)
    segment.path.write_bytes(data)
    assert report(root, clock) == {"records": 1, "duplicates": 0, "open": 0, "corrupt": 0}


def test_bits_that_flip_in_parquet_are_found(root: Path, clock: ManualClock, record: Record) -> None:
    compacted(root, clock, record, 50)
    (path,) = (root / "log" / "bodies").rglob("*.parquet")
    whole = path.read_bytes()
    rng = random.Random(4)
    for _ in range(10):
        broken = bytearray(whole)
        broken[rng.randrange(100, len(whole) // 2)] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        assert report(root, clock)["corrupt"] == 1
    path.write_bytes(whole)
    assert report(root, clock)["corrupt"] == 0


def test_a_footer_that_says_else_than_its_pages_is_damage_and_the_file_is_named(
    root: Path, clock: ManualClock, record: Record
) -> None:
    compacted(root, clock, record, 3)
    (path,) = (root / "log" / "metrics").rglob("*.parquet")
    whole = path.read_bytes()
    end = whole.rindex(b"support-desk")  # among the least and greatest values, at the end of the file
    for broken in (
        whole[:end] + b"xupport-desk" + whole[end + 12 :],
        whole.replace(b"variant", b"verient"),
        whole.replace(b"latency_ms", b"laten\xff\xffmsx"),
        whole[:-1],
    ):
        assert broken != whole
        path.write_bytes(broken)
        damaged: list[Path] = []
        assert Log(root, clock).verify(damaged)["corrupt"] == 1
        assert damaged == [path]


def test_a_column_that_a_flip_made_another_kind_of_thing_is_damage(root: Path, clock: ManualClock, record: Record) -> None:
    """A name that came back as bytes broke who asked. What only one reader takes otherwise changes no answer."""
    compacted(root, clock, record, 1)
    (path,) = (root / "log" / "metrics").rglob("*.parquet")
    whole = path.read_bytes()
    known = kinds(whole)
    truth = Log(root, clock).find()
    bits = range(8 * (len(whole) - int.from_bytes(whole[-8:-4], "little") - 8), 8 * (len(whole) - 8), 11)
    others = [broken for bit in bits if (broken := flipped(whole, bit)) and kinds(broken) not in (known, None)]
    found = 0
    for broken in others[:: len(others) // 12]:
        path.write_bytes(broken)
        if Log(root, clock).verify()["corrupt"]:
            found += 1
        else:
            assert Log(root, clock).find() == truth
    assert found >= 6


def flipped(whole: bytes, bit: int) -> bytes:
    """The same with one bit turned."""
    broken = bytearray(whole)
    broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken)


def kinds(whole: bytes) -> list[pa.DataType] | None:
    """The types of a Parquet file's columns, as its footer says them; None where it cannot be read."""
    try:
        return pq.read_metadata(pa.BufferReader(whole)).schema.to_arrow_schema().types
    except (pa.ArrowException, OSError, ValueError):
        return None


def test_flips_anywhere_in_a_file_are_found_or_change_nothing(root: Path, clock: ManualClock, record: Record) -> None:
    compacted(root, clock, record, 20)
    truth = Log(root, clock).find()
    rng = random.Random(9)
    for path in (root / "log").rglob("*.parquet"):
        whole = path.read_bytes()
        for _ in range(4):
            broken = bytearray(whole)
            broken[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            path.write_bytes(broken)
            if not report(root, clock)["corrupt"]:
                assert Log(root, clock).find() == truth
        path.write_bytes(whole)
