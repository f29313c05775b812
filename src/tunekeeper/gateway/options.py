"""What a supervisor tells a gateway worker at its start: one JSON file, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tunekeeper.core.errors import ConfigError
from tunekeeper.gateway.config import Config, Durability
from tunekeeper.gateway.limits import Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Everything a worker obeys besides the published routes."""

    durability: Durability = "process"
    """As `Config.durability`."""
    limits: Limits = field(default_factory=Limits)
    """As `Config.limits`."""
    require_key: bool = False
    """Ask for a key even while none was made; `up` and every address but loopback do."""
    static_key: str | None = None
    """HMAC-SHA-256 under the workspace's pepper, hex, of the key from TUNEKEEPER_GATEWAY_KEY."""
    redact: tuple[str, ...] = ("key", "email", "iban", "card", "ip", "phone")
    """As `Config.redact`."""
    names: dict[str, str] = field(default_factory=dict)
    """As `Config.names`, its files with their whole path."""
    seals: dict[str, str] = field(default_factory=dict)
    """Model → public key that seals what is taken out of its bodies: the `redact_seal` of its `data` section."""
    log_bodies: bool = True
    """As `Config.log_bodies`."""
    probe_seconds: float = 0.0
    """As `Config.probe_seconds`; off unless a supervisor says otherwise."""


def load_options(path: Path | None) -> Options:
    """The options in `path`, or the defaults. Raises ConfigError naming the file and the field."""
    if path is None:
        return Options()
    try:
        raw = path.read_bytes()
        unknown = set(msgspec.json.decode(raw, type=dict[str, msgspec.Raw])) - set(Options.__slots__)
        if unknown:
            raise ConfigError(f"{path}: unknown field {sorted(unknown)[0]!r}")
        return msgspec.json.decode(raw, type=Options)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def options_of(
    config: Config, *, require_key: bool, static_key: str | None = None, seals: Mapping[str, str] | None = None
) -> Options:
    """The options that a supervisor writes for workers of `config`; the others as of `Options`."""
    return Options(
        durability=config.durability,
        limits=config.limits,
        require_key=require_key,
        static_key=static_key,
        redact=config.redact,
        names=config.names,
        seals=dict(seals or {}),
        log_bodies=config.log_bodies,
        probe_seconds=config.probe_seconds,
    )


def write_options(path: Path, options: Options) -> None:
    """Write `options` to `path` for `--options` (0600: it may hold a key's hash)."""
    path.touch(mode=0o600, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(options), indent=2))
