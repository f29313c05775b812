"""The fake notifier, for tests and trials: keeps what it was given, and fails when told to."""

from __future__ import annotations

from pathlib import Path

from tunekeeper.notify.notifier import NotSent
from tunekeeper.store.ledgers.outbox import Message


class Memory:
    """Keeps messages in a list."""

    def __init__(self, *, root: Path | None = None, fail: int = 0, permanent: bool = False) -> None:
        """`fail`: how many sends fail first; `permanent`: whether those failures are for good."""
        self.root = root
        self.left_to_fail = fail
        self.permanent = permanent
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        """Keep `message`, or raise NotSent while failures are left."""
        if self.left_to_fail > 0:
            self.left_to_fail -= 1
            raise NotSent("memory: told to fail", permanent=self.permanent)
        self.messages.append(message)
