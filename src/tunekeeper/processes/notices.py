"""What is told when the gateway is ready: what it does not have of the model servers that its configuration names."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tunekeeper.config.slots import Entry, ServeSlot, keyless
from tunekeeper.core.errors import ConfigError, UpstreamUnavailable

if TYPE_CHECKING:
    from tunekeeper.core.nouns.serving import Route
    from tunekeeper.processes.supervisor import Say

SECONDS = 5.0
"""Longest wait for a server's list of adapters."""


def tell(served: Mapping[str, Entry], environ: Mapping[str, str], say: Say, root: Path | None = None) -> list[threading.Thread]:
    """Say which keys are not set, which slots a committed route gives traffic though the file names them no more, and, as soon as
    its server has answered, which slot asks for an adapter that is not there: llama.cpp would answer such a request with the bare
    base, and say nothing. `root`: the data directory of a gateway whose only slots are those of its file.

    Gives the threads that ask; each ends with its server's answer, or after `SECONDS`.
    """
    asking = []
    for route in _routes(root):
        for share in route.shares:
            if route.model in served and (name := share.slot.removeprefix(f"{route.model}/")) not in served[route.model].slots:
                say({"event": "slot_unnamed", "model": route.model, "slot": name, "weight": share.weight})
    for slot, variable in keyless(served, environ):
        say({"event": "key_missing", "slot": slot, "variable": variable})
    for model, entry in served.items():
        for name, each in entry.slots.items():
            if each.adapter is not None:
                asking.append(threading.Thread(target=_look, args=(f"{model}/{name}", each, environ, say), daemon=True))
                asking[-1].start()
    return asking


def _routes(root: Path | None) -> list[Route]:
    """What gateways obey; nothing without a data directory, and while it cannot be read: then every request is refused."""
    from tunekeeper.store.published import PublishedReader, RouteUnavailable

    if root is None:
        return []
    with suppress(RouteUnavailable), closing(PublishedReader(root)) as reader:
        return list(reader.current().routes.values())
    return []


def _look(name: str, slot: ServeSlot, environ: Mapping[str, str], say: Say) -> None:
    from tunekeeper.engines.client import base_of, call

    try:
        key = environ.get(slot.api_key_env) if slot.api_key_env else None
        status, body = call("GET", f"{base_of(slot.endpoint)}/lora-adapters", api_key=key, total=SECONDS)
        there = [int(each["id"]) for each in json.loads(body)] if status == 200 else []
    except (UpstreamUnavailable, ConfigError):
        return  # nobody answers there yet, and a request will say so
    except (ValueError, TypeError, KeyError):
        there = []
    if slot.adapter not in there:
        known = ", ".join(map(str, there)) or "none"
        say({"event": "adapter_missing", "slot": name, "adapter": slot.adapter, "there": known})
