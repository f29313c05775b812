"""Model servers that somebody else runs and that are only asked: any OpenAI-compatible endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunekeeper.core.errors import UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines.client import base_of, call_json, listed_models
from tunekeeper.engines.engine import Capabilities

ASKED = 3
"""Models that are asked for one token, at most."""
WAIT = 10.0
"""Seconds for one token: a server that takes longer is not known to say probabilities."""


class OpenAI:
    """Any server with `/v1/chat/completions` and `/v1/models`."""

    def command(self, slot: Slot, root: Path) -> list[str] | None:
        return None

    def health_path(self) -> str:
        return "/v1/models"

    def request_fields(self, slot: Slot) -> dict[str, Any]:
        return {"model": slot.upstream_model or slot.version or slot.id}

    def probe(self, endpoint: str, api_key: str | None = None) -> Capabilities:
        """The models that it lists, and whether an answer of one token by one of the first says probabilities: many list models
        that do not chat beside those that do."""
        base = base_of(endpoint)
        models = listed_models(base, api_key)
        logprobs = any(_probable(base, model, api_key) for model in models[:ASKED])
        return Capabilities(models=models, logprobs=logprobs, adapters=False)


def _probable(base: str, model: str, api_key: str | None) -> bool:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "logprobs": True}
    try:
        said = call_json("POST", base + "/v1/chat/completions", body, api_key=api_key, total=WAIT)
        return bool(said["choices"][0]["logprobs"]["content"])
    except (UpstreamUnavailable, TypeError, KeyError, IndexError):
        return False  # it lists its models; what more it says is not promised
