"""Trainings beside each other: who waits for memory, and who does not."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.training import job
from tunekeeper.training.device import Room
from tunekeeper.training.turns import FOLDER, WAITING, turn

from .conftest import Local
from .test_job import order

GB = 10**9
CPU = Room(device="cpu", total=24 * GB, free=16 * GB)
HOLD = """\
import sys
from pathlib import Path
from tunekeeper.training.device import Room
from tunekeeper.training.turns import turn
free = int(sys.argv[3])
with turn(Path(sys.argv[1]), int(sys.argv[2]), lambda: Room(device="cpu", total=free, free=free), lambda why: None):
    print("on", flush=True)
    sys.stdin.read()
"""
Other = Callable[[int], "subprocess.Popen[bytes]"]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    """Begins another training, which needs so many bytes, and ends what is left of them."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(needed: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", HOLD, str(tmp_path / "work" / FOLDER), str(needed), str(CPU.free)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        begun.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"on\n"
        return child

    yield begin
    for child in begun:
        child.kill()
        child.communicate()


def test_one_that_is_alone_goes_on_whatever_is_free(tmp_path: Path) -> None:
    told: list[str] = []
    with turn(tmp_path / "work" / FOLDER, 100 * GB, lambda: CPU, told.append):
        pass
    assert told == []
    assert [path.name for path in (tmp_path / "work" / FOLDER).iterdir()] == ["lock"], "what it said of itself is gone"


def test_what_another_has_not_taken_yet_is_not_free_and_what_fits_beside_it_goes_on(tmp_path: Path, other: Other) -> None:
    other(10 * GB)
    told: list[str] = []
    with turn(tmp_path / "work" / FOLDER, 5 * GB, lambda: CPU, told.append):
        pass
    assert told == []
    with turn(tmp_path / "work" / FOLDER, 10 * GB, lambda: replace(CPU, device="a card"), told.append):
        pass
    assert told == [], "on another device nothing is taken"


def test_one_that_does_not_fit_beside_another_waits_until_that_was_killed(tmp_path: Path, other: Other) -> None:
    first, waits, on = other(10 * GB), threading.Event(), threading.Event()

    def train() -> None:
        with turn(tmp_path / "work" / FOLDER, 10 * GB, lambda: CPU, lambda why: waits.set() if why == WAITING else None):
            on.set()

    thread = threading.Thread(target=train)
    thread.start()
    assert waits.wait(60)
    assert not on.is_set()
    first.kill()
    assert on.wait(60)
    thread.join(60)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_run_says_that_it_waits_and_learns_when_the_other_is_over(tmp_path: Path, other: Other) -> None:
    first = other(10**15)

    def end(fields: dict[str, Any]) -> None:
        if fields.get("note") == WAITING:
            first.kill()

    context = Local(tmp_path / "work", end)
    assert job.run(order(tmp_path, count=8, transcript=0), context)["step"] > 0
    assert context.told[0]["note"] == WAITING
