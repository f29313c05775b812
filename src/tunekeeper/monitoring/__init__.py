"""Stage 5: watches what is served, and says so when it gets worse.

In: inferences, feedback, reviews. Out: signals, baselines, alerts, triggers.
Owns: signals, baselines, alerts, triggers.
Never: changes a route, opens a cycle, or calls silence healthy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.monitoring import baseline, measure, rules, watch, watchdog

__all__ = ["baseline", "measure", "rules", "watch", "watchdog"]


def __getattr__(name: str) -> Any:
    # On first use: reading the section's `Config` must not load the databases.
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
