"""How many extra calls of model servers one worker allows itself. Pure but for the time it is told.

The first call of a request is always free, and so is the one after a doubtful answer or after the refusal of what a server does
not take; one after a failure is extra. Extra calls are at most a fifth of the model's requests of the last ten seconds, and three
are always allowed: when every model server is ill, falling over must not double the load on them.
"""

from __future__ import annotations

from collections import deque

SHARE = 0.2
"""Extra calls per request of the window."""
LEAST = 3
"""Extra calls that are always allowed in one window."""
WINDOW = 10.0
"""Seconds that are looked back on."""


class _Window:
    __slots__ = ("extras", "requests", "seconds")

    def __init__(self) -> None:
        self.seconds: deque[list[int]] = deque()
        self.requests = self.extras = 0

    def at(self, now: float) -> list[int]:
        """The counts of this second, [second, requests, extras], after what is too old was forgotten."""
        second, seconds = int(now), self.seconds
        if seconds and seconds[-1][0] == second:
            return seconds[-1]
        while seconds and seconds[0][0] <= second - WINDOW:
            _, requests, extras = seconds.popleft()
            self.requests -= requests
            self.extras -= extras
        seconds.append([second, 0, 0])
        return seconds[-1]


class RetryBudget:
    """One worker's extra calls by model."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def asked(self, model: str, now: float) -> None:
        """Count one request for `model` at `now`, real seconds."""
        window = self._windows.get(model)
        if window is None:
            window = self._windows[model] = _Window()
        window.at(now)[1] += 1
        window.requests += 1

    def left(self, model: str, now: float) -> bool:
        """Whether `model` may have one more extra call at `now`."""
        window = self._windows.get(model)
        if window is None:
            return True
        window.at(now)
        return window.extras + 1 <= max(LEAST, SHARE * window.requests)

    def spend(self, model: str, now: float) -> bool:
        """Count one extra call; False when none is left, and then none is counted."""
        if not self.left(model, now):
            return False
        window = self._windows.setdefault(model, _Window())
        window.at(now)[2] += 1
        window.extras += 1
        return True
