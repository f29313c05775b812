"""What a training job is given, and what lies in its work folder, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

BEGUN = "begun.json"
"""What is known of a run before its first step: rows, left_out, notes, machine."""
ADAPTER = "adapter"
MODEL = "model"
"""Folder of what full tuning leaves: a whole checkpoint."""
TRANSCRIPT = "transcript.jsonl"
CHECKPOINT = "checkpoint.pt"
TRL_CHECKPOINTS = "trl"
"""Folder that TRL keeps its own in."""
EPOCHS = "epochs"
"""Folder with a folder for each finished epoch: what it learned, the curve so far, and what it answered to the sample."""
ANSWERS = "answers.jsonl"
CURVE = "curve.json"


class Context(Protocol):
    """What the job runner hands to a child."""

    @property
    def root(self) -> Path:
        """Data directory of the workspace."""

    @property
    def work(self) -> Path:
        """Scratch folder; what is left there is the result. The same folder in every attempt."""

    def progress(self, fraction: float | None, **fields: Any) -> None:
        """Say how far the job is, 0 to 1."""
