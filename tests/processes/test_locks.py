from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tunekeeper.processes import locks


def test_a_lock_is_held_by_one_and_free_after_it_is_closed(tmp_path: Path):
    path = tmp_path / "run" / "a.lock"
    assert not locks.held(path)
    handle = locks.take(path)
    assert handle is not None
    assert locks.held(path)
    assert locks.take(path) is None
    os.close(handle)
    assert not locks.held(path)


def test_a_lock_stays_held_by_a_child_that_inherited_it(tmp_path: Path):
    path = tmp_path / "a.lock"
    handle = locks.take(path)
    assert handle is not None
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(handle,))
    os.close(handle)
    try:
        assert locks.held(path)
        assert locks.holder(path) == child.pid  # found although nothing noted it
    finally:
        child.communicate(timeout=150)
    assert not locks.held(path)
    assert locks.holder(path) is None


def test_a_noted_process_that_does_not_hold_the_file_is_not_believed(tmp_path: Path):
    path = tmp_path / "a.lock"
    handle = locks.take(path)
    assert handle is not None
    locks.write_holder(handle, 1)
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(handle,))
    os.close(handle)
    assert locks.holder(path) == child.pid
    child.communicate(timeout=150)
