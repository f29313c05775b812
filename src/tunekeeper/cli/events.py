"""How `up` and `serve` tell what happens: JSON lines on stdout, or sentences on stderr.

Whoever reads them may go, with its terminal or as `head -1` does: that ends nothing that answers requests.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from tunekeeper.cli.visible import in_json, line

TEXT = {
    "adopted": "{name} was running already (process {pid})",
    "died": "{name} ended: {why}; again in {restart_in} s",
    "restarted": "{name} is running again (process {pid})",
    "started": "{name} starts (process {pid})",
    "loaded": "{name} answers",
    "ended": "{name} ended",
    "cannot_start": "{name} cannot be started: {why}",
    "reloaded": "{file} read again",
    "not_reloaded": "{file} not obeyed: {why}",
    "restart_needed": "{what}: obeyed after a restart (tunekeeper down, tunekeeper up)",
    "key_missing": "{slot}: the variable {variable} holds no key, so its server is asked without one",
    "adapter_missing": "{slot}: its server has no adapter {adapter} (it has: {there}) and answers with the bare base",
    "stopping": "stopping",
    "stopped": "stopped",
}


def as_json(event: dict[str, Any]) -> None:
    """One JSON line on stdout."""
    _tell(_document(event), sys.stdout)


def ready_first() -> Callable[[dict[str, Any]], None]:
    """As `as_json`, but what was found running, or is begun, is told behind the ready line, which a script reads first."""
    held: list[dict[str, Any]] = []
    ready = False

    def say(event: dict[str, Any]) -> None:
        nonlocal ready
        if event["event"] in ("adopted", "started", "loaded") and not ready:
            held.append(event)
            return
        as_json(event)
        if event["event"] == "ready":
            ready = True
            for each in held:
                as_json(each)

    return say


def as_text(event: dict[str, Any]) -> None:
    """The ready line on stdout, everything else on stderr."""
    if event["event"] == "ready":
        loading = f"; loading: {', '.join(event['loading'])}" if event.get("loading") else ""
        _tell(f"ready: {event['url']}/v1, {len(event['workers'])} gateway worker(s){loading}; Ctrl-C stops", sys.stdout)
        return
    form = TEXT.get(event["event"])
    _tell(line(form.format(**event)) if form else _document(event), sys.stderr)


def _tell(text: str, where: TextIO) -> None:
    try:
        print(text, file=where, flush=True)
    except OSError:  # nobody reads it any more: what is still to be said goes nowhere
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, where.fileno())
        os.close(nowhere)


def _document(event: dict[str, Any]) -> str:
    return in_json(json.dumps(event, ensure_ascii=False))
