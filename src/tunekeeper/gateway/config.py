"""The `gateway:` block of tunekeeper.yaml."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from tunekeeper.core.errors import ConfigError
from tunekeeper.gateway.limits import Limits
from tunekeeper.text.names import located

Durability = Literal["process", "power"]
MOST_WORKERS = 64
"""As many as `serve --workers` takes."""


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
    """Kinds of personal data and secrets taken out of whatever is logged before it is written; empty: none. `name` as well, with
    `names`: then every record waits for the detector, and with it the last byte of its answer."""
    names: dict[str, str] = field(default_factory=dict)
    """How names of persons are found where `redact` has `name`, as in a model's `data` section; files in the project's folder."""
    limits: Limits = field(default_factory=Limits)
    """What one client may cost."""

    def located(self, folder: Path) -> Config:
        """The same with the files of `names` below `folder`, the project's. Raises ConfigError when one is not there: no worker
        could start."""
        if not self.names:
            return self
        names = located(self.names, folder)
        missing = next((names[key] for key in ("file", "config") if key in names and not Path(names[key]).is_file()), None)
        if missing is not None:
            raise ConfigError(f"gateway.names: no file {missing}", fix="name a file of the project's folder")
        return replace(self, names=names)

    def __post_init__(self) -> None:
        if "name" in self.redact and not self.names:
            raise ConfigError("gateway.redact: names need a detector", fix="write e.g. names: {detector: list, file: names.txt}")
        for name, value, low, high in (("port", self.port, 0, 65_535), ("workers", self.workers, 1, MOST_WORKERS)):
            if not low <= value <= high:
                raise ConfigError(f"gateway.{name} is {value}", fix=f"write a number from {low} to {high}")
        if not 0 <= self.probe_seconds < math.inf:
            raise ConfigError(f"gateway.probe_seconds is {self.probe_seconds:g}; write 0 or more seconds")
