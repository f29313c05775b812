"""Names and locks of segments."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tunekeeper.store.log import segments


def test_only_names_of_ours_are_segments(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    good = segments.segment_name(1, "gateway-0.0123456789ab", 3)
    for name in (good, "x.jsonl", f".{good}.new", "gateway-0.0123456789ab.lock", good[1:], good + "~"):
        (tmp_path / "spool" / name).touch()
    (found,) = segments.list_segments(tmp_path)
    assert (found.writer, found.number, found.carried, found.stem) == ("gateway-0.0123456789ab", 3, False, good[:-6])


def test_what_is_open_is_said_by_the_newest_carried_file_and_what_follows() -> None:
    names = ["000001.jsonl", "000000.open", "000002.jsonl", "000001.open"]
    found = [segments.parse(Path(f"000000000000001.w.0123456789ab.{name}")) for name in names]
    group = sorted((s for s in found if s is not None), key=lambda s: (s.number, not s.carried))
    assert [(s.number, s.carried) for s in segments.open_chain(group)] == [(1, True), (2, False)]


def test_a_created_file_is_locked_from_its_first_moment_and_never_replaced(tmp_path: Path) -> None:
    fd = segments.create_locked(tmp_path / "a")
    assert segments.is_held(tmp_path / "a")
    os.close(fd)
    assert not segments.is_held(tmp_path / "a")
    assert not segments.is_held(tmp_path / "missing")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_maintenance_is_for_one_at_a_time(tmp_path: Path) -> None:
    with segments.maintenance(tmp_path) as got:
        assert got
        with segments.maintenance(tmp_path, wait=False) as second:
            assert not second
    with segments.maintenance(tmp_path, wait=False) as again:
        assert again


def test_a_lock_that_is_held_is_refused(tmp_path: Path) -> None:
    fd = segments.hold(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        segments.hold(tmp_path / "lock")
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)
    os.close(segments.hold(tmp_path / "lock"))


def test_the_disk_of_a_spool_is_the_kernels(tmp_path: Path) -> None:
    disk = segments.Disk()
    path = tmp_path / "one"
    fd = disk.create(path)
    assert disk.write(fd, b"whole half") == 10
    disk.sync(fd)
    disk.sync_folder(tmp_path)
    disk.cut(fd, 5)
    disk.write(fd, b" line")
    assert path.read_bytes() == b"whole line", "appended after a cut, not where the descriptor stood"
    assert segments.is_held(path)
    disk.close(fd)
    assert not segments.is_held(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        disk.sync(fd)
