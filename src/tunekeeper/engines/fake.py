"""A deterministic model server for tests and journeys: the same wire, no weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines.client import base_of, listed_models
from tunekeeper.engines.engine import Capabilities


class Fake:
    """Answers by the rule in the JSON file that `slot.files` names as `answers` (or `model`); see `fake_server`."""

    def command(self, slot: Slot, root: Path) -> list[str] | None:
        command = [
            sys.executable,
            "-m",
            "tunekeeper.engines.fake_server",
            "--alias",
            slot.upstream_model or slot.version or slot.id,
        ]
        rule = slot.files.get("answers") or slot.files.get("model")
        if rule is not None:
            command += ["--answers", str(root / rule)]
        if slot.endpoint and (port := urlsplit(slot.endpoint).port):
            command += ["--port", str(port), "--other-port"]
        if slot.api_key_env:
            command += ["--api-key-env", slot.api_key_env]
        return command

    def health_path(self) -> str:
        return "/health"

    def request_fields(self, slot: Slot) -> dict[str, Any]:
        return {"model": slot.upstream_model or slot.version or slot.id}

    def probe(self, endpoint: str, api_key: str | None = None) -> Capabilities:
        return Capabilities(models=listed_models(base_of(endpoint), api_key), logprobs=False, adapters=False)
