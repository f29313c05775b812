"""What one client may cost: sizes, counts and deadlines, all in one place (reliability 5.12)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tunekeeper.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of the request path; beyond them a request is refused, never buffered."""

    body_mb: float = 4.0
    """Largest request body, in MiB."""
    headers_kb: float = 32.0
    """Largest request head, in KiB."""
    headers: int = 100
    """Most header lines."""
    depth: int = 64
    """Deepest nesting of a JSON body."""
    messages: int = 2000
    """Most messages in one request."""
    header_seconds: float = 10.0
    """From the first byte of a request to the end of its head."""
    body_seconds: float = 30.0
    """From the end of the head to the end of the body."""
    idle_seconds: float = 75.0
    """How long a kept connection may wait for its next request."""
    connections: int = 4096
    """Most client connections of one worker."""
    connections_per_address: int = 2048
    """Most of them from one address (IPv6: one /64 network): half of all, as a proxy in front is one address too."""
    answer_mb: float = 64.0
    """Largest answer a model server may give, in MiB."""
    shadow_concurrent: int = 16
    """Most shadow copies under way in one worker; more are dropped and counted."""
    shadow_mb: float = 8.0
    """Memory of one worker for its shadow copies together, in MiB: a copy costs twice its request and three times its answer."""
    drain_seconds: float = 30.0
    """How long a stopping worker lets running answers finish."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the first limit that is not a positive number."""
        for name in self.__slots__:
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"gateway.limits.{name} is {getattr(self, name)}; it must be positive and finite")

    @property
    def body_bytes(self) -> int:
        """Largest request body in bytes."""
        return int(self.body_mb * 1024 * 1024)

    @property
    def head_bytes(self) -> int:
        """Largest request head in bytes."""
        return int(self.headers_kb * 1024)

    @property
    def shadow_bytes(self) -> int:
        """Memory for shadow copies in bytes."""
        return int(self.shadow_mb * 1024 * 1024)

    @property
    def answer_bytes(self) -> int:
        """Largest answer in bytes."""
        return int(self.answer_mb * 1024 * 1024)


def address_of(peer: Any) -> str:
    """Whose connection it is, for counting: an IPv4 address, an IPv6 network of 64 bits (one host may take any address in it), or
    "" where a socket has no peer. `peer`: what `getpeername` gives."""
    if not isinstance(peer, (tuple, list)) or not peer:
        return ""
    host = str(peer[0]).partition("%")[0]
    if ":" not in host:
        return host
    import ipaddress

    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
