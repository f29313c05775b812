"""Stage 4b: traffic moves, and comes back.

In: a version and its verdicts. Out: a route the gateway obeys, a closed rollout.
Owns: rollouts, routes, approvals, incidents, promotions.
Never: measures quality itself, or waits in place.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.rollout import approvals, canary, drill, incidents, moves, stage
    from tunekeeper.rollout.moves import rollback

__all__ = ["approvals", "canary", "drill", "incidents", "moves", "rollback", "stage"]


def __getattr__(name: str) -> Any:
    # On first use: reading the section's `Config` must not load the databases.
    if name == "rollback":
        return importlib.import_module(f"{__name__}.moves").rollback
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
