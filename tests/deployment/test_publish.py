from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunekeeper.core.errors import DiskFull
from tunekeeper.deployment.publish import link_or_copy, whole_or_absent


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
