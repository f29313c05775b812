"""What a job's function is given beside its input."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class JobContext:
    """Where a job works and how it tells how far it is."""

    root: Path
    """The workspace's data directory, to read from."""
    work: Path
    """Scratch folder; files left here are the result. A second attempt finds what the first left."""
    attempt: int = 1
    """Which start of this job this is."""
    journal: Path | None = None
    """File that progress is appended to; None keeps none."""

    def progress(self, fraction: float | None, **fields: Any) -> None:
        """Tell how far the work is (0 to 1, None when unknown) with anything else worth showing, as JSON values."""
        if self.journal is None:
            return
        line = json.dumps({"fraction": fraction, **fields}, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
        with contextlib.suppress(OSError), self.journal.open("ab", buffering=0) as journal:
            journal.write(line)  # a disk that is full for a while must not end the work for the sake of a word about it
