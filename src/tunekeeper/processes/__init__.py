"""The small supervisor behind `up` and `serve`: it starts children, restarts them, and stops them in order.

In: a data directory, the gateway's section, slots that are wanted. Out: running children, what was observed of each slot.
Owns: nothing (files under `run/` are its scratch). Never: answers a request, decides about traffic or models, or guesses by a
process id: a child is alive while the flock of its file under `run/` is held, also by a supervisor that was killed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["down", "serve", "up"]

_HOME = {"up": "plans", "serve": "plans", "down": "ending"}


def __getattr__(name: str) -> Any:
    """Verbs are loaded on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
