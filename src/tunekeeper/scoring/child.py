"""The process in which a scorer from elsewhere judges: `python -m tunekeeper.scoring.child`.

The first line in names the scorer, the first line out says that it is made; then a line `[number, {answer, case}]` a question in,
and a line `[number, judgement]` an answer out, in any order.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring.apart import READY, Judged
from tunekeeper.scoring.scorers import Scorer, judged, made

TOGETHER = 32
"""Questions that are worked on at once."""
ORPHANED = 6
"""Seconds behind its limit at which the kernel ends a process that hangs, and that nobody else ended: who asked is gone. For that
no thread of ours needs to run."""


def main() -> None:
    """Make the scorer, and judge until there is nothing more to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides when it is over
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a scorer prints is no answer
    begin = json.loads(sys.stdin.buffer.readline())
    judging = _Judging(made(begin["name"], begin["options"]), answers, int(begin["seconds"]) + ORPHANED)
    judging.say(READY, None)
    with ThreadPoolExecutor(TOGETHER) as pool:
        for line in sys.stdin.buffer:
            judging.begun()
            pool.submit(judging.answer, *json.loads(line))


class _Judging:
    """The questions that are being worked on."""

    def __init__(self, judge: Scorer, answers: IO[bytes], seconds: int) -> None:
        self._judge, self._answers, self._seconds = judge, answers, seconds
        self._lock = threading.Lock()
        self._open = 0

    def begun(self) -> None:
        """A question has come."""
        with self._lock:
            self._open += 1
            signal.alarm(self._seconds)

    def answer(self, number: int, question: dict[str, Any]) -> None:
        """Judge, and say so."""
        found = judged(self._judge, question["answer"], _case(question["case"]))
        with self._lock:
            self.say(number, found)
            self._open -= 1
            if not self._open:
                signal.alarm(0)

    def say(self, number: int, found: Judged | None) -> None:
        """Write an answer; one after the other."""
        self._answers.write(json.dumps([number, found]).encode() + b"\n")
        self._answers.flush()


def _case(value: dict[str, Any]) -> Case:
    return Case(**value | {"messages": tuple(value["messages"]), "tags": tuple(value["tags"])})


if __name__ == "__main__":
    main()
