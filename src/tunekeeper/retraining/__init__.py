"""Stage 6: opens a cycle when the evidence says so, and takes it round the loop.

In: triggers, a person's wish. Out: closed cycles, each with the record every stage left.
Owns: cycles.
Never: does a stage's work itself, or opens more than one cycle of a model at a time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.retraining import cycle, policy, report

__all__ = ["cycle", "policy", "report"]


def __getattr__(name: str) -> Any:
    # On first use: reading the section's `Config` must not load the whole loop.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
