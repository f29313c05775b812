"""llama.cpp's server, run by us as a child process (`llamacpp_server`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines.client import base_of, call_json, listed_models
from tunekeeper.engines.engine import MAPPED, MODEL_DIGEST, Capabilities, option


class LlamaCpp:
    """One GGUF file, with its adapters preloaded and chosen per request."""

    def command(self, slot: Slot, root: Path) -> list[str] | None:
        """Command line of the child. Raises ArtifactError when the slot names no file or the file is gone."""
        model = slot.files.get("model")
        if model is None:
            raise ArtifactError(
                f"slot {slot.id} names no model file", fix=f"tunekeeper export gguf {slot.version or 'VERSION'} --out FILE"
            )
        parallel, context = option(slot, "parallel", 4), option(slot, "context", 512)
        command = [sys.executable, "-m", "tunekeeper.engines.llamacpp_server", "--model", _existing(root, model, slot)]
        command += ["--alias", slot.upstream_model or slot.version or slot.id]
        # llama.cpp divides its context among the parallel slots: `context` is what one request may use.
        command += [
            "--parallel",
            str(parallel),
            "--context",
            str(context * parallel),
            "--threads",
            str(option(slot, "threads", 1)),
        ]
        whole = slot.options.get(MODEL_DIGEST) if "lora" in slot.files else slot.digest
        if whole:
            command += ["--digest", whole]
        if slot.endpoint and (port := urlsplit(slot.endpoint).port):
            command += ["--port", str(port), "--other-port"]
        if slot.options.get(MAPPED):
            command += ["--mapped"]
        if "lora" in slot.files:
            command += ["--lora", _existing(root, slot.files["lora"], slot)]
            command += ["--lora-digest", slot.digest] if slot.digest else []
        if slot.api_key_env:
            command += ["--api-key-env", slot.api_key_env]
        return command

    def health_path(self) -> str:
        return "/health"

    def request_fields(self, slot: Slot) -> dict[str, Any]:
        """The model name, and where the adapter is apart the choice of it (an unknown index would be answered 200 silently)."""
        fields: dict[str, Any] = {"model": slot.upstream_model or slot.version or slot.id}
        if slot.adapter is not None:
            fields["lora"] = [{"id": slot.adapter, "scale": 1.0}]
        return fields

    def probe(self, endpoint: str, api_key: str | None = None) -> Capabilities:
        base = base_of(endpoint)
        models = listed_models(base, api_key)
        adapters = call_json("GET", base + "/lora-adapters", api_key=api_key)
        return Capabilities(models=models, logprobs=True, adapters=isinstance(adapters, list) and bool(adapters))


def _existing(root: Path, name: str, slot: Slot) -> str:
    path = root / name
    if not path.is_file():
        raise ArtifactError(
            f"{path}: the file of slot {slot.id} is missing", fix=f"tunekeeper export gguf {slot.version or 'VERSION'} --out FILE"
        )
    return str(path)
