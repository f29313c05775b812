"""Where everything that must survive is kept: two databases, content-addressed blobs, the published routes, the log.

In: frozen nouns. Out: the same nouns, after a restart. Owns: the files of the data directory, audit rows and leases.
Never: decides anything, knows what a noun means, or is imported by a gateway beyond `published`, `log.spool` and `clockfile`
(so this file imports nothing: all else comes with the first use of a name below).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.store.blobs import Blobs
    from tunekeeper.store.clockfile import CompressedClock
    from tunekeeper.store.database import Database
    from tunekeeper.store.leases import Lease
    from tunekeeper.store.transactions import Read, Write

_HOMES = {
    "Blobs": "tunekeeper.store.blobs",
    "CompressedClock": "tunekeeper.store.clockfile",
    "Database": "tunekeeper.store.database",
    "Lease": "tunekeeper.store.leases",
    "Read": "tunekeeper.store.transactions",
    "Write": "tunekeeper.store.transactions",
}
__all__ = ["Blobs", "CompressedClock", "Database", "Lease", "Read", "Write"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
