"""The file of `tunekeeper serve --config FILE`, and the two-slot routing file of `serve --routing FILE --as MODEL`.

Both say who answers: models, their slots, first routes. What they say is a wish: `processes/seed.py` commits it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tunekeeper.config.fields import build, unknown_key
from tunekeeper.config.project import MODEL_NAME, LogConfig
from tunekeeper.config.yamlfile import Keys, YamlFile, read_yaml
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.serving import Timeouts
from tunekeeper.core.registry import Registry

if TYPE_CHECKING:
    from tunekeeper.gateway.limits import Limits

LIMITS = Registry("limits", {"gateway": "tunekeeper.gateway.limits:Limits"})
EVERYTHING = 10_000
"""All traffic, in ten-thousandths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSlot:
    """One endpoint that can answer."""

    endpoint: str
    """Base address up to and with `/v1`; `host:port` means `http://host:port/v1`."""
    engine: Literal["openai", "ollama", "vllm", "llamacpp"] = "openai"
    """Kind of server that stands there."""
    model: str | None = None
    """Model name to send upstream."""
    version: str | None = None
    """Name of the version it holds, for the log; default: `model`."""
    system: str | None = None
    """System prompt put before the request."""
    api_key_env: str | None = None
    """Name of the environment variable with the upstream's key."""
    price_in: float | None = None
    """USD per million prompt tokens."""
    price_out: float | None = None
    """USD per million completion tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeShadow:
    """Who gets copies."""

    slot: str
    """Slot name."""
    share: int
    """Ten-thousandths of requests, 1 to 10,000."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeFallback:
    """Where a request goes when the chosen upstream fails before its first byte."""

    slot: str
    """Slot name."""
    system: str | None = None
    """System prompt of this entry, in place of the slot's own."""
    messages: tuple[dict[str, Any], ...] = ()
    """Few-shot messages of this entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeModel:
    """One model: its slots and its first route."""

    slots: dict[str, ServeSlot]
    """Slot name → endpoint."""
    route: dict[str, int] = field(default_factory=dict)
    """Slot → ten-thousandths, together 10,000; may be left out when there is one slot."""
    assign_by: Literal["user", "session", "tenant", "key", "request"] = "user"
    """What a request's assignment sticks to."""
    durability: Literal["process", "power"] | None = None
    """Durability of this model's log; default: the file's."""
    fallback: tuple[str | ServeFallback, ...] = ()
    """Ordered fallbacks: slot names, or entries with a prompt of their own."""
    shadow: ServeShadow | None = None
    """Who gets copies."""
    timeouts: Timeouts = Timeouts()
    """Deadlines of one request."""
    confidence_floor: float | None = None
    """Mean token probability, above 0 to 1, under which an answer is asked for at the next fallback; left out: never."""
    static: str | None = None
    """Path of the routing file that alone decides; set by `--routing`, not in the file."""

    def block(self) -> str:
        """Digest of the `route` block alone: only its change moves traffic again."""
        return digest_json(self.weights())

    def weights(self) -> dict[str, int]:
        """Slot → ten-thousandths; everything to the only slot when the file gives no route."""
        return dict(self.route) or {next(iter(self.slots)): EVERYTHING}


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


def load_serve_file(path: Path) -> ServeFile:
    """Read FILE of `serve --config FILE`. Raises ConfigError with file, line and field."""
    file = read_yaml(path)
    known = ["durability", "log_bodies", "log", "models", "limits"]
    for key in file.values:
        if key not in known:
            raise unknown_key(key, known, file, (key,))
    listed = file.values.get("models")
    if not isinstance(listed, dict) or not listed:
        raise ConfigError(f"{file.at(('models',))}: no models", fix="write models: {NAME: {slots: {…}}}")
    models = {name: _model(name, values, file) for name, values in listed.items()}
    limits = build(LIMITS.load("gateway"), file.values.get("limits", {}), file, ("limits",))
    log = build(LogConfig, file.values.get("log", {}), file, ("log",))
    rest = {key: value for key, value in file.values.items() if key in ("durability", "log_bodies")}
    top = build(_Top, rest, file)
    return ServeFile(limits=limits, models=models, durability=top.durability, log_bodies=top.log_bodies, log=log)


