"""A folder that is made once, however many processes run the tests: what costs seconds of torch each time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of this run of the tests, filled by `make`; whoever comes second waits for the first and only reads."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / name
    with (root / f"{name}.made").open("a+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        note.seek(0)
        if not note.read():
            folder.mkdir(exist_ok=True)
            make(folder)
            note.write("made")
    return folder
