"""Stage 4a: a version becomes a file that a model server runs, proven to answer as it did in training, loaded off traffic.

In: a version (base, adapter, reference transcript). Out: an artifact with its parity result, a slot that holds it and passed
its smoke test. Owns: artifacts, slots. Never: sends user traffic to a slot, judges quality, imports torch, or runs code that
came with a checkpoint.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.deployment import files, registry, slots
    from tunekeeper.deployment.loading import poke_load
    from tunekeeper.deployment.slots import observe_slot
    from tunekeeper.deployment.verbs import export_version, poke

_HOMES = {
    "export_version": "verbs",
    "poke": "verbs",
    "poke_load": "loading",
    "observe_slot": "slots",
    "slots": "",
    "registry": "",
    "files": "",
}
__all__ = ["export_version", "files", "observe_slot", "poke", "poke_load", "registry", "slots"]


def __getattr__(name: str) -> Any:
    # On first use: an export child needs numpy, a supervisor the slots, and neither the other's imports.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _HOMES[name]:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
