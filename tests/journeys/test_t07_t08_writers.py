"""T07 and T08: many processes write and checkpoint beside a long reader, and are killed: nobody is refused, no row is lost, the
file stays whole.

T08's fault is in SQLite itself, of many machines: two connections that checkpoint at one moment can spoil the file. Which SQLite
there is does not matter here, because one lock is around everything that a read-write connection does.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.rig import SECONDS, WHOLE, at, figure, say, within
from tests.patience import until
from tunekeeper.store.ledgers.rollouts import find_rollouts
from tunekeeper.workspace import Workspace, create_workspace, open_workspace

SEED = 8
WRITERS = 8
READ_SECONDS = 3.0 if WHOLE else 0.5
"""How long the reader keeps one transaction open: meanwhile the log beside the file cannot begin anew, and each write adds to
it."""
pytestmark = pytest.mark.timeout(SECONDS)


class Writer:
    """One writing process, and what it said."""

    def __init__(self, root: Path, name: str, often: int) -> None:
        command = [sys.executable, "-m", "tests.journeys.writer", str(root), name, str(often)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: list[dict[str, Any]] = []
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith("\n"):  # what was cut by a kill was told to nobody
                self.said.append(json.loads(line))

    def begin(self) -> None:
        """Let it write."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, *, kill: bool = False) -> int:
        """Its exit code, once it has said everything."""
        if kill:
            self.process.kill()
        code = self.process.wait()
        self._listener.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        return code

    def has_said(self, often: int) -> bool:
        """Whether so many of its calls have returned."""
        return len(self.said) >= often

    @property
    def rows(self) -> list[str]:
        """Rows that it was told are committed."""
        return [each["id"] for each in self.said if "id" in each]

    @property
    def errors(self) -> list[str]:
        """What its calls raised."""
        return [each["error"] for each in self.said if "error" in each]


@contextmanager
def reading(ws: Workspace, sizes: list[int]) -> Iterator[None]:
    """One reader after the other, each with one moment of the database before it for a while. `sizes`: of the log beside the
    file, in bytes."""
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            with ws.control.read() as tx:
                seen = len(find_rollouts(tx))
                end = time.monotonic() + READ_SECONDS
                while time.monotonic() < end and not over.wait(0.05):
                    with suppress(FileNotFoundError):  # the last one out takes it away
                        sizes.append(os.stat(ws.path("control.db-wal")).st_size)
                assert len(find_rollouts(tx)) == seen, "a reader sees one moment"

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


def committed(ws: Workspace) -> set[str]:
    with ws.control.read() as tx:
        return {str(each.id) for each in find_rollouts(tx)}


def test_eight_writers_beside_a_long_reader_are_never_told_that_it_is_locked(tmp_path: Path) -> None:
    ws, often = create_workspace(tmp_path / "data"), figure(12, 1000)
    writers = [Writer(ws.root, f"w{number}", often) for number in range(WRITERS)]
    sizes: list[int] = [0]
    with reading(ws, sizes):
        for writer in writers:
            writer.begin()
        codes = [writer.end() for writer in writers]
    seconds = [each["seconds"] for writer in writers for each in writer.said if "seconds" in each]
    say("T07", SEED, writes=len(seconds), p99_ms=at(seconds, 0.99) * 1e3, max_ms=max(seconds) * 1e3, wal_mb=max(sizes) / 1e6)
    assert codes == [0] * WRITERS
    assert [error for writer in writers for error in writer.errors] == []
    assert committed(ws) == {row for writer in writers for row in writer.rows}
    assert len(seconds) == WRITERS * often
    assert ws.control.damage() == []
    assert max(sizes) < 64e6
    assert within(at(seconds, 0.5), 2.5), "ten times the figure"


def test_writers_that_checkpoint_and_are_killed_leave_a_whole_file(tmp_path: Path) -> None:
    ws, rng = create_workspace(tmp_path / "data"), random.Random(SEED)
    end, wanted = time.monotonic() + figure(0, 1800), 0 if WHOLE else 4
    running: list[Writer] = []
    told: set[str] = set()
    errors: list[str] = []
    number, kills, checks = itertools.count(), 0, 0
    sizes: list[int] = [0]
    with reading(ws, sizes):
        while time.monotonic() < end or kills < wanted:
            while len(running) < (WRITERS if WHOLE else 2):
                running.append(Writer(ws.root, f"k{next(number)}", 0))
                running[-1].begin()
            victim = running.pop(rng.randrange(len(running)))
            until(partial(victim.has_said, rng.randrange(1, 8)))
            kills += 1
            assert victim.end(kill=True) == -9
            told |= set(victim.rows)
            errors += victim.errors
            if kills % 10 == 0:
                checks += 1
                assert ws.control.damage() == []
        for writer in running:
            writer.end(kill=True)
            told |= set(writer.rows)
            errors += writer.errors
    with open_workspace(ws.root).control.read() as tx:
        sqlite = tx.connection.rows("select sqlite_version()")[0][0]
    say("T08", SEED, sqlite=sqlite, kills=kills, rows=len(told), checks=checks, wal_mb=max(sizes) / 1e6)
    assert errors == []
    assert told <= committed(ws), "a row that somebody was told of is there"
    assert ws.control.damage() == []
