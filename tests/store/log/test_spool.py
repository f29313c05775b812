"""The writing side: buffering, one write, sealing, full disks, and what kill -9 leaves."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tunekeeper.core.clock import ManualClock, SystemClock
from tunekeeper.core.errors import OutsideError
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.lines import scan
from tunekeeper.store.log.spool import ended_line

Record = Callable[..., dict[str, Any]]

WRITER = """
import sys
from pathlib import Path
from tunekeeper.core.clock import SystemClock
from tunekeeper.core.ids import new_id
from tunekeeper.store.log import Spool

clock = SystemClock()
spool = Spool(Path(sys.argv[1]), "gateway-0", clock, max_bytes=20_000)
with open(sys.argv[2], "ab", buffering=0) as ledger:
    while True:
        ids = [new_id("req", clock.utc()) for _ in range(8)]
        for id in ids:
            spool.opened({"request_id": id, "timestamp": clock.utc(), "model_id": "m"})
            spool.ended({"request_id": id, "timestamp": clock.utc(), "model_id": "m", "request": b'{"a":"' + b"x" * 300 + b'"}'})
        spool.flush()
        ledger.write("".join(id + "\\n" for id in ids).encode())
"""


def test_nothing_is_in_the_log_before_the_flush_and_all_of_it_after(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    first = record()
    spool.ended(first)
    assert spool.pending == 1
    assert log.find() == []
    assert spool.flush() > 0
    assert spool.flush() == 0
    assert [i.request_id for i in log.find()] == [first["request_id"]]
    spool.close()


def test_an_ending_that_goes_on_from_its_opening_says_the_same_as_one_written_whole(
    root: Path, clock: ManualClock, record: Record
) -> None:
    spool = Spool(root, "gateway-0", clock)
    whole = record(request=b'{"a": 1}', response=b'{"b":  2}')
    begun = {name: value for name, value in whole.items() if name not in ("request", "response", "status")}
    opened = spool.opened(begun)
    ended = begun | {"status": "ok", "request": whole["request"], "response": whole["response"]}
    spool.ended(ended, opened=opened)
    spool.ended(ended)
    spool.ended(ended, opened=opened, line=ended_line(ended, opened))
    spool.flush()
    spool.close()
    lines = [line.json for path in root.glob("spool/*.jsonl") for line in scan(path.read_bytes()).lines]
    assert len(lines) == 4
    assert lines[1] == lines[2] == lines[3]
    assert "request" in ended, "what the caller gave is left as it is"


def test_a_segment_is_sealed_by_size_and_by_age(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock, max_bytes=1000, max_seconds=5.0)
    spool.ended(record(request=b'"' + b"x" * 2000 + b'"'))
    spool.flush()
    spool.ended(record())
    spool.flush()
    held = [segments.is_held(s.path) for s in segments.list_segments(root)]
    assert held == [False, True]
    clock.advance(5)
    spool.tick()
    assert [segments.is_held(s.path) for s in segments.list_segments(root)] == [False, False]
    spool.close()


def test_the_names_of_segments_sort_by_time_and_tell_the_writer(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-7", clock, entropy=bytes)
    for _ in range(3):
        spool.ended(record())
        spool.flush()
        spool.seal()
        clock.advance(60)
    spool.close()
    names = [s.path.name for s in segments.list_segments(root)]
    assert names == sorted(names)
    assert names[0] == "001767603600000.gateway-7.000000000000.000000.jsonl"


def test_a_name_that_is_no_writers_name_is_refused(root: Path, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="writer"):
        Spool(root, "../evil", clock)


def test_a_write_that_cannot_be_finished_leaves_nothing_and_the_next_one_works(
    root: Path, clock: ManualClock, record: Record
) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    spool.ended(record(request_id="req_before"))
    spool.flush()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))  # the kernel cuts the write short, then refuses
        spool.ended(record(request_id="req_lost", request=b'"' + b"x" * 9000 + b'"'))
        with pytest.raises(OutsideError, match="cannot write the request log"):
            spool.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    clock.advance(1)
    spool.ended(record(request_id="req_after"))
    spool.flush()
    assert [i.request_id for i in log.find()] == ["req_before", "req_after"]
    assert log.verify() == {"records": 2, "duplicates": 0, "open": 0, "corrupt": 0}
    spool.close()


def test_sync_takes_sealed_segments_too_and_then_lets_them_go(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock, power=True)
    spool.ended(record())
    spool.flush()
    spool.seal()
    assert [segments.is_held(s.path) for s in segments.list_segments(root)] == [True]
    spool.sync()
    assert [segments.is_held(s.path) for s in segments.list_segments(root)] == [False]
    spool.close()


def test_an_idle_writer_under_power_lets_its_synced_segment_go(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock, power=True)
    spool.ended(record())
    spool.flush()
    spool.sync()
    clock.advance(5)
    spool.tick()
    assert [segments.is_held(s.path) for s in segments.list_segments(root)] == [False]
    spool.close()


def test_closing_twice_is_once_and_frees_the_writer(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    assert segments.is_alive(root, spool.writer)
    spool.close()
    spool.close()
    assert not segments.is_alive(root, spool.writer)
    assert len(Log(root, clock).find()) == 1


def test_a_writer_killed_ten_times_loses_and_doubles_nothing(root: Path, tmp_path: Path) -> None:
    rng = random.Random(11)
    ledger = tmp_path / "acknowledged"
    log = Log(root, SystemClock())
    for _ in range(10):
        done = ledger.stat().st_size if ledger.exists() else 0
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(root), str(ledger)])
        try:
            until(lambda: ledger.exists() and ledger.stat().st_size > done)  # noqa: B023
            time.sleep(rng.uniform(0, 0.03))
        finally:
            child.kill()
            child.wait()
        with segments.maintenance(root):
            compact(root) if rng.random() < 0.5 else None
    # A writer that is killed while it notes an id leaves the beginning of one.
    acknowledged = set(re.findall(r"req_[0-9A-Z]{26}", ledger.read_text()))
    found = [i.request_id for i in log.find(bodies=False)]
    assert len(acknowledged) >= 80
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))
    with segments.maintenance(root):
        compact(root)
    report = log.verify()
    assert (report["duplicates"], report["open"], report["corrupt"]) == (0, 0, 0)
    assert report["records"] == len(found)
    assert [name for name in os.listdir(root / "spool") if not name.startswith(".")] == []


def test_building_a_line_keeps_the_bytes_of_a_two_megabyte_body(root: Path, clock: ManualClock, record: Record) -> None:
    body = b'{"text":"' + "é\\n𝄞 ".encode() * 180_000 + b'"}'
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record(request=body))
    spool.close()
    (segment,) = segments.list_segments(root)
    (line,) = scan(segment.path.read_bytes()).lines
    assert body in line.json
