"""Stage 1, data: from production traffic to a versioned dataset that deserves trust.

In: files of rows, the inference log with its feedback, what reviewers say. Out: a draft with a reason for every row that was
left out, frozen dataset versions, differences, exports. Owns (ledgers): datasets, reviews; the draft's files under `data/`.
Never: trains, judges a model, changes a frozen version, or stores a row before redacting it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.data import checks, review, versions
    from tunekeeper.data.collect import poke
    from tunekeeper.data.differences import diff
    from tunekeeper.data.freezing import freeze
    from tunekeeper.data.imports import import_files

__all__ = ["checks", "diff", "freeze", "import_files", "poke", "review", "versions"]

_HOMES = {"diff": "differences", "freeze": "freezing", "import_files": "imports", "poke": "collect"}


def __getattr__(name: str) -> Any:
    # On first use: reading the section's `Config` must not load the databases or a hashing library.
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
