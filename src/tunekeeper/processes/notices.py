"""What is told when the gateway is ready: what it does not have of the model servers that its configuration names."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunekeeper.config.slots import Entry, ServeSlot, keyless
from tunekeeper.core.errors import ConfigError, UpstreamUnavailable

if TYPE_CHECKING:
    from tunekeeper.processes.supervisor import Say

SECONDS = 5.0
"""Longest wait for a server's list of adapters."""


def tell(served: Mapping[str, Entry], environ: Mapping[str, str], say: Say) -> list[threading.Thread]:
    """Say which keys are not set, and, as soon as its server has answered, which slot asks for an adapter that is not there:
    llama.cpp would answer such a request with the bare base, and say nothing.

    Gives the threads that ask; each ends with its server's answer, or after `SECONDS`.
    """
    asking = []
    for slot, variable in keyless(served, environ):
        say({"event": "key_missing", "slot": slot, "variable": variable})
    for model, entry in served.items():
        for name, each in entry.slots.items():
            if each.adapter is not None:
                asking.append(threading.Thread(target=_look, args=(f"{model}/{name}", each, environ, say), daemon=True))
                asking[-1].start()
    return asking


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
