"""A checkpoint as transformers loads it, of whatever family: what an adapter is merged into, or put on by vLLM.

Nothing here asks whether llama.cpp could serve it; that is `checkpoint.open_checkpoint`. A model that full training made is
such a checkpoint as well, without an adapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import ends_of, read_json, refuse_two_outputs
from tunekeeper.deployment.safetensors import Weights, open_folder

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A checkpoint folder, its headers checked."""

    folder: Path
    """Where it lies."""
    config: dict[str, Any]
    """Content of config.json."""
    weights: Weights
    """Its tensors."""
    tied: bool
    """Whether the output layer is the embedding."""
    eos: tuple[int, ...]
    """Ids that end an answer."""

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """What an adapter can change: name → dimensions. A tied output layer has a name of its own."""
        found = {name: self.weights.shape(name) for name in self.weights}
        return found | ({OUTPUT: found[EMBEDDING]} if self.tied and EMBEDDING in found else {})


def open_source(folder: Path) -> Source:
    """Read a checkpoint's configuration and headers; runs no code of it.

    Raises ArtifactError for damaged files, for code that it brings along, and for weights that are quantized already.
    """
    config = read_json(folder / "config.json")
    where = folder / "config.json"
    if config.get("auto_map"):
        raise ArtifactError(
            f"{where}: auto_map, the checkpoint brings its own code",
            fix="take auto_map out of a copy, where transformers knows the architecture without it",
        )
    if config.get("quantization_config"):
        raise ArtifactError(
            f"{where}: quantization_config, the weights are already quantized", fix="use the full-precision checkpoint"
        )
    weights = open_folder(folder)
    told = config.get("tie_word_embeddings")
    tied = OUTPUT not in weights if told is None else bool(told)
    refuse_two_outputs(folder, weights, tied=tied)
    return Source(
        folder=folder,
        config=config,
        weights=weights,
        tied=tied,
        eos=ends_of(config, folder),
    )
