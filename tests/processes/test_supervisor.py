from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tunekeeper.core.errors import Busy
from tunekeeper.processes import ending, locks
from tunekeeper.processes.children import Plan
from tunekeeper.processes.supervisor import Supervisor

SLEEPER = "import time; time.sleep(60)"
WHOLE = """
import os, sys
from pathlib import Path
from tunekeeper.processes.children import Plan
from tunekeeper.processes.supervisor import Supervisor
root = Path(sys.argv[1])
def say(event):
    print(event, flush=True)
supervisor = Supervisor(root, os.environ, say)
with supervisor.at_work():
    for name in ("gateway-w1", "keeper"):
        command = (sys.executable, "-c", "import time; time.sleep(60)")
        supervisor.ensure(Plan(name=name, command=command, lock=root / "run" / f"child-{name}.lock"))
    say("ready")
    sys.exit(supervisor.run())
"""


def plan(root: Path, name: str, code: str = SLEEPER) -> Plan:
    return Plan(name=name, command=(sys.executable, "-c", code), lock=root / "run" / f"child-{name}.lock")


def test_a_dead_child_is_started_again_and_the_event_says_why(tmp_path: Path):
    events: list[dict[str, Any]] = []
    supervisor = Supervisor(tmp_path, os.environ, events.append)
    with supervisor.at_work():
        child = supervisor.ensure(plan(tmp_path, "keeper"))
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: (supervisor.tick(), child.pid not in (first, None) and child.alive())[1])
    died, restarted = [event for event in events if event["event"] in ("died", "restarted")]
    assert (died["name"], died["why"], restarted["pid"] != first) == ("keeper", "killed by SIGKILL", True)
    assert not locks.held(child.plan.lock)


def test_a_second_supervisor_on_the_same_folder_is_refused(tmp_path: Path):
    supervisor = Supervisor(tmp_path, os.environ, print)
    with supervisor.at_work(), pytest.raises(Busy, match="tunekeeper down"):
        Supervisor(tmp_path, os.environ, print)


def test_a_chore_that_cannot_be_done_now_is_said_once_and_keeps_nobody_from_anything(tmp_path: Path):
    said, tried = [], []

    def cannot() -> None:
        tried.append(1)
        if len(tried) != 3:
            raise Busy("control.db.lock is held by 12") if len(tried) != 4 else OSError(28, "No space left on device")

    supervisor = Supervisor(tmp_path, os.environ, said.append)
    others: list[int] = []
    supervisor.chores = [(0.0, cannot), (0.0, lambda: others.append(1))]
    for _ in range(5):
        supervisor.tick()
    assert len(tried) == len(others) == 5
    assert [each["why"] for each in said if each["event"] == "trouble"] == [
        "control.db.lock is held by 12",
        "[Errno 28] No space left on device",
        "control.db.lock is held by 12",
    ]


def test_chores_run_at_their_own_pace(tmp_path: Path):
    supervisor = Supervisor(tmp_path, os.environ, print)
    ran: list[str] = []
    supervisor.chores = [(3600.0, lambda: ran.append("hourly")), (0.0, lambda: ran.append("always"))]
    with supervisor.at_work():
        supervisor.tick()
        supervisor.tick()
    assert ran == ["hourly", "always", "always"]


def test_children_are_stopped_when_the_start_fails_halfway(tmp_path: Path):
    supervisor = Supervisor(tmp_path, os.environ, print)
    with pytest.raises(RuntimeError), supervisor.at_work():
        child = supervisor.ensure(plan(tmp_path, "keeper"))
        raise RuntimeError
    assert not child.alive()


def spawn(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WHOLE, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "ready" not in (line := process.stdout.readline()):
        assert line, "it ended before it was ready"
    return process


def test_a_signal_ends_the_children_and_the_exit_code_tells_which(tmp_path: Path):
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        process = spawn(tmp_path)
        process.send_signal(number)
        process.communicate(timeout=150)
        assert process.returncode == code
        assert ending.running(tmp_path) == {}


def test_a_closed_terminal_ends_everything_unless_it_was_started_with_nohup(tmp_path: Path):
    for inherited, number in ((signal.SIG_DFL, signal.SIGHUP), (signal.SIG_IGN, signal.SIGTERM)):
        before = signal.signal(signal.SIGHUP, inherited)  # whoever runs the tests may have been started with nohup
        try:
            process = spawn(tmp_path)
        finally:
            signal.signal(signal.SIGHUP, before)
        if inherited == signal.SIG_IGN:
            process.send_signal(signal.SIGHUP)
            assert "supervisor" in ending.running(tmp_path)
        process.send_signal(number)
        process.communicate(timeout=150)
        assert (process.returncode, ending.running(tmp_path)) == (0, {}), inherited


def test_children_outlive_a_killed_supervisor_and_the_next_one_adopts_them(tmp_path: Path):
    first = spawn(tmp_path)
    before = ending.running(tmp_path)
    first.kill()
    first.communicate(timeout=150)
    assert {name: pid for name, pid in before.items() if name != "supervisor"} == ending.running(tmp_path)
    events: list[dict[str, Any]] = []
    supervisor = Supervisor(tmp_path, os.environ, events.append)
    with supervisor.at_work():
        for name in ("gateway-w1", "keeper"):
            supervisor.ensure(plan(tmp_path, name))
        assert {event["name"]: event["pid"] for event in events} == {name: before[name] for name in ("gateway-w1", "keeper")}
    assert ending.running(tmp_path) == {}


def test_down_ends_what_a_killed_supervisor_left_and_a_living_one_too(tmp_path: Path):
    first = spawn(tmp_path)
    first.kill()
    first.communicate(timeout=150)
    assert [each["name"] for each in ending.down(tmp_path)] == ["gateway-w1", "keeper"]
    second = spawn(tmp_path)
    ended = ending.down(tmp_path)
    assert (ended[0]["name"], ended[0]["killed"]) == ("supervisor", False)
    second.communicate(timeout=150)
    assert second.returncode == 0
    assert ending.down(tmp_path) == []


def test_the_lock_files_hold_json_with_the_process_id(tmp_path: Path):
    supervisor = Supervisor(tmp_path, os.environ, print)
    with supervisor.at_work():
        child = supervisor.ensure(plan(tmp_path, "keeper"))
        assert json.loads(child.plan.lock.read_text()) == {"pid": child.pid}
