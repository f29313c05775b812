"""The seam: what every model server can be asked, and the table of those we know."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunekeeper.core.errors import ConfigError, UpstreamUnavailable
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.core.registry import Registry
from tunekeeper.engines.client import call

ENGINES = Registry(
    "engine",
    {
        "llamacpp": "tunekeeper.engines.llamacpp:LlamaCpp",
        "fake": "tunekeeper.engines.fake:Fake",
        "openai": "tunekeeper.engines.remote:OpenAI",
        "ollama": "tunekeeper.engines.ollama:Ollama",
        "vllm": "tunekeeper.engines.vllm:VLLM",
    },
)
MODEL_DIGEST = "model_digest"
"""Option of a slot that loads an adapter beside its base: the digest of the base's file; the slot's own is the adapter's."""
MAPPED = "mapped"
"""Option of a slot whose server is to leave weights as they lie in the file, so that all servers of one file share them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a server said it can do when it was asked."""

    models: tuple[str, ...]
    """Names it answers to."""
    logprobs: bool
    """Whether chat answers carry per-token log-probabilities."""
    adapters: bool
    """Whether a request may choose an adapter."""


class Engine(Protocol):
    """A kind of model server."""

    def command(self, slot: Slot, root: Path) -> list[str] | None:
        """Command line of a child that serves `slot`; None when we do not run such servers ourselves."""

    def health_path(self) -> str:
        """Path, from the server's root address, that answers 200 when requests can be sent."""

    def request_fields(self, slot: Slot) -> dict[str, Any]:
        """Fields that a request body must carry to reach exactly what the slot holds (model name, adapter choice)."""

    def probe(self, endpoint: str, api_key: str | None = None) -> Capabilities:
        """Ask the server what it can do. Raises UpstreamUnavailable."""


def engine_of(slot: Slot) -> Engine:
    """The engine of a slot. Raises ConfigError for an unknown name."""
    engine: Engine = ENGINES.load(slot.engine)()
    return engine


def launch_command(slot: Slot, root: Path) -> list[str] | None:
    """Command line of the supervised child that serves `slot`, or None for a server that is not ours to start.

    The child holds the flock of `root/run/engine-<slot>.lock` for life, lives on when its parent dies, and prints one line
    `{"listening": "http://127.0.0.1:PORT", …}` on stdout when it answers; the same line stands in the lock file.
    """
    command = engine_of(slot).command(slot, root)
    return None if command is None else [*command, "--lock", str(lock_path(slot, root))]


def lock_path(slot: Slot, root: Path) -> Path:
    """The file whose flock says that the slot's server is alive."""
    return root / "run" / f"engine-{slot.id}.lock"


def healthy(endpoint: str, *, engine: str = "llamacpp", api_key: str | None = None, timeout: float = 2.0) -> bool:
    """Whether the server at `endpoint` can take requests now. `timeout`: seconds for the whole question."""
    from tunekeeper.engines.client import base_of

    path = ENGINES.load(engine)().health_path()
    try:
        status, _ = call("GET", base_of(endpoint) + path, api_key=api_key, connect=timeout, total=timeout)
    except UpstreamUnavailable:
        return False
    return status == 200


def api_key_of(slot: Slot) -> str | None:
    """The key of the slot's upstream, from the environment variable that the slot names; None where that holds nothing that a
    header carries, as the gateway reads it."""
    key = os.environ.get(slot.api_key_env, "").strip() if slot.api_key_env else ""
    return key if key and key.isascii() and key.isprintable() else None


def key_of(variable: str | None) -> str | None:
    """The key that an environment variable holds. Raises ConfigError when it is named and empty."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"environment variable {variable} is empty", fix=f"export {variable}=…")
    return key


def option(slot: Slot, name: str, default: int) -> int:
    """A whole number among the slot's options."""
    value = slot.options.get(name)
    return default if value is None else int(value)
