"""Long work, once: a child process found again by what it was asked to do, whoever asked and whoever died meanwhile.

In: a kind and its input. Out: progress, then an output and the files left in its work folder. Owns: jobs.
Never: knows what a kind does, puts results anywhere, or dies with the process that asked. A job's child imports the standard
library and what its kind imports; so this file imports nothing until a verb is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.jobs.context import JobContext
    from tunekeeper.jobs.verbs import Job, cancel, ensure, look, reraise, wait

_HOMES = {"JobContext": "tunekeeper.jobs.context"}
_VERBS = "tunekeeper.jobs.verbs"
__all__ = ["Job", "JobContext", "cancel", "ensure", "look", "reraise", "wait"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, _VERBS)), name)
