"""The reserve file: laid by while there is room, given up for a rollback, laid by again."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

from tunekeeper.store.reserve import NAME, Room, lay_by, make_room, release, reserved
from tunekeeper.store.space import MARGIN, RESERVE, Level, Space

MB = 1 << 20


class Disk:
    """A 64 MB disk with so much free; the reserve takes its part of it."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.broken = False

    def __call__(self, root: Path) -> Space:
        if self.broken:
            raise OSError("the disk does not answer")
        return Space(total=64 * MB, free=self.free - (RESERVE if reserved(root) else 0))


def test_a_reserve_takes_real_blocks_and_gives_them_back(tmp_path: Path) -> None:
    assert not reserved(tmp_path)
    assert not release(tmp_path)
    assert lay_by(tmp_path)
    assert lay_by(tmp_path), "a second worker does no harm"
    assert reserved(tmp_path)
    assert (tmp_path / NAME).stat().st_blocks * 512 >= RESERVE
    assert release(tmp_path)
    assert not reserved(tmp_path)
    assert (tmp_path / NAME).stat().st_blocks == 0


def test_where_there_is_no_room_for_it_nothing_half_made_stays(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (RESERVE // 2, before[1]))
        assert not lay_by(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / NAME).stat().st_size == 0
    assert not lay_by(tmp_path / "missing")
    assert not release(tmp_path / "missing")


def test_room_is_made_only_on_a_full_disk(tmp_path: Path) -> None:
    disk = Disk(free=30 * MB)
    lay_by(tmp_path)
    assert not make_room(tmp_path, disk)
    disk.free = RESERVE + MARGIN - 1
    assert make_room(tmp_path, disk)
    assert not reserved(tmp_path)
    assert not make_room(tmp_path, disk)
    disk.broken = True
    assert not make_room(tmp_path, disk)


def test_a_roomy_disk_holds_no_reserve_and_a_short_one_does(tmp_path: Path) -> None:
    disk = Disk(free=30 * MB)
    room = Room(tmp_path, disk)
    assert room.look() is Level.OK
    assert not reserved(tmp_path)
    disk.free = 12 * MB
    assert room.look() is Level.LOW
    assert reserved(tmp_path)
    disk.free = RESERVE
    assert room.look() is Level.NO_SHADOW


def test_a_reserve_given_up_makes_the_disk_full_until_it_can_be_laid_by_again(tmp_path: Path) -> None:
    disk = Disk(free=12 * MB)
    room = Room(tmp_path, disk)
    room.look()
    disk.free = RESERVE
    assert make_room(tmp_path, disk)
    assert room.look() is Level.FULL
    assert not reserved(tmp_path)
    disk.free = 14 * MB
    assert room.look() is Level.LOW
    assert reserved(tmp_path)
    disk.free = 40 * MB
    assert room.look() is Level.OK


def test_a_disk_that_does_not_answer_keeps_its_level(tmp_path: Path) -> None:
    disk = Disk(free=12 * MB)
    room = Room(tmp_path, disk)
    room.look()
    disk.broken = True
    assert room.look() is Level.LOW
