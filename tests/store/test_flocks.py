from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.flocks import LOOKS, Supervision, held, seize


@contextmanager
def supervisor(root: Path) -> Iterator[None]:
    """Somebody who holds the supervisor's lock while the block lasts."""
    path = root / "run" / "supervisor.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield
    os.close(handle)


def watched(root: Path, clock: ManualClock, seconds: float, until: float) -> float | None:
    """After how many seconds a process that asks every second says that its supervisor is lost; None when not by `until`."""
    supervision = Supervision(root, clock.real, 60)
    while clock.real() < until:
        if clock.real() < seconds:
            with supervisor(root):
                lost = supervision.lost()
        else:
            lost = supervision.lost()
        if lost:
            return clock.real()
        clock.advance(1)
    return None


def test_a_lock_is_held_while_somebody_has_it_and_looking_does_not_take_it(tmp_path: Path) -> None:
    with supervisor(tmp_path):
        assert held(tmp_path / "run" / "supervisor.lock")
        assert held(tmp_path / "run" / "supervisor.lock")
    assert not held(tmp_path / "run" / "supervisor.lock")
    assert not held(tmp_path / "run" / "nobody.lock")


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(tmp_path / "a.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert held(tmp_path / "a.lock")
        child.kill()
        child.wait()
        assert not held(tmp_path / "a.lock")


def test_a_process_whose_supervisor_has_gone_bears_it_for_a_while(tmp_path: Path, clock: ManualClock) -> None:
    lost = watched(tmp_path, clock, seconds=100, until=1000)
    assert lost is not None
    assert 100 + 60 - 60 / LOOKS <= lost <= 100 + 60


def test_a_process_that_was_started_by_hand_never_loses_a_supervisor(tmp_path: Path, clock: ManualClock) -> None:
    assert watched(tmp_path, clock, seconds=0, until=1000) is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "supervisor.lock").touch()
    assert watched(tmp_path, clock, seconds=0, until=2000) is None, "the file of one that is long gone"


def test_a_supervisor_that_returns_in_time_is_found_again(tmp_path: Path, clock: ManualClock) -> None:
    supervision = Supervision(tmp_path, clock.real, 60)
    for _ in range(5):
        with supervisor(tmp_path):
            clock.advance(50)
            assert not supervision.lost()
        clock.advance(50)
        assert not supervision.lost()
    clock.advance(10)
    assert supervision.lost()


def test_a_process_that_stood_still_looks_before_it_gives_up(tmp_path: Path, clock: ManualClock) -> None:
    supervision = Supervision(tmp_path, clock.real, 60)
    with supervisor(tmp_path):
        assert not supervision.lost()
        clock.advance(3600)  # stopped, or the machine slept
        assert not supervision.lost()


def test_a_lock_is_taken_though_others_look_at_it_and_not_from_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    handles = [os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(3)]
    looker, taker, late = handles
    fcntl.flock(looker, fcntl.LOCK_SH)
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(seize(taker)))
    thread.start()
    thread.join(0.2)
    assert got == [], "somebody looks, for as long as a busy machine lets him"
    fcntl.flock(looker, fcntl.LOCK_UN)
    thread.join(60)
    assert got == [True]
    assert not seize(late)
    assert held(path)
    for handle in handles:
        os.close(handle)
    assert not held(path)
