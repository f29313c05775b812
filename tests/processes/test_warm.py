"""Spares: processes that wait with their imports done, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.patience import gone, until
from tunekeeper.processes import ending, locks
from tunekeeper.processes.children import Plan
from tunekeeper.processes.supervisor import Supervisor
from tunekeeper.processes.warm import Nursery, Spare

TOOL = """\
import os, sys, time
print("imported in", os.getpid(), flush=True)
def main(arguments):
    with open(arguments[0], "a") as file:
        file.write(f"{os.getpid()} {os.environ.get('COLOUR')} {os.environ.get('BEFORE')} {sorted(sys.stdin.read())}\\n")
    print("said", arguments[1:], flush=True)
    print("complained", file=sys.stderr, flush=True)
    if arguments[1:] == ["stay"]:
        time.sleep(60)
    return 7
"""
ORPHAN = """\
import os, sys, time
from tunekeeper.processes.warm import Spare
spare = Spare(("tool",), dict(os.environ))
print(spare.process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tool.py").write_text(TOOL)
    return {**os.environ, "PYTHONPATH": str(tmp_path), "BEFORE": "yes"}


@pytest.fixture
def spare(environ: dict[str, str]) -> Iterator[Spare]:
    made = Spare(("tool",), environ)
    yield made
    if made.alive():
        made.drop()


def test_a_spare_becomes_what_it_is_told_with_the_descriptors_and_the_environment_of_the_order(tmp_path, environ, spare):
    lock = tmp_path / "run" / "a.lock"
    handle = locks.take(lock)
    assert handle is not None
    with (tmp_path / "log").open("ab") as log:
        wanted = {"PYTHONPATH": environ["PYTHONPATH"], "COLOUR": "blue"}
        process = spare.become([str(tmp_path / "out"), "stay"], wanted, {1: log.fileno(), 2: log.fileno(), handle: handle})
    os.close(handle)
    until(lambda: b"complained" in (tmp_path / "log").read_bytes())
    assert (tmp_path / "out").read_text() == f"{process.pid} blue None []\n"
    assert (tmp_path / "log").read_text() == "said ['stay']\ncomplained\n"  # what it said while it imported is not ours
    assert locks.holder(lock) == process.pid  # it holds the lock now, alone
    process.kill()
    process.wait(60)
    assert not locks.held(lock)


def test_its_exit_code_is_that_of_what_it_became(tmp_path, environ, spare):
    assert spare.become([str(tmp_path / "out")], environ, {}).wait(60) == 7


def test_a_lock_that_was_handed_to_a_spare_still_importing_is_waited_for(tmp_path, environ):
    go = tmp_path / "go"
    (tmp_path / "tool.py").write_text(f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{TOOL}")
    spare = Spare(("tool",), environ)
    lock = tmp_path / "run" / "a.lock"
    handle = locks.take(lock)
    assert handle is not None
    process = spare.become([str(tmp_path / "out"), "stay"], environ, {handle: handle})
    locks.write_holder(handle, process.pid)
    os.close(handle)
    assert locks.held(lock), "it is on its way, in nobody's hand"
    later = threading.Timer(0.2, go.touch)
    later.start()
    assert locks.holder(lock) == process.pid
    later.join()
    process.kill()
    process.wait(60)
    assert locks.holder(lock) is None


def test_an_order_larger_than_a_socket_s_buffer_arrives_whole(tmp_path, environ, spare):
    large = {f"LARGE_{number}": "x" * 60_000 for number in range(20)}
    assert spare.become([str(tmp_path / "out")], {**environ, **large, "COLOUR": "red"}, {}).wait(60) == 7
    assert " red yes " in (tmp_path / "out").read_text()


def test_a_spare_that_is_dropped_ends(spare):
    spare.drop()
    assert spare.process.returncode == -signal.SIGKILL
    assert gone(spare.process.pid)


def test_a_spare_ends_by_itself_when_its_supervisor_is_killed(environ):
    with subprocess.Popen([sys.executable, "-c", ORPHAN], env=environ, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        assert not gone(pid)
        holder.kill()
        holder.wait(60)
        until(lambda: gone(pid))


def test_what_is_wrong_with_an_import_is_said_where_the_order_wants_it(tmp_path, environ):
    (tmp_path / "tool.py").write_text("raise RuntimeError('the tool is broken')\n")
    spare = Spare(("tool",), environ)
    with (tmp_path / "log").open("ab") as log:
        process = spare.become([], environ, {2: log.fileno()})
    assert process.wait(60) == 1
    assert (tmp_path / "log").read_text().endswith("RuntimeError: the tool is broken\n")


def test_a_spare_that_has_died_refuses_the_order(environ, spare):
    spare.process.kill()
    spare.process.wait(60)
    assert not spare.alive()
    with pytest.raises(OSError):
        spare.become(["x"], environ, {})


def test_a_nursery_keeps_as_many_as_it_is_asked_for_and_gives_away_only_the_living(environ):
    with Nursery("tool", environ=environ) as nursery:
        assert nursery.take() is None
        nursery.keep(2)
        first, second = nursery.take(), nursery.take()
        assert first is not None
        assert second is not None
        assert first.process.pid != second.process.pid
        assert nursery.take() is None
        nursery.keep(1)
        nursery.keep(1)
        third = nursery.take()
        assert third is not None
        assert nursery.take() is None
        for each in (first, second, third):
            each.drop()
        nursery.keep(3)
        nursery.keep(1)
        last = nursery.take()
        assert last is not None
        assert nursery.take() is None
        last.drop()
        nursery.keep(1)
    assert nursery.take() is None


def test_a_spare_that_is_heard_tells_its_reader_what_it_complains_of(tmp_path, environ):
    with Nursery("tool", environ=environ, heard=True) as nursery:
        nursery.keep(1)
        spare = nursery.take()
        assert spare is not None
        with spare.become([str(tmp_path / "out")], environ, {}) as process:
            assert process.communicate(timeout=150)[1] == b"complained\n"


@pytest.fixture
def spares(tmp_path: Path) -> Iterator[Nursery]:
    """A nursery of a module that notes its process id when it is imported, and sleeps when it is run."""
    note = f"import os, time\nwith open({str(tmp_path / 'imported')!r}, 'a') as file: file.write(f'{{os.getpid()}}\\n')\n"
    (tmp_path / "sleeper.py").write_text(f"{note}def main(arguments): time.sleep(60)\nif __name__ == '__main__': main([])\n")
    with Nursery("sleeper", environ={**os.environ, "PYTHONPATH": str(tmp_path)}) as nursery:
        yield nursery


def imported(folder: Path, count: int) -> list[int]:
    """Process ids of those that imported the module, once there are `count`."""
    path = folder / "imported"
    until(lambda: path.exists() and path.read_text().count("\n") >= count)
    return [int(line) for line in path.read_text().splitlines()]


def sleeper(folder: Path) -> Plan:
    lock = folder / "run" / "child-worker.lock"
    return Plan(name="worker", command=(sys.executable, "-m", "sleeper"), lock=lock, at_once=True)


def test_a_child_is_born_of_a_spare_and_when_it_dies_the_next_one_takes_its_place_at_once(tmp_path, spares):
    events: list[dict[str, Any]] = []
    supervisor = Supervisor(tmp_path, {**os.environ, "PYTHONPATH": str(tmp_path)}, events.append, spares)
    with supervisor.at_work():
        spares.keep(2)
        both = imported(tmp_path, 2)
        child = supervisor.ensure(sleeper(tmp_path))
        first = child.pid
        assert first in both
        assert ending.running(tmp_path) == {"supervisor": os.getpid(), "worker": first}
        os.kill(first, signal.SIGKILL)
        until(lambda: (supervisor.tick(), child.pid not in (None, first))[1])
        assert child.pid in both
        assert [(event["event"], event.get("restart_in")) for event in events] == [("died", 0.0), ("restarted", None)]
    assert ending.running(tmp_path) == {}


def test_without_a_spare_that_lives_a_child_is_started_as_ever(tmp_path, spares):
    supervisor = Supervisor(tmp_path, {**os.environ, "PYTHONPATH": str(tmp_path)}, print, spares)
    spares.keep(1)
    (dead,) = imported(tmp_path, 1)
    os.kill(dead, signal.SIGKILL)
    until(lambda: gone(dead))
    with supervisor.at_work():
        child = supervisor.ensure(sleeper(tmp_path))
        until(lambda: child.pid in imported(tmp_path, 1))
        assert child.pid != dead
        assert child.alive()


def test_another_command_is_no_matter_for_a_spare(tmp_path, spares):
    supervisor = Supervisor(tmp_path, os.environ, print, spares)
    spares.keep(1)
    (waiting,) = imported(tmp_path, 1)
    other = replace(sleeper(tmp_path), command=(sys.executable, "-c", "import time; time.sleep(60)"))
    with supervisor.at_work():
        assert supervisor.ensure(other).pid != waiting
    left = spares.take()
    assert left is not None
    assert left.process.pid == waiting
    left.drop()
