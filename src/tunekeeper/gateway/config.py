"""The `gateway:` block of tunekeeper.yaml."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tunekeeper.core.errors import ConfigError
from tunekeeper.gateway.limits import Limits

Durability = Literal["process", "power"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Where the gateway listens and what it promises."""

    host: str = "127.0.0.1"
    """Address to listen on; any other than loopback asks for keys."""
    port: int = 8080
    """Port to listen on; 0 takes a free one."""
    workers: int = 1
    """Gateway processes that share the socket."""
    durability: Durability = "process"
    """`process`: an answered request survives the death of our processes; `power`: of the machine (one fdatasync an answer)."""
    log_bodies: bool = True
    """Whether requests and answers are kept whole beside their numbers."""
    probe_seconds: float = 60.0
    """Seconds of silence after which a slot whose upstream takes no key is asked for one token, and a sixth of them for any slot
    whose last answer failed; 0: never."""
    redact: tuple[str, ...] = ("key", "email", "iban", "card", "ip", "phone")
    """Kinds of personal data and secrets taken out of whatever is logged before it is written; empty: none."""
    limits: Limits = field(default_factory=Limits)
    """What one client may cost."""

    def __post_init__(self) -> None:
        if "name" in self.redact:
            raise ConfigError(
                "gateway.redact: names are not looked for while requests wait",
                fix="write name into `redact` of the model's `data` section, which covers all that is collected",
            )
        if not 0 <= self.probe_seconds < math.inf:
            raise ConfigError(f"gateway.probe_seconds is {self.probe_seconds:g}; write 0 or more seconds")
