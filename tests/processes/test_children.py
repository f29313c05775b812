from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.processes import locks
from tunekeeper.processes.children import FIRST_DELAY, LAST_DELAY, LOG_BYTES, Child, Plan, cut_logs

SLEEPER = "import time\nprint('here', flush=True)\ntime.sleep(60)"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('here', flush=True)\ntime.sleep(60)"


def plan(folder: Path, code: str = SLEEPER, *, grace: float = 5.0) -> Plan:
    return Plan(name="c", command=(sys.executable, "-c", code), lock=folder / "run" / "child-c.lock", grace=grace)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Child]:
    child = Child(plan=plan(tmp_path))
    child.start(dict(os.environ))
    yield child
    child.stop(grace=0)


def until_it_says(child: Child, text: str) -> None:
    end = time.monotonic() + 60
    while text not in child.last_words() and time.monotonic() < end:
        time.sleep(0.01)
    assert text in child.last_words()


def test_a_started_child_holds_its_lock_and_stops_when_told(started: Child):
    assert started.alive()
    assert locks.holder(started.plan.lock) == started.pid
    assert started.stop()
    assert not locks.held(started.plan.lock)


def test_a_child_of_a_dead_supervisor_is_adopted_and_can_be_stopped(started: Child):
    heir = Child(plan=started.plan)
    assert heir.adopt()
    assert heir.pid == started.pid
    assert heir.alive()
    heir.signal(signal.SIGTERM)
    assert started.wait(60)  # reaped by its real parent
    assert not heir.alive()
    assert not Child(plan=started.plan).adopt()


def test_a_lock_that_is_held_lets_no_second_child_start(started: Child):
    with pytest.raises(FileExistsError):
        Child(plan=started.plan).start(dict(os.environ))


def test_a_child_that_will_not_end_is_killed_after_its_grace(tmp_path: Path):
    child = Child(plan=plan(tmp_path, STUBBORN, grace=0.2))
    child.start(dict(os.environ))
    until_it_says(child, "here")
    assert not child.stop()
    assert not child.alive()


def test_delays_double_up_to_the_last_and_begin_anew_after_a_good_life(tmp_path: Path):
    child = Child(plan=plan(tmp_path))
    delays = [child.died(now) for now in range(10)]
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays[-1] == LAST_DELAY
    impatient = Child(plan=replace(plan(tmp_path), longest=1.0))
    assert [impatient.died(now) for now in range(10)][-1] == 1.0
    prompt = Child(plan=replace(plan(tmp_path), longest=1.0, at_once=True))
    assert [prompt.died(now) for now in range(4)] == [0.0, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 1.0]
    assert prompt.died(now=200.0) == 0.0
    child.started = 100.0
    assert child.died(now=200.0) == FIRST_DELAY


def test_the_last_line_of_the_log_is_what_a_child_had_to_say(tmp_path: Path):
    child = Child(plan=plan(tmp_path, "import sys; print('first'); sys.exit('error: port 1 is taken')"))
    child.start(dict(os.environ))
    assert child.wait(60)
    assert child.last_words() == "error: port 1 is taken"


def test_where_it_listens_is_no_reason_for_its_end(tmp_path: Path):
    child = Child(plan=plan(tmp_path, """print('{"listening": "http://127.0.0.1:1"}'); raise SystemExit(3)"""))
    child.start(dict(os.environ))
    assert child.wait(60)
    assert child.why() == "ended with 3"


def test_the_end_of_a_child_is_told_although_its_log_can_no_longer_be_read(tmp_path: Path):
    child = Child(plan=plan(tmp_path, "raise SystemExit(3)"))
    child.start(dict(os.environ))
    assert child.wait(60)
    assert child.log is not None
    child.log.unlink()
    assert child.why() == "ended with 3"
    child.log.mkdir()
    assert child.why() == "ended with 3"


def test_a_log_that_grows_too_large_is_cut_while_its_child_writes_on(tmp_path: Path):
    code = """
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: print('more', flush=True))
print(1_500_000 * 'x' + '\\nhere', flush=True)
time.sleep(600)
"""
    child = Child(plan=plan(tmp_path, code))
    child.start(dict(os.environ))
    until_it_says(child, "here")
    assert child.log is not None
    cut_logs(child.log.parent)
    child.signal(signal.SIGUSR1)
    until_it_says(child, "more")
    assert child.log.read_text() == "more\n"
    before = child.log.with_suffix(".old").read_text()
    assert (len(before), before[-5:]) == (LOG_BYTES, "here\n")
    cut_logs(child.log.parent)
    assert child.log.read_text() == "more\n"
    child.stop(grace=0)


def test_its_handle_tells_of_its_end_and_one_that_is_not_ours_has_none(started: Child):
    handle = started.handle()
    assert handle is not None
    ends = select.poll()
    ends.register(handle, select.POLLIN)
    assert ends.poll(0) == []
    heir = Child(plan=started.plan)
    assert heir.adopt()
    assert heir.handle() is None
    started.signal(signal.SIGKILL)
    assert ends.poll(20_000) != []
    os.close(handle)
    assert not started.alive()
    assert started.handle() is None


def test_a_command_that_cannot_be_run_leaves_no_lock(tmp_path: Path):
    child = Child(plan=Plan(name="c", command=(str(tmp_path / "none"),), lock=tmp_path / "run" / "child-c.lock"))
    with pytest.raises(OSError, match="none"):
        child.start(dict(os.environ))
    assert not locks.held(child.plan.lock)


def test_a_child_that_speaks_for_itself_keeps_our_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    child = Child(plan=replace(plan(tmp_path, "import sys\nprint('out')\nprint('err', file=sys.stderr)"), stdout=True))
    child.start(dict(os.environ))
    assert child.wait(60)
    assert (capfd.readouterr().out, child.last_words()) == ("out\n", "err")
