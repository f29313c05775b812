from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.patience import until
from tunekeeper.core.errors import Busy
from tunekeeper.store.lock import exclusive, holder

HOLDER = """
import sys, time
from pathlib import Path
from tunekeeper.store.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def start(path: Path) -> subprocess.Popen[str]:
    source = str(Path(__file__).parents[2] / "src")
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], env={"PYTHONPATH": source}, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def standing(path: Path) -> int:
    """How many places in the line have been taken so far."""
    return int.from_bytes(path.read_bytes()[64:72], "little")


def test_a_lock_names_its_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert holder(path) is None
    with exclusive(path) as broken:
        found = holder(path)
        assert found is not None
        assert (found.pid, broken) == (os.getpid(), [])
        with pytest.raises(Busy, match=str(os.getpid())), exclusive(path, wait=0.02):
            raise AssertionError("two holders")
    with exclusive(path, wait=0.0) as broken:
        assert broken == []


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path) -> None:
    child = start(tmp_path / "x.lock")
    child.kill()
    child.communicate()
    with exclusive(tmp_path / "x.lock", wait=1.0) as broken:
        assert broken == []


def test_a_holder_that_runs_too_long_is_killed_by_who_may(tmp_path: Path) -> None:
    child = start(tmp_path / "x.lock")
    began = time.monotonic()
    with exclusive(tmp_path / "x.lock", break_after=0.1, wait=60) as broken:
        assert [victim.pid for victim in broken] == [child.pid]
    assert time.monotonic() - began >= 0.9
    assert child.wait(60) == -9
    child.communicate()


def test_a_process_never_kills_itself_for_a_lock_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(path):
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(60)
    time.sleep(1.05)
    with pytest.raises(Busy), exclusive(path, break_after=0.0, wait=0.05):
        raise AssertionError("two holders")
    done.set()
    thread.join()


def test_a_signature_of_a_process_that_is_gone_kills_nobody(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        path.write_text(f"{child.pid} 1 0.0".ljust(64))
        descriptor = os.open(path, os.O_RDWR)
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(Busy), exclusive(path, break_after=0.0, wait=0.05):
            raise AssertionError("two holders")
        assert child.poll() is None, "another process has that pid now"
        os.close(descriptor)
    finally:
        child.kill()
        child.wait()


def test_who_has_just_been_in_waits_behind_those_who_were_there_before(tmp_path: Path) -> None:
    path, order, threads = tmp_path / "x.lock", [], []

    def go(name: str) -> None:
        for _ in range(3):
            with exclusive(path):
                order.append(name)

    with exclusive(path):
        for number, name in enumerate("abcd"):
            threads.append(threading.Thread(target=go, args=(name,)))
            threads[-1].start()
            until(lambda wanted=number + 2: standing(path) >= wanted)
    for thread in threads:
        thread.join()
    assert sorted(order[:4]) == list("abcd"), "nobody twice before everybody once"
    assert sorted(order) == sorted("abcd" * 3)


def test_one_who_is_stopped_in_the_line_holds_nobody_up_for_long(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with exclusive(path):
        waiting = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
        )
        until(lambda: standing(path) >= 2)
        waiting.send_signal(signal.SIGSTOP)
    try:
        with exclusive(path, wait=30.0) as broken:
            assert broken == []
    finally:
        waiting.kill()
        waiting.wait()
