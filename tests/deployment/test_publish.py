from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunekeeper.core.errors import DiskFull, UserError
from tunekeeper.deployment.publish import link_or_copy, scratch_folder, whole_or_absent


def test_a_file_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "f.bin"
    for content in (b"one", b"two"):
        with whole_or_absent(target) as part:
            part.write_bytes(content)
            assert not target.exists() or target.read_bytes() != content
        assert target.read_bytes() == content

    assert list(target.parent.iterdir()) == [target]


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "f.bin"
    target.write_bytes(b"old")

    with pytest.raises(RuntimeError), whole_or_absent(target) as part:
        part.write_bytes(b"half")
        raise RuntimeError

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="nothing was written"), whole_or_absent(tmp_path / "f.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_of_the_system_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom tunekeeper.deployment.publish import whole_or_absent\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "with whole_or_absent(Path(sys.argv[1])) as part:\n    part.write_bytes(bytes(10000))\n"
    )
    done = subprocess.run([sys.executable, "-B", "-c", script, str(tmp_path / "f.bin")], capture_output=True, text=True)

    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "f.bin"
    target.write_bytes(b"a" * 200_000)
    script = (
        "import sys\nfrom pathlib import Path\nfrom tunekeeper.deployment.publish import whole_or_absent\n"
        "print('go', flush=True)\nwhile True:\n  for c in b'ab':\n    with whole_or_absent(Path(sys.argv[1])) as part:\n"
        "      part.write_bytes(bytes([c]) * 200000)\n"
    )
    for wait in (1, 7, 20, 33):
        child = subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(wait / 1000)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert target.read_bytes() in (b"a" * 200_000, b"b" * 200_000)


def test_a_link_is_another_name_of_the_same_file(tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_bytes(b"weights")

    for _ in range(2):
        target = link_or_copy(source, tmp_path / "models" / "v1.gguf")

    assert target.samefile(source)


def test_what_a_killed_writer_left_is_cleared_by_the_next_and_a_living_ones_is_not(tmp_path: Path) -> None:
    target = tmp_path / "f.bin"
    (tmp_path / ".f.bin.dead.part").write_bytes(b"half")
    (tmp_path / ".other.bin.dead.part").write_bytes(b"half")

    with whole_or_absent(target) as one, whole_or_absent(target) as two:
        assert not (tmp_path / ".f.bin.dead.part").exists()
        one.write_bytes(b"one")
        two.write_bytes(b"two")

    assert target.read_bytes() == b"one", "the last to end"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.bin.dead.part", "f.bin"]


def test_a_scratch_folder_is_gone_afterwards_and_a_dead_ones_too(tmp_path: Path) -> None:
    (tmp_path / ".f.bin.dead.part").mkdir()
    (tmp_path / ".f.bin.dead.part" / "step").write_bytes(b"half")

    with scratch_folder(tmp_path / "f.bin") as one, scratch_folder(tmp_path / "f.bin") as two:
        (one / "step").write_bytes(b"step")
        assert {path.name for path in tmp_path.iterdir()} == {one.name, two.name}

    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_refused_before_anything_is_written_and_a_link_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("real")
    for path, why in (
        (tmp_path / "pipe", "a device or a pipe"),
        (tmp_path, "is a folder"),
        (Path("/proc/nowhere/x"), "cannot be"),
    ):
        with pytest.raises(UserError, match=why), whole_or_absent(path):
            raise AssertionError("never asked to write")
    with whole_or_absent(tmp_path / "link") as part:
        part.write_text("new")
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "pipe").is_fifo()
