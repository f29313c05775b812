"""Fakes and a toy project for our tests and for those who write extensions: real records, no network, time that is told to pass.

In: a folder, a clock that a test moves. Out: a small project, its users' requests and edits in the log, a trainer that learns in
no time, a model server that misbehaves on request, the checks of the seams.
Owns: no ledger; what it changes goes through the rooms' own verbs.
Never: stands in for a part of ours in production, or answers a check that the real part would fail.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.testing import contracts, trainer, upstream
    from tunekeeper.testing.desk import Desk, Ticket, World, open_desk

_ROOMS = ("contracts", "trainer", "upstream")
_HOMES = {"Desk": "desk", "Ticket": "desk", "World": "desk", "open_desk": "desk", **dict.fromkeys(_ROOMS, "")}
__all__ = ["Desk", "Ticket", "World", "contracts", "open_desk", "trainer", "upstream"]


def __getattr__(name: str) -> Any:
    # On first use: a job's child imports the trainer and must not pay for a workspace.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _HOMES[name]:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
