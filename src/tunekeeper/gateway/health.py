"""Which slots are given a rest after they failed again and again. Pure but for the time it is told.

Five failures in a row eject a slot for five seconds, each further one twice as long, one minute at most; then it is asked again.
It is only a preference among candidates: a slot without an alternative is always asked (the last upstream is never ejected).
"""

from __future__ import annotations

FAILURES = 5
FIRST_REST = 5.0
LONGEST_REST = 60.0


class Health:
    """One worker's opinion of its slots."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def succeeded(self, slot: str) -> None:
        """`slot` answered."""
        if self._failures.pop(slot, None) is not None:
            self._until.pop(slot, None)

    def failed(self, slot: str, now: float) -> None:
        """`slot` failed at `now`, real seconds, by its own fault."""
        count = self._failures[slot] = self._failures.get(slot, 0) + 1
        if count >= FAILURES:
            self._until[slot] = now + min(LONGEST_REST, FIRST_REST * 2 ** (count - FAILURES))

    def resting(self, slot: str, now: float) -> bool:
        """Whether `slot` is ejected at `now`."""
        return self._until.get(slot, 0.0) > now

    def ejected(self, now: float) -> list[str]:
        """The slots that rest at `now`."""
        return sorted(slot for slot, until in self._until.items() if until > now)
