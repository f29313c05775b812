from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path

import pytest

from tunekeeper.core.errors import DiskFull, UserError
from tunekeeper.store.place import whole


def write(path: Path, text: str = "new") -> None:
    with whole(path) as part:
        part.write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_replaces_the_old_one_and_an_exception_leaves_it(tmp_path: Path) -> None:
    write(tmp_path / "made" / "file", "old")
    write(tmp_path / "made" / "file", "new")
    with pytest.raises(KeyError), whole(tmp_path / "made" / "file") as part:
        part.write_text("half")
        raise KeyError
    assert (tmp_path / "made" / "file").read_text() == "new"
    assert names(tmp_path / "made") == ["file"]


def test_who_may_read_the_old_file_may_read_the_new_one_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for mode in (0o600, 0o664):
        (tmp_path / "file").chmod(mode)
        write(tmp_path / "file", "new")
        assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_what_is_no_file_stays_what_it_is_also_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        Path("link").symlink_to("pipe")
        for name in ("pipe", "socket", "link"):
            with pytest.raises(UserError, match=f"^{name}: a device or a pipe, not a file"):
                write(Path(name))
        assert [Path("pipe").is_fifo(), Path("socket").is_socket(), Path("link").is_symlink()] == [True] * 3
    assert names(tmp_path) == ["link", "pipe", "socket"]


def test_behind_a_link_the_file_it_leads_to_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("kept", "fresh"):
        (tmp_path / name).symlink_to(tmp_path / "there" / name)
    (tmp_path / "there" / "kept").write_text("old")
    for name in ("kept", "fresh"):
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "there" / name).read_text() == "new"
    assert (names(tmp_path), names(tmp_path / "there")) == (["fresh", "kept", "there"], ["fresh", "kept"])


@pytest.mark.parametrize("place", ["file/x", "file/x/y", "folder", "loop", "loop/x", "/proc/nowhere/x", "n" * 300])
def test_a_place_where_no_file_can_be_is_one_line_and_stays_as_it_is(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"cannot be written: |is a folder"):
        write(tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == ["file", "folder", "loop"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"no room left for file"), whole(tmp_path / "file") as part:
        part.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_what_a_killed_writer_left_goes_with_the_next_one_and_what_somebody_writes_stays(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        with whole(tmp_path / "file") as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(names(tmp_path)) == 1
    (tmp_path / ".file.env").touch()
    with whole(tmp_path / "file") as mine:
        mine.write_text("first")
        write(tmp_path / "file", "second")
    assert (tmp_path / "file").read_text() == "first"
    assert names(tmp_path) == [".file.env", "file"]


def test_what_cannot_be_written_elsewhere_meanwhile_is_named_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(NotADirectoryError, match="elsewhere"), whole(tmp_path / "out"):
        (tmp_path / "a file" / "elsewhere").touch()
    assert names(tmp_path) == ["a file"]
