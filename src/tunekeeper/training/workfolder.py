"""What lies in the work folder of a run, by name."""

from __future__ import annotations

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
