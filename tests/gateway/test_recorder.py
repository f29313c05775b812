"""The log on the path: one write a tick, tails after it, nobody answered unlogged."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import SystemClock
from tunekeeper.core.errors import DiskFull, OutsideError
from tunekeeper.gateway.recorder import Recorder
from tunekeeper.store.log.lines import scan
from tunekeeper.store.log.spool import Spool


class Tail:
    """Something that waits for its line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.heard: list[OutsideError | None] = []
        self.seen_on_disk = 0

    def logged(self, error: OutsideError | None) -> None:
        self.heard.append(error)
        self.seen_on_disk = len(on_disk(self.root))


class FullSpool(Spool):
    """A spool whose disk is full for a while."""

    full = False
    broken_sync = False

    def _write(self, data: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super()._write(data)

    def sync(self) -> None:
        if self.broken_sync:
            raise OutsideError("the disk says no")
        super().sync()


def on_disk(root: Path) -> list[str]:
    return [line.kind for path in sorted((root / "spool").glob("*.jsonl")) for line in scan(path.read_bytes()).lines]


def run(root: Path, work: Callable[[Recorder, FullSpool], Any]) -> None:
    async def main() -> None:
        spool = FullSpool(root, "gateway-w0", SystemClock())
        recorder = Recorder(spool, asyncio.get_running_loop())
        await work(recorder, spool)
        spool.full = spool.broken_sync = False
        await recorder.close()

    asyncio.run(main())


def ended(number: int) -> dict[str, Any]:
    return {"request_id": f"req_{number}", "status": "ok", "request": b"{}"}


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_all_records_of_one_tick_are_written_before_any_tail_goes_out(tmp_path: Path) -> None:
    tails = [Tail(tmp_path) for _ in range(5)]

    async def work(recorder: Recorder, spool: Spool) -> None:
        for number, tail in enumerate(tails):
            recorder.opened({"request_id": f"req_{number}"}, tail)
            recorder.ended(ended(number), tail)
        assert all(not tail.heard for tail in tails)
        await settle()
        assert [tail.heard for tail in tails] == [[None]] * 5
        assert {tail.seen_on_disk for tail in tails} == {10}

    run(tmp_path, work)


@pytest.mark.parametrize("power", [False, True])
def test_a_full_disk_is_told_to_everybody_of_that_tick_and_to_nobody_after(tmp_path: Path, power: bool) -> None:
    opened, closed, later = Tail(tmp_path), Tail(tmp_path), Tail(tmp_path)

    async def work(recorder: Recorder, spool: FullSpool) -> None:
        spool.full = True
        recorder.opened({"request_id": "req_1"}, opened)
        recorder.ended(ended(2), closed, power=power)
        await settle()
        assert isinstance(opened.heard[0], DiskFull)
        assert isinstance(closed.heard[0], DiskFull)
        assert recorder.failure is not None
        recorder.owe(ended(2) | {"status": "error"})
        recorder.tick()
        assert recorder.failure is not None
        spool.full = False
        recorder.tick()
        assert recorder.failure is None
        recorder.ended(ended(3), later)
        await settle()
        assert later.heard == [None]

    run(tmp_path, work)
    assert on_disk(tmp_path) == ["E", "E"], "the ending that was owed, and the later one"


def test_power_lets_go_only_after_the_sync(tmp_path: Path) -> None:
    first, second = Tail(tmp_path), Tail(tmp_path)

    async def work(recorder: Recorder, spool: FullSpool) -> None:
        recorder.set_power()
        recorder.ended(ended(1), first, power=True)
        await asyncio.sleep(0)
        assert not first.heard, "written, but not yet synced"
        recorder.ended(ended(2), second)
        for _ in range(200):
            await asyncio.sleep(0.005)
            if first.heard and second.heard:
                break
        assert (first.heard, second.heard) == ([None], [None])

    run(tmp_path, work)


def test_a_failed_sync_acknowledges_nothing(tmp_path: Path) -> None:
    tail = Tail(tmp_path)

    async def work(recorder: Recorder, spool: FullSpool) -> None:
        spool.broken_sync = True
        recorder.set_power()
        recorder.ended(ended(1), tail, power=True)
        for _ in range(200):
            await asyncio.sleep(0.005)
            if tail.heard:
                break
        assert isinstance(tail.heard[0], OutsideError)

    run(tmp_path, work)


def test_feedback_and_partial_text_are_lines_too(tmp_path: Path) -> None:
    tail = Tail(tmp_path)

    async def work(recorder: Recorder, spool: Spool) -> None:
        recorder.partial("req_1", "half", b"{}")
        recorder.feedback({"id": "fb_1", "request_id": "req_1", "kind": "thumb", "value": "up"}, tail)
        await settle()
        assert tail.heard == [None]

    run(tmp_path, work)
    assert on_disk(tmp_path) == ["P", "F"]
