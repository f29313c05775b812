"""The file of `tunekeeper serve --config FILE`, and the two-slot routing file of `serve --routing FILE --as MODEL`.

Both say who answers: models, their slots, first routes. What they say is a wish: `wishes.py` puts it into slots and route seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunekeeper.config.fields import build, unknown_key
from tunekeeper.config.project import MODEL_NAME, LogConfig
from tunekeeper.config.slots import EVERYTHING, ServeModel, ServeSlot, checked, whole
from tunekeeper.config.yamlfile import Keys, YamlFile, read_yaml
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.registry import Registry

if TYPE_CHECKING:
    from tunekeeper.gateway.limits import Limits

LIMITS = Registry("limits", {"gateway": "tunekeeper.gateway.limits:Limits"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeFile:
    """What a gateway without a project needs to know."""

    limits: Limits
    """What one client may cost."""
    models: dict[str, ServeModel]
    """Model name → its slots and route."""
    durability: Literal["process", "power"] = "process"
    """An answered request survives the death of our processes, or of the machine."""
    log_bodies: bool = True
    """Whether requests and answers are kept whole beside their numbers."""
    log: LogConfig = LogConfig()
    """How long the log is kept."""
    probe_seconds: float = 0.0
    """As of a project's `gateway:` section, but off unless the file says otherwise: these are other people's servers."""


def load_serve_file(path: Path) -> ServeFile:
    """Read FILE of `serve --config FILE`. Raises ConfigError with file, line and field."""
    file = read_yaml(path)
    known = ["durability", "log_bodies", "log", "models", "limits", "probe_seconds"]
    for key in file.values:
        if key not in known:
            raise unknown_key(key, known, file, (key,))
    listed = file.values.get("models")
    if not isinstance(listed, dict) or not listed:
        raise ConfigError(f"{file.at(('models',))}: no models", fix="write models: {NAME: {slots: {…}}}")
    models = {name: _model(name, values, file) for name, values in listed.items()}
    limits = build(LIMITS.load("gateway"), file.values.get("limits", {}), file, ("limits",))
    log = build(LogConfig, file.values.get("log", {}), file, ("log",))
    rest = {key: value for key, value in file.values.items() if key in ("durability", "log_bodies", "probe_seconds")}
    top = build(_Top, rest, file)
    if not 0 <= top.probe_seconds < math.inf:
        raise ConfigError(f"{file.at(('probe_seconds',))}: probe_seconds is {top.probe_seconds:g}; write 0 or more seconds")
    return ServeFile(
        limits=limits,
        models=models,
        durability=top.durability,
        log_bodies=top.log_bodies,
        log=log,
        probe_seconds=top.probe_seconds,
    )


def load_routing_file(path: Path, model: str) -> ServeFile:
    """Read the two-slot file: `active_slot: green`, `blue: {model, endpoint}`, `green: {model, endpoint}`. Raises ConfigError."""
    file = read_yaml(path)
    given = file.values.get("active_slot")
    active = str(given)  # a slot may be called 1, which YAML reads as a number here and as text where it is a key
    names = [key for key in file.values if key != "active_slot"]
    if active not in names:
        shown = "is missing" if given is None else f"is {given!r}, which is no slot of this file"
        quotes = "" if given is None or isinstance(given, str) else ", in quotes"
        raise ConfigError(
            f"{file.at(('active_slot',))}: active_slot {shown}", fix=f"name one of: {', '.join(names) or 'blue, green'}{quotes}"
        )
    slots = whole({name: build(ServeSlot, file.values[name], file, (name,)) for name in names}, file, ())
    only = ServeModel(slots=slots, route={active: EVERYTHING}, static=str(path.absolute()))
    return ServeFile(limits=LIMITS.load("gateway")(), models={_named(model, file, ()): only})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Top:
    durability: Literal["process", "power"] = "process"
    log_bodies: bool = True
    probe_seconds: float = 0.0


def _model(name: str, values: Any, file: YamlFile) -> ServeModel:
    keys: Keys = ("models", _named(name, file, ("models", name)))
    model = build(ServeModel, values, file, keys)
    if "static" in values:
        raise unknown_key("static", ["slots", "route"], file, (*keys, "static"))
    return checked(name, model, file, keys)


def _named(name: str, file: YamlFile, keys: Keys) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise ConfigError(
            f"{file.at(keys)}: {name!r} cannot name a model", fix="use small letters, digits, '.', '-' and '_', at most 63"
        )
    return name
