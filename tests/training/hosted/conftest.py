"""The loopback providers, a section that trains at one of them, and an adapter for Together to hand out."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zstandard
from safetensors.numpy import save

from tunekeeper.testing.hosted import Providers
from tunekeeper.training.config import BackendOptions, Config
from tunekeeper.training.hosted.terms import KNOWN

STEM = "base_model.model.model.layers.0.self_attn.q_proj"
SHAPES = {f"{STEM}.lora_A.weight": (2, 256), f"{STEM}.lora_B.weight": (256, 2)}
SETTINGS = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
MODELS = {"openai": "gpt-4o-mini-2024-07-18", "together": "acme/tiny", "mistral": "ministral-8b", "fireworks": "tiny"}


def adapter_files(shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, bytes]:
    """An adapter as PEFT writes it, name → content."""
    return {
        "adapter_config.json": json.dumps(SETTINGS).encode(),
        "adapter_model.safetensors": save({name: np.ones(shape, np.float32) for name, shape in shapes.items()}),
    }


def packed(files: dict[str, bytes]) -> bytes:
    """A tar.zst of these files, as Together hands it out."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return zstandard.compress(raw.getvalue())


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Providers]:
    """The providers, with their key in the environment."""
    with Providers() as server:
        server.archive = packed(adapter_files())
        for known in KNOWN.values():
            monkeypatch.setenv(known.terms.api_key_env, server.key)
        yield server


@pytest.fixture
def section(there: Providers) -> Callable[..., Config]:
    """A section that trains at a provider: `section("openai", rank=8, backend_options={...})`."""

    def make(provider: str, *, options: dict[str, Any] | None = None, **recipe: Any) -> Config:
        chosen = {
            "model": MODELS[provider],
            "endpoint": there.endpoint(provider),
            "account": "acme",
            "poll_seconds": 0.02,
            "give_up_seconds": 30.0,
            **(options or {}),
        }
        return Config(backend=provider, backend_options=BackendOptions(**chosen), **recipe)  # type: ignore[arg-type]

    return make