def load_routing_file(path: Path, model: str) -> ServeFile:
    """Read the two-slot file: `active_slot: green`, `blue: {model, endpoint}`, `green: {model, endpoint}`. Raises ConfigError."""
    file = read_yaml(path)
    active = file.values.get("active_slot")
    names = [key for key in file.values if key != "active_slot"]
    if not isinstance(active, str) or active not in names:
        shown = "is missing" if active is None else f"is {active!r}, which is no slot of this file"
        raise ConfigError(
            f"{file.at(('active_slot',))}: active_slot {shown}", fix=f"name one of: {', '.join(names) or 'blue, green'}"
        )
    slots = {name: _endpoint(build(ServeSlot, file.values[name], file, (name,)), file, (name,)) for name in names}
    only = ServeModel(slots=slots, route={active: EVERYTHING}, static=str(path.resolve()))
    return ServeFile(limits=LIMITS.load("gateway")(), models={_named(model, file, ()): only})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Top:
    durability: Literal["process", "power"] = "process"
    log_bodies: bool = True


def _model(name: str, values: Any, file: YamlFile) -> ServeModel:
    keys: Keys = ("models", _named(name, file, ("models", name)))
    model = build(ServeModel, values, file, keys)
    if "static" in values:
        raise unknown_key("static", ["slots", "route"], file, (*keys, "static"))
    if not model.slots:
        raise ConfigError(f"{file.at((*keys, 'slots'))}: {name} has no slots", fix="write slots: {NAME: {endpoint: …}}")
    for slot, keys_of in _slots_named(model, keys):
        if slot not in model.slots:
            raise ConfigError(f"{file.at(keys_of)}: {slot!r} is no slot of {name}; known: {', '.join(model.slots)}")
    _check_route(name, model, file, (*keys, "route"))
    if model.shadow is not None and not 1 <= model.shadow.share <= EVERYTHING:
        raise ConfigError(f"{file.at((*keys, 'shadow', 'share'))}: share {model.shadow.share} is not between 1 and 10000")
    _check_floor(model, file, (*keys, "confidence_floor"))
    slots = {slot: _endpoint(each, file, (*keys, "slots", slot)) for slot, each in model.slots.items()}

    return replace(model, slots=slots)


def _check_route(name: str, model: ServeModel, file: YamlFile, keys: Keys) -> None:
    if not model.route and len(model.slots) > 1:
        raise ConfigError(
            f"{file.at(keys[:-1])}: {name} has {len(model.slots)} slots and no route", fix="write route: {SLOT: 10000}"
        )
    total = sum(model.weights().values())
    if total != EVERYTHING or min(model.weights().values()) < 0:
        raise ConfigError(
            f"{file.at(keys)}: the weights of {name} add up to {total}, not to 10000", fix="weights are ten-thousandths"
        )


def _check_floor(model: ServeModel, file: YamlFile, keys: Keys) -> None:
    floor = model.confidence_floor
    if floor is None:
        return
    if not 0 < floor <= 1:
        raise ConfigError(f"{file.at(keys)}: confidence_floor {floor} is not above 0 and at most 1", fix="write 0.5, say")
    if not model.fallback:
        raise ConfigError(f"{file.at(keys)}: confidence_floor without a fallback does nothing", fix="write fallback: [SLOT]")


def _slots_named(model: ServeModel, keys: Keys) -> list[tuple[str, Keys]]:
    named: list[tuple[str, Keys]] = [(slot, (*keys, "route", slot)) for slot in model.route]
    for index, entry in enumerate(model.fallback):
        named.append((entry if isinstance(entry, str) else entry.slot, (*keys, "fallback", index)))
    return named + ([(model.shadow.slot, (*keys, "shadow", "slot"))] if model.shadow else [])


def _named(name: str, file: YamlFile, keys: Keys) -> str:
    if not MODEL_NAME.fullmatch(name):
        raise ConfigError(
            f"{file.at(keys)}: {name!r} cannot name a model", fix="use small letters, digits, '.', '-' and '_', at most 63"
        )
    return name


def _endpoint(slot: ServeSlot, file: YamlFile, keys: Keys) -> ServeSlot:
    """The slot with a whole address: `localhost:11434` becomes `http://localhost:11434/v1`."""

    given = slot.endpoint.rstrip("/")
    address = given if "://" in given else f"http://{given}/v1"
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole:
        raise ConfigError(f"{file.at((*keys, 'endpoint'))}: {slot.endpoint!r} is no address", fix="write http://HOST:PORT/v1")
    return replace(slot, endpoint=address)
