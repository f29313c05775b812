"""A scorer from elsewhere, asked in a process of its own: one that hangs ends no exam and no training that was paid for.

A thread would not do. Python's own `re` can take years over a pattern, and lets no other thread of its process run meanwhile.
What runs there is `scoring/child.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Future
from typing import Any

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.evaluation import Case

Judged = tuple[float | None, str]
SECONDS = 60.0
"""How long one judgement may take where the scorer does not say (`judging_seconds`)."""
BEGIN = 120.0
"""How long a scorer may take to be imported and made."""
READY = -1
"""Number of the answer that says it is made, `{seconds}`, or why it is not, `{failed, fix}`."""
LOST = 2
"""Judgements in a row that take too long, or end the process, after which the scorer is not asked any more."""


class Apart:
    """A scorer that is made and judges in another process, which is begun anew when it hangs. May be asked from several
    threads."""

    def __init__(self, name: str, options: dict[str, Any], begin: float = BEGIN) -> None:
        """`name`, `options`: as of `scorers.scorer`. `begin`: seconds that it may take to be made. Raises ConfigError where that
        fails, or takes longer."""
        self._begin = _Begin(name=name, options=options, seconds=begin)
        self._lock = threading.Lock()
        self._lost = 0
        self._why = ""
        self._running: list[_Process] = [_Process(self._begin)]
        weakref.finalize(self, _end, self._running)
        try:
            made = self._running[0].made()
        except _Lost as lost:
            made = {"failed": f"scorer {name} cannot be made: {lost}", "fix": "ask whoever wrote its package"}
        if "failed" in made:
            _end(self._running)
            raise ConfigError(made["failed"], fix=made["fix"])
        self._seconds: float = made["seconds"]

    def applies(self, case: Case) -> bool:
        """Whether this case can be judged this way; yes where that does not become known, for `score` to say why."""
        return self._asked(None, case) is not None

    def score(self, answer: str, case: Case) -> Judged:
        """As the scorer judges, and None with the reason where that came to nothing."""
        return self._asked(answer, case) or (None, "the scorer does not judge such cases")

    def _asked(self, answer: str | None, case: Case) -> Judged | None:
        if self._lost >= LOST:
            return None, f"{self._why}, {LOST} times in a row: it is not asked any more"
        question = {"answer": answer, "case": dataclasses.asdict(case)}
        try:
            found = self._beside_others(question)
        except _Lost as lost:
            self._lost, self._why = self._lost + 1, str(lost)
            return None, self._why
        self._lost = 0
        return found

    def _beside_others(self, question: dict[str, Any]) -> Judged | None:
        """What the scorer says of a question that others may be asked beside. One of those can be what hangs: where it was not
        alone, it is asked once more by itself. Raises _Lost."""
        with self._lock:
            if not self._running:
                self._running.append(_Process(self._begin))
            process = self._running[0]
        try:
            return process.ask(question, self._seconds)
        except _Lost as lost:
            with self._lock:
                if process in self._running:
                    self._running.remove(process)
            process.end()
            if lost.alone:
                raise
        process = _Process(self._begin)
        try:
            return process.ask(question, self._seconds)
        finally:
            process.end()


class _Lost(Exception):
    """A question without an answer."""

    def __init__(self, why: str, alone: bool) -> None:
        """`alone`: whether no other was being asked."""
        super().__init__(why)
        self.alone = alone


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Begin:
    """What such a process is begun with."""

    name: str
    """The scorer's name."""
    options: dict[str, Any]
    """Its options."""
    seconds: float
    """How long it may take to be made."""


class _Process:
    """The process, as seen from the one that asks."""

    def __init__(self, begin: _Begin) -> None:
        paths = os.pathsep.join(path for path in sys.path if path)
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "tunekeeper.scoring.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": paths},
            process_group=0,  # with what the scorer begins itself: it ends together
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._in, self._out = self._popen.stdin, self._popen.stdout
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._patience = begin.seconds
        self._ready: Future[Any] = Future()
        self._asked = {READY: self._ready}
        with contextlib.suppress(OSError):  # it has ended already, which `made` finds out
            self._write(json.dumps(dataclasses.asdict(begin), default=str))
        threading.Thread(target=self._read, daemon=True).start()

    def made(self) -> dict[str, Any]:
        """What the scorer says of itself once it is made, see `READY`. Raises _Lost where that takes too long."""
        try:
            found: dict[str, Any] = self._ready.result(self._patience)
        except TimeoutError:
            raise _Lost(f"it takes more than {self._patience:g} s to be made", alone=True) from None
        except OSError:
            raise _Lost("it ends its process while it is made", alone=True) from None
        return found

    def ask(self, question: dict[str, Any], seconds: float) -> Judged | None:
        """What the scorer says. Raises _Lost where that takes longer than `seconds`, or the process ends before."""
        written = json.dumps(question, default=str)
        future: Future[Any] = Future()
        self.made()
        try:
            with self._lock:
                number = next(self._numbers)
                self._asked[number] = future
            self._write(f"[{number}, {written}]")
            found = future.result(seconds)
        except TimeoutError:
            raise _Lost(f"the scorer took more than {seconds:g} s", len(self._asked) == 1) from None
        except OSError:
            raise _Lost("the scorer ended its process", alone=False) from None
        return None if found is None else (found[0], found[1])

    def end(self) -> None:
        """Kill it, and what it began; what was asked of it gets OSError."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        with self._lock, contextlib.suppress(OSError):
            self._in.close()

    def _write(self, line: str) -> None:
        with self._lock:
            self._in.write(line.encode() + b"\n")
            self._in.flush()

    def _read(self) -> None:
        with self._out:
            for line in self._out:
                number, found = json.loads(line)
                with self._lock:
                    future = self._asked.pop(number, None)
                if future is not None:  # a process that the scorer has forked off may say everything again
                    future.set_result(found)
        with self._lock:
            left, self._asked = self._asked, {}
        for future in left.values():
            future.set_exception(OSError("it has ended"))


def _end(running: list[_Process]) -> None:
    for process in running:
        process.end()
