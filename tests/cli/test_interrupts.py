"""Ctrl-C is one line and exit code 130, whatever Python is doing. Its own start, before our first line, is not ours to change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tunekeeper
from tests.patience import PATIENCE
from tunekeeper.cli.interrupts import CODE
from tunekeeper.core.errors import INTERRUPTED

MOMENTS = 12
TOGETHER = 6
STARTED = """\
import os, sys
from tunekeeper.cli import interrupts
interrupts.at_once()
os.write(1, b".")
from tunekeeper.__main__ import run
run()
"""


def child(code: str, *words: str, ignoring: bool = False) -> subprocess.Popen[bytes]:
    handler = signal.SIG_IGN if ignoring else signal.default_int_handler
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(tunekeeper.__file__).parent.parent)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),  # tests may run where it is ignored
    )


def begun(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    assert process.stdout is not None
    assert process.stdout.read(1) == b"."
    return process


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.decode(), err.decode()


def test_at_a_dozen_moments_of_the_first_half_second_it_is_one_line_and_130(project: Path) -> None:
    words = ("status", "--dir", str(project))
    _, answer, _ = ended(begun(child(STARTED, *words)))
    found = []
    for first in range(0, MOMENTS, TOGETHER):
        waiting = [begun(child(STARTED, *words)) for _ in range(TOGETHER)]
        since = time.monotonic()
        for number, process in enumerate(waiting, first):
            time.sleep(max(0.0, since + 0.5 * (number - first + first / TOGETHER / TOGETHER) / TOGETHER - time.monotonic()))
            process.send_signal(signal.SIGINT)
        found += [ended(process) for process in waiting]
    for code, out, err in found:
        if out == answer:  # it had answered before
            assert (code in (0, CODE, -signal.SIGINT), err in ("", "interrupted\n")) == (True, True), err
        else:
            assert (code, out, err) == (CODE, "", "interrupted\n")
    assert (CODE, "", "interrupted\n") in found


def test_one_that_comes_where_nothing_can_be_raised_is_not_lost() -> None:
    code = """\
import os, signal, sys, time
from tunekeeper.cli import interrupts
interrupts.at_once()
interrupts.as_exception()
class Cleared:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.001)
class Broken:
    def __del__(self):
        raise ValueError("another fault")
Broken()
Cleared()
print("it went on")
"""
    exit, out, err = ended(child(code))
    assert (exit, out, err.splitlines()[-1]) == (CODE, "", "interrupted")
    assert (err.count("ValueError: another fault"), err.count("KeyboardInterrupt")) == (1, 0)


def test_who_is_told_to_ignore_it_goes_on_ignoring_it(project: Path) -> None:
    process = begun(child(STARTED, "status", "--dir", str(project), ignoring=True))
    process.send_signal(signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out.count("NOT SERVING"), err) == (0, 1, "")


def test_inside_a_test_or_a_program_of_somebody_else_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunekeeper.cli import interrupts

    monkeypatch.setattr(sys, "unraisablehook", hook := sys.unraisablehook)
    before = signal.getsignal(signal.SIGINT)  # ignored, where whoever started the tests has it so
    interrupts.as_exception()
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == (before, hook)
    assert CODE == INTERRUPTED
