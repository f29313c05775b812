"""The demo: the whole loop on real parts, offline, in minutes.

In: examples/support_desk. Out: a project folder with a month of history, demo.json, report.html.
Owns: nothing (its journal and the users' own record lie in the project's data directory).
Never: prints a number that this run did not measure.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunekeeper.demo.run import Played, ask, demo
    from tunekeeper.demo.screen import Screen
    from tunekeeper.demo.summary import one_screen

__all__ = ["Played", "Screen", "ask", "demo", "one_screen"]

_HOMES = {"Played": "run", "ask": "run", "demo": "run", "Screen": "screen", "one_screen": "summary"}


def __getattr__(name: str) -> Any:
    # On first use: the made-up world is asked for by the rebuild script, which needs none of the rest.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
