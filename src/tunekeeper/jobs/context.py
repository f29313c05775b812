"""What a job's function is given beside its input."""

from __future__ import annotations

import json
import os
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
        descriptor = os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
