"""Stage 6: opens a cycle when the evidence says so, and takes it round the loop.

In: triggers, a person's wish. Out: closed cycles, each with the record every stage left.
Owns: cycles.
Never: does a stage's work itself, or opens more than one cycle of a model at a time.
"""

from __future__ import annotations

from tunekeeper.retraining.cycle import open_cycle, step

__all__ = ["cycle", "open_cycle", "policy", "report", "step"]
