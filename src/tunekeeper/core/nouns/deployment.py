"""Nouns of stage 4a: artifacts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityCheck:
    """One layer that was compared between training and serving."""

    layer: Literal["template", "stop", "tokenizer", "merge", "quantization", "sampling"]
    """What was compared."""
    ok: bool
    """Whether it agrees."""
    detail: str = ""
    """What differs, first place, in one line."""
    value: float | None = None
    """Measured gap, in the layer's unit."""
    limit: float | None = None
    """Largest gap allowed."""
    n: int = 0
    """Samples compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """Whether the served answers are the training-time answers."""

    verdict: Literal["pass", "block", "inconclusive"]
    """What it says."""
    layer: str | None = None
    """First layer that differs."""
    checks: tuple[ParityCheck, ...] = ()
    """Every layer, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A version made servable for one engine: merged, GGUF or quantized file or hosted id, with digests and parity result."""

    id: str
    """`art_…`."""
    model: str
    """The model."""
    version: str
    """Version id."""
    engine: str
    """Engine it is for."""
    quantization: str | None = None
    """f16, Q8_0, Q5_K_M, Q4_K_M …; None for hosted."""
    digest: str | None = None
    """Digest of the file."""
    bytes: int | None = None
    """Size of the file."""
    base: str | None = None
    """Digest of the base's file where this one is an adapter to be loaded beside it; None: the file is a whole model."""
    hosted: str | None = None
    """Upstream model id of a hosted model."""
    fallback_tensors: tuple[str, ...] = ()
    """Tensors whose rows did not fit the quantization, as `name: type`."""
    parity: Parity | None = None
    """Result of the comparison with training."""
    stop: tuple[str, ...] = ()
    """Stop tokens, from the training template."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Timings and tool versions."""
    created: datetime | None = None
    """When."""
    rev: int = 0
    """Number of saves."""
