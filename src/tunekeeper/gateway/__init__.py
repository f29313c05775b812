"""The request path: an OpenAI-compatible gateway that routes, streams, falls back and logs, on protocols alone.

In: published routes, slots and keys; requests; feedback. Out: answers, and one inference for each.
Owns: inferences, feedback, keys. Never: reads a database while it serves, waits for the worker, or answers unlogged.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Config", "Limits", "Options", "create_key", "find_keys", "revoke_key", "write_options"]

_HOME = {
    "Config": "config",
    "Limits": "limits",
    "Options": "options",
    "write_options": "options",
    "create_key": "keys",
    "find_keys": "keys",
    "revoke_key": "keys",
}


def __getattr__(name: str) -> Any:
    """Names are loaded on first use: a worker process needs none of the key verbs' store."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
