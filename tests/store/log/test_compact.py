"""Compaction: killed anywhere nothing is lost or doubled; what was open is carried, then interrupted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.merge import merge

Record = Callable[..., dict[str, Any]]

# Runs one pass per kill point in a fork, each on its own copy, and dies by SIGKILL at the n-th change it makes to a folder.
KILLED = """
import os, shutil, signal, sys
from datetime import datetime, UTC
from pathlib import Path
import pyarrow.parquet
from tunekeeper.store.log import compact, merge

source, target = Path(sys.argv[1]), Path(sys.argv[2])

def work(root):
    compact.compact(root)
    merge.merge(root, datetime(2027, 1, 1, tzinfo=UTC))
    merge.merge(root, datetime(2027, 1, 1, tzinfo=UTC))

for n in range(1, 200):
    root = target / str(n)
    shutil.copytree(source, root)
    if (pid := os.fork()) == 0:
        seen = 0
        def hook(event, arguments):
            global seen
            if event in ("os.rename", "os.remove", "os.link"):
                seen += 1
                if seen == n:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        work(root)
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        break
print(n)
"""


def killed_everywhere(root: Path, target: Path) -> list[Path]:
    """Copies of `root`, each with one pass killed one step later; the last one was not killed."""
    command = [sys.executable, "-c", KILLED, str(root), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return [target / str(n) for n in range(1, int(done.stdout) + 1)]


def populate(root: Path, clock: ManualClock, record: Record) -> tuple[list[str], list[str]]:
    """Two segments of a writer that died with two requests open; returns ended and open ids."""
    spool = Spool(root, "gateway-0", clock)
    ended = []
    lost = [record(), record()]
    spool.opened({k: lost[0][k] for k in ("request_id", "timestamp", "model_id")})
    spool.partial(lost[0]["request_id"], "half an ", lost[0]["request"])
    for n in range(2):
        clock.advance(600)
        made = [record() for _ in range(3)]
        for each in made:
            spool.opened({k: each[k] for k in ("request_id", "timestamp", "model_id")})
            spool.ended(each)
        spool.feedback(
            {"id": f"fb_{n}", "request_id": made[0]["request_id"], "timestamp": clock.utc(), "kind": "edit", "value": "x"}
        )
        ended += [each["request_id"] for each in made]
        if n == 1:
            spool.partial(lost[0]["request_id"], "answer")
            spool.opened({k: lost[1][k] for k in ("request_id", "timestamp", "model_id")})
        spool.flush()
        spool.seal()
    spool.close()
    return ended, [each["request_id"] for each in lost]


def check(root: Path, clock: ManualClock, ended: list[str], lost: list[str]) -> None:
    log = Log(root, clock)
    found = {i.request_id: i for i in log.find()}
    assert sorted(found) == sorted(ended + lost)
    assert [found[id].status for id in lost] == ["interrupted", "interrupted"]
    assert found[lost[0]].response["choices"][0]["message"]["content"] == "half an answer"
    assert all(found[id].response is not None for id in [*ended, lost[0]])
    assert [(row.requests, row.edits) for row in log.window("support-desk", None, None)] == [(8, 2)]


def test_a_compaction_killed_at_any_step_loses_and_doubles_nothing(
    root: Path, tmp_path: Path, clock: ManualClock, record: Record
) -> None:
    ended, lost = populate(root, clock, record)
    copies = killed_everywhere(root, tmp_path / "copies")
    assert len(copies) > 20
    for copy in copies:
        found = Log(copy, clock).find(bodies=False)
        assert sorted(i.request_id for i in found) == sorted(ended + lost)
        with segments.maintenance(copy):
            compact(copy)
            merge(copy, clock.utc().replace(year=2027))
        assert Log(copy, clock).verify() == {"records": 8, "duplicates": 0, "open": 0, "corrupt": 0}
        assert sorted(p.name for p in (copy / "spool").iterdir()) == []
    for copy in copies[::6]:
        merge(copy, clock.utc().replace(year=2027))
        check(copy, clock, ended, lost)
        assert len(list((copy / "log" / "metrics").rglob("*.parquet"))) == 1


def test_what_is_open_is_carried_while_its_writer_lives(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    slow = record()
    spool.opened({k: slow[k] for k in ("request_id", "timestamp", "model_id")})
    for _ in range(3):
        spool.ended(record())
        spool.flush()
        spool.seal()
        with segments.maintenance(root):
            compact(root)
        assert [p.suffix for p in (root / "spool").glob("*.*l*")] == [".lock"] or len(list((root / "spool").glob("*.open"))) == 1
    assert len(log.find()) == 3
    assert log.verify() == {"records": 3, "duplicates": 0, "open": 1, "corrupt": 0}
    spool.ended(slow)
    spool.flush()
    spool.seal()
    with segments.maintenance(root):
        compact(root)
    assert list((root / "spool").glob("*.open")) == []
    assert log.load(slow["request_id"]).status == "ok"
    spool.close()
    assert log.verify() == {"records": 4, "duplicates": 0, "open": 0, "corrupt": 0}


def test_a_damaged_segment_is_compacted_and_kept_aside(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    records = [record() for _ in range(3)]
    for each in records:
        spool.ended(each)
    spool.close()
    (segment,) = segments.list_segments(root)
    data = bytearray(segment.path.read_bytes())
    data[len(data) // 2] ^= 4
    segment.path.write_bytes(data)
    assert log.verify() == {"records": 2, "duplicates": 0, "open": 0, "corrupt": 1}
    with segments.maintenance(root):
        assert compact(root).corrupt == 1
    assert {i.request_id for i in log.find()} == {records[0]["request_id"], records[2]["request_id"]}
    assert log.verify() == {"records": 2, "duplicates": 0, "open": 0, "corrupt": 1}


def test_a_number_beyond_64_bits_costs_the_number_and_not_the_record(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    made = record(prompt_tokens=2**80, completion_tokens=7)
    spool.ended(made)
    spool.close()
    with segments.maintenance(root):
        assert compact(root).records == 1
    found = log.load(made["request_id"])
    assert (found.prompt_tokens, found.completion_tokens) == (None, 7)


def test_parquet_lies_by_hour_and_model_with_metrics_and_bodies_apart(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock, entropy=bytes)
    spool.ended(record())
    spool.ended(record(model_id="../../etc"))
    spool.close()
    with segments.maintenance(root):
        compact(root)
    files = sorted(str(p.relative_to(root / "log")) for p in (root / "log").rglob("*.parquet"))
    name = "001767603600000.gateway-0.000000000000.000000.parquet"
    assert files[1::2] == [f"bodies/2026-01-05T09/support-desk/{name}", f"metrics/2026-01-05T09/support-desk/{name}"]
    assert all(path.split("/")[2].startswith("_") for path in files[::2])


def test_a_copy_of_the_folder_reads_the_same(root: Path, tmp_path: Path, clock: ManualClock, record: Record) -> None:
    ended, lost = populate(root, clock, record)
    with segments.maintenance(root):
        compact(root)
    shutil.copytree(root, tmp_path / "copy")
    check(tmp_path / "copy", clock, ended, lost)


def test_a_long_backlog_is_not_listed_anew_for_each_of_its_segments(
    root: Path, clock: ManualClock, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    real = os.listdir

    def listdir(path: Any = ".") -> list[str]:
        looks.append(str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    taken = []
    for size in (2, 12):
        spool = Spool(root, "gateway-0", clock)
        spool.opened({"request_id": record()["request_id"], "timestamp": clock.utc(), "model_id": "support-desk"})
        for _ in range(size):
            spool.ended(record())
            spool.flush()
            spool.seal()
        looks.clear()
        with segments.maintenance(root):
            assert compact(root).segments == size
        taken.append(looks.count(str(root / "spool")))
        spool.close()
    assert taken[0] == taken[1]
