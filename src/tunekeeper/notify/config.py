"""The `notify` section: who is told, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Where messages go."""

    targets: dict[str, dict[str, Any]] = field(default_factory=lambda: {"log": {"kind": "log"}})
    """Name of a target → `kind` (log, webhook, memory, or one from an entry point) and its options, e.g.
    `{ops: {kind: webhook, url: https://…, secret_env: OPS_SECRET, timeout: 5}}`."""
    attempts: int = 8
    """How often a message is tried before it is given up."""
    first_retry: float = 10.0
    """Real seconds until the second attempt; each later pause is twice as long."""
    longest_retry: float = 3600.0
    """Longest pause between attempts, real seconds."""
    seconds: float = 5.0
    """Real seconds that one round of delivery may take before it leaves the rest to the next."""
