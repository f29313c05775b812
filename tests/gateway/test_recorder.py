"""The log on the path: one write a tick, tails after it, nobody answered unlogged."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunekeeper.core.clock import SystemClock
from tunekeeper.core.errors import DiskFull, OutsideError
from tunekeeper.gateway.recorder import Recorder
from tunekeeper.store.log.lines import scan
from tunekeeper.store.log.spool import Spool
from tunekeeper.store.reserve import Room
from tunekeeper.store.space import Level, Space


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
        for _ in range(12_000):
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
        for _ in range(12_000):
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


class Filling:
    """A 64 MB disk that a test fills."""

    free = 60 << 20

    def __call__(self, root: Path) -> Space:
        return Space(total=64 << 20, free=self.free)


def watched(root: Path, disk: Filling, work: Callable[[Recorder, FullSpool], Any]) -> None:
    async def main() -> None:
        spool = FullSpool(root, "gateway-w0", SystemClock())
        recorder = Recorder(spool, asyncio.get_running_loop(), Room(root, disk))
        await work(recorder, spool)
        await recorder.close()

    asyncio.run(main())


def test_bodies_are_left_out_while_room_is_short_and_the_record_says_so(tmp_path: Path) -> None:
    disk = Filling()

    async def work(recorder: Recorder, spool: FullSpool) -> None:
        for number, (free, level) in enumerate(
            [(12, Level.LOW), (6, Level.NO_BODIES), (3, Level.NO_SHADOW), (30, Level.OK)], start=1
        ):
            disk.free = free << 20
            recorder.tick()
            assert recorder.level is level
            recorder.partial(f"req_{number}", "half", b"{}")
            recorder.ended(ended(number), None)
        recorder.tick()
        await settle()

    watched(tmp_path, disk, work)
    lines = [line for path in sorted((tmp_path / "spool").glob("*.jsonl")) for line in scan(path.read_bytes()).lines]
    said = {each["request_id"]: each for each in (msgspec.json.decode(line.json) for line in lines) if each["k"] == "E"}
    assert ["request" in said[f"req_{n}"] for n in (1, 2, 3, 4)] == [True, False, False, True]
    assert [said[f"req_{n}"].get("bodies_off") for n in (1, 2, 3, 4)] == [None, "disk", "disk", None]
    assert [line.kind for line in lines].count("P") == 2, "no partial text either"


def test_a_full_disk_is_tried_once_a_second_and_everything_goes_on_by_itself(tmp_path: Path) -> None:
    disk = Filling()
    first, second, third = Tail(tmp_path), Tail(tmp_path), Tail(tmp_path)

    async def work(recorder: Recorder, spool: FullSpool) -> None:
        spool.full = True
        recorder.ended(ended(1), first)
        await settle()
        spool.full = False
        recorder.ended(ended(2), second)
        await settle()
        assert isinstance(first.heard[0], DiskFull)
        assert isinstance(second.heard[0], DiskFull), "what room came back in between is not the log's before the next look"
        recorder.tick()
        assert (recorder.failure, recorder.level) == (None, Level.OK), "without any request, so that readiness comes back"
        recorder.ended(ended(3), third)
        await settle()
        assert third.heard == [None]

    watched(tmp_path, disk, work)
    assert on_disk(tmp_path) == ["X", "E"]


def test_room_that_a_reserve_left_is_not_used_for_the_log(tmp_path: Path) -> None:
    disk = Filling()
    refused, served = Tail(tmp_path), Tail(tmp_path)

    async def work(recorder: Recorder, spool: FullSpool) -> None:
        disk.free = 4 << 20  # no reserve lies there, and this is what one would have left
        recorder.tick()
        assert recorder.level is Level.FULL
        recorder.ended(ended(1), refused)
        await settle()
        assert isinstance(refused.heard[0], DiskFull)
        assert recorder.failure is not None
        recorder.owe(ended(1) | {"status": "error"})
        recorder.tick()
        assert on_disk(tmp_path) == []
        disk.free = 40 << 20
        recorder.tick()
        assert (recorder.failure, recorder.level) == (None, Level.OK)
        recorder.ended(ended(2), served)
        await settle()
        assert served.heard == [None]

    watched(tmp_path, disk, work)
    assert on_disk(tmp_path) == ["E", "E"]
