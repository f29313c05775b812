"""Stage 2: a dataset version becomes an adapter, or a whole model, with everything on record that is needed to make it again.

In: a dataset version, a recipe, a base checkpoint, perhaps a version to continue from. Out: a training run, what it learned, a
reference transcript of what the trained model answers, an immutable version. Owns: runs, versions.
Never: judges whether a version is good (loss is no acceptance metric), serves it, or imports torch outside a job's child. The
child imports this room too, so nothing is imported here until it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.training import planning, previewing
    from tunekeeper.training.standalone import train_folder
    from tunekeeper.training.verbs import collect, declare_base, poke, train

_HOMES = {
    "train": "verbs",
    "collect": "verbs",
    "poke": "verbs",
    "declare_base": "verbs",
    "train_folder": "standalone",
    "planning": "",
    "previewing": "",
}
__all__ = ["collect", "declare_base", "planning", "poke", "previewing", "train", "train_folder"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _HOMES[name]:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
