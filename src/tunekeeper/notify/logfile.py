"""The notifier that needs nothing: one line of JSON per message in `notifications.jsonl` of the data directory."""

from __future__ import annotations

import os
from pathlib import Path

from tunekeeper.core.ids import canonical_json
from tunekeeper.notify.notifier import NotSent
from tunekeeper.notify.payload import payload
from tunekeeper.store.ledgers.outbox import Message

NAME = "notifications.jsonl"


class LogFile:
    """Appends messages to a file."""

    def __init__(self, *, root: Path, file: str = NAME) -> None:
        """`file`: its name, in the data directory `root`."""
        self.path = root / Path(file).name

    def send(self, message: Message) -> None:
        """Append one line, in one write. Raises NotSent when the disk does not take it."""
        line = canonical_json(payload(message)) + b"\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                written = os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise NotSent(f"{self.path.name}: {error.strerror}") from None
        if written != len(line):
            raise NotSent(f"{self.path.name}: the disk is full")
