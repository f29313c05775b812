"""The process in which a scorer from elsewhere judges: `python -m tunekeeper.scoring.child`.

The first line in names the scorer, the first line out says that it is made, or why it is not; then a line
`[number, {answer, case}]` a question in, and a line `[number, judgement]` an answer out, in any order.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring.apart import READY, SECONDS
from tunekeeper.scoring.scorers import Scorer, judged, made

TOGETHER = 32
"""Questions that are worked on at once."""
LONGEST = 3600
"""Most seconds that a scorer may want for one judgement."""
ORPHANED = 6
"""Seconds behind its limit at which the kernel ends a process that hangs, and that nobody else ended: who asked is gone. For that
no thread of ours needs to run."""


def main() -> None:
    """Make the scorer, and judge until there is nothing more to read."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides when it is over
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a scorer prints is no answer
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # and what it reads no question
    begin = json.loads(questions.readline())
    signal.alarm(int(begin["seconds"]) + ORPHANED)
    judge, told = _made(begin["name"], begin["options"])
    signal.alarm(0)
    if judge is None:
        _say(answers, READY, told)
        return
    judging = _Judging(judge, answers, int(told["seconds"]) + ORPHANED)
    _say(answers, READY, told)
    with ThreadPoolExecutor(TOGETHER) as pool:
        for line in questions:
            judging.begun()
            pool.submit(judging.answer, *json.loads(line))


def _made(name: str, options: dict[str, Any]) -> tuple[Scorer | None, dict[str, Any]]:
    """The scorer and how long a judgement may take, `{seconds}`; without one why it could not be made, `{failed, fix}`."""
    try:
        judge = made(name, options)
        seconds = getattr(judge, "judging_seconds", SECONDS)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
            raise ValueError(f"judging_seconds is {seconds!r}, not a number from 0 to {LONGEST}")
    except TunekeeperError as error:
        return None, {"failed": error.message, "fix": error.fix}
    except BaseException as error:  # noqa: BLE001 - what others wrote raises what it likes, sys.exit among it
        return None, {"failed": f"scorer {name} cannot be made: {_said(error)}", "fix": "ask whoever wrote its package"}
    return judge, {"seconds": float(seconds)}


def _said(error: BaseException) -> str:
    """An exception in one line."""
    said = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}{f': {said}' if said else ''}"


def _say(answers: IO[bytes], number: int, found: Any) -> None:
    """Write an answer; one after the other."""
    answers.write(json.dumps([number, found]).encode() + b"\n")
    answers.flush()


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
        try:
            found = judged(self._judge, question["answer"], _case(question["case"]))
        except BaseException as error:  # noqa: BLE001 - sys.exit in a thread ends nothing but the answer
            found = None, f"the scorer failed: {_said(error)}"
        with self._lock:
            _say(self._answers, number, found)
            self._open -= 1
            if not self._open:
                signal.alarm(0)


def _case(value: dict[str, Any]) -> Case:
    return Case(**value | {"messages": tuple(value["messages"]), "tags": tuple(value["tags"])})


if __name__ == "__main__":
    main()
