"""The `gateway:` block of tunekeeper.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
    redact: tuple[str, ...] = ("key", "card")
    """Kinds of secrets taken out of bodies before they are written (names of `text/redaction.py`)."""
    limits: Limits = field(default_factory=Limits)
    """What one client may cost."""
