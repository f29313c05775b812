"""A process ends as Python's own end would have it, though nothing in memory is taken apart first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tunekeeper
from tests.patience import PATIENCE


def ended(before: str, *words: str, out: int = subprocess.PIPE) -> tuple[int, str, str]:
    """Exit code, output and error output of one command, run after the lines `before`."""
    code = f"{before}\nfrom tunekeeper.__main__ import run\nrun()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": str(Path(tunekeeper.__file__).parent.parent)},
    )
    return done.returncode, done.stdout or "", done.stderr


def test_what_is_registered_for_the_end_is_run_and_the_code_is_the_commands(tmp_path: Path) -> None:
    registered = "import atexit; atexit.register(print, 'the end')"
    assert ended(registered, "--version") == (0, f"tunekeeper {tunekeeper.__version__}\nthe end\n", "")
    code, said, error = ended(registered, "status", "--dir", str(tmp_path))
    assert (code, said) == (2, "the end\n")
    assert error.startswith("error: ")


def test_a_thread_at_work_is_waited_for() -> None:
    """One that waits for the main thread to have ended, as those do that Python's own end has to wait for."""
    begun = """
import threading
def work():
    threading.main_thread().join()
    print("done")
threading.Thread(target=work).start()
"""
    assert ended(begun, "--version") == (0, f"tunekeeper {tunekeeper.__version__}\ndone\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_what_cannot_be_written_at_the_end_is_no_success() -> None:
    with open("/dev/full", "wb") as full:
        code, _, error = ended("", "--version", out=full.fileno())
    assert code == 4
    assert error == "error: the disk is full (fix: free some space and run it again)\n"
