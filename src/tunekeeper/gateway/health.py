"""Which slots are given a rest: they failed again and again, or asked for one. Pure but for the time it is told.

Five failures in a row, or one failed probe, eject a slot for five seconds; after each rest one request tries it again, and a
further failure makes the next rest twice as long, one minute at most. A slot that answered 429 rests as long as its Retry-After
says. It is only a preference among candidates: one without an alternative is always asked (the last upstream is never ejected).
"""

from __future__ import annotations

FAILURES = 5
FIRST_REST = 5.0
LONGEST_REST = 60.0
USUAL_WAIT = 1.0
"""Seconds that a 429 without a Retry-After is taken to ask for."""
LONGEST_WAIT = 3600.0
"""Most seconds that a model server's own Retry-After is obeyed."""
REFUSAL_SECONDS = 600.0
"""Seconds for which a slot that refused log-probabilities, and answered without, is asked without: it may be replaced by then."""


class Health:
    """One worker's opinion of its slots."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}
        self._wait: dict[str, float] = {}
        self._refuses: dict[str, float] = {}
        self._answers: dict[str, int] = {}

    @property
    def calm(self) -> bool:
        """Whether there is nothing against any slot."""
        return not self._failures and not self._wait

    def succeeded(self, slot: str) -> None:
        """`slot` answered."""
        self._answers[slot] = self._answers.get(slot, 0) + 1
        if self._failures and self._failures.pop(slot, None) is not None:
            self._until.pop(slot, None)

    def failed(self, slot: str, now: float) -> None:
        """`slot` failed at `now`, real seconds, by its own fault."""
        count = self._failures[slot] = self._failures.get(slot, 0) + 1
        if count >= FAILURES:
            self._until[slot] = now + _rest(count)

    def eject(self, slot: str, now: float) -> None:
        """`slot` failed a probe: it rests without further proof."""
        self._failures[slot] = max(FAILURES - 1, self._failures.get(slot, 0))
        self.failed(slot, now)

    def forget(self, slot: str) -> None:
        """Another process answers as `slot`: nothing is known against it."""
        for held in (self._failures, self._until, self._wait, self._refuses):
            held.pop(slot, None)

    def fared(self, slot: str) -> tuple[int, int]:
        """How often `slot` has answered, and failed since; equal as long as nothing is heard of it."""
        return self._answers.get(slot, 0), self._failures.get(slot, 0)

    def asked_to_wait(self, slot: str, seconds: float, now: float) -> None:
        """`slot` answered 429 and wants to be left alone for `seconds`."""
        self._wait[slot] = now + min(LONGEST_WAIT, seconds)

    def trying(self, slot: str, now: float) -> None:
        """`slot` is about to be asked: when its rest is over this request alone tries it, and the others go elsewhere."""
        if not self._failures and not self._wait:
            return
        if self._wait.get(slot, now + 1.0) <= now:
            del self._wait[slot]
        count = self._failures.get(slot, 0)
        if count >= FAILURES:
            self._until[slot] = max(self._until.get(slot, 0.0), now + _rest(count))

    def resting(self, slot: str, now: float) -> bool:
        """Whether `slot` is ejected, or waits, at `now`."""
        return self._until.get(slot, 0.0) > now or self.waiting(slot, now)

    def waiting(self, slot: str, now: float) -> bool:
        """Whether `slot` asked to be left alone, and it is not yet time."""
        return self._wait.get(slot, 0.0) > now

    def refused_probabilities(self, slot: str, now: float) -> None:
        """`slot` refused a request for log-probabilities and answered the same one without."""
        self._refuses[slot] = now + REFUSAL_SECONDS

    def refuses_probabilities(self, slot: str, now: float) -> bool:
        """Whether `slot` is asked without them for now."""
        return self._refuses.get(slot, 0.0) > now

    def shaky(self, slot: str) -> bool:
        """Whether the last thing `slot` did was to fail."""
        return slot in self._failures

    def ejected(self, now: float) -> list[str]:
        """The slots that rest at `now`."""
        return sorted(slot for slot in {**self._until, **self._wait} if self.resting(slot, now))


def _rest(count: int) -> float:
    return min(LONGEST_REST, FIRST_REST * 2.0 ** min(count - FAILURES, 10))
