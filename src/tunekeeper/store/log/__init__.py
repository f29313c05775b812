"""The inference log: every answered request, and what was said about it later.

In: lines that gateway workers append to the spool. Out: inferences, feedback and windows over them, from the spool and from
Parquet together, within a second. Owns: spool/, log/ and ids/ of the data directory. Never: keeps a database file, blocks an
answer, or loads DuckDB and pyarrow where only the writing side (`spool`) is used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Log": "tunekeeper.store.log.reader",
    "Spool": "tunekeeper.store.log.spool",
    "WindowRow": "tunekeeper.store.log.windows",
}
__all__ = ["Log", "Spool", "WindowRow"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
