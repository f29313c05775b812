"""Model servers that somebody else runs and that are only asked: any OpenAI-compatible endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines.client import base_of, listed_models
from tunekeeper.engines.engine import Capabilities


class OpenAI:
    """Any server with `/v1/chat/completions` and `/v1/models`."""

    logprobs = True
    adapters = False

    def command(self, slot: Slot, root: Path) -> list[str] | None:
        return None

    def health_path(self) -> str:
        return "/v1/models"

    def request_fields(self, slot: Slot) -> dict[str, Any]:
        return {"model": slot.upstream_model or slot.version or slot.id}

    def probe(self, endpoint: str, api_key: str | None = None) -> Capabilities:
        return Capabilities(models=listed_models(base_of(endpoint), api_key), logprobs=self.logprobs, adapters=self.adapters)
