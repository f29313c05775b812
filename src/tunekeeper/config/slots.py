"""What a file may say about who answers a model: endpoints as slots, shares, fallbacks, copies, deadlines.

The same words in an entry of `serve --config` (`ServeModel`) and in the `serving:` section of a model file (`Serving`). What they
say is a wish: `config/wishes.py` makes slots and route seeds of it, `processes/` commits them.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from tunekeeper.config.yamlfile import Keys, YamlFile
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.serving import Timeouts

EVERYTHING = 10_000
"""All traffic, in ten-thousandths."""
SLOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,62}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSlot:
    """One endpoint that can answer."""

    endpoint: str
    """Base address up to and with `/v1`; `host:port` means `http://host:port/v1`, with a path what it says."""
    engine: Literal["openai", "ollama", "vllm", "llamacpp"] = "openai"
    """Kind of server that stands there."""
    model: str | None = None
    """Model name to send upstream."""
    version: str | None = None
    """Name of the version it holds, for the log; default: `model`."""
    system: str | None = None
    """System prompt put before the request."""
    messages: tuple[dict[str, Any], ...] = ()
    """Few-shot messages put after the system prompt."""
    api_key_env: str | None = None
    """Name of the environment variable with the upstream's key."""
    price_in: float | None = None
    """USD per million prompt tokens."""
    price_out: float | None = None
    """USD per million completion tokens."""
    price_hour: float | None = None
    """USD an hour of the server, in place of the prices of tokens: each request costs its seconds."""
    parallel: int = 1
    """Answers that it gives at once and `price_hour` is shared among."""
    adapter: int | None = None
    """Number of the adapter that every request chooses, among those that a llama.cpp server has loaded (`GET /lora-adapters`):
    several versions of one base share one server."""


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

    def block(self) -> str | None:
        """Digest of the `route` block alone: only its change moves traffic again."""
        return digest_json(self.weights())

    def weights(self) -> dict[str, int]:
        """Slot → ten-thousandths; everything to the only slot when the file gives no route."""
        return dict(self.route) or {next(iter(self.slots)): EVERYTHING}


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """Endpoints outside the project, and how this model's requests are routed besides the shares that rollouts give out.

    The words are those of a model in the file of `serve --config`; `assign_by` stands under `rollout:`, and what our own servers
    cost under `deployment:`.
    """

    slots: dict[str, ServeSlot] = field(default_factory=dict)
    """Slot name → an endpoint that somebody else runs: hosted, vLLM, Ollama, anything that speaks the OpenAI protocol. Its
    fields: `endpoint` (`http://HOST:PORT/v1`), `engine` (openai, ollama, vllm, llamacpp), `model` (name to send), `version` (name
    for the log), `system`, `messages`, `api_key_env` (name of the variable with its key), `price_in`, `price_out` (USD per
    million tokens), or `price_hour` (USD an hour of the server) and `parallel` (answers at once that share it), `adapter` (number
    of the one that a llama.cpp server is to answer with)."""
    route: dict[str, int] = field(default_factory=dict)
    """First shares of `slots`, in ten-thousandths that add up to 10,000. Once a route is committed that one counts, until this
    block itself changes. Left out: only what rollouts deploy answers."""
    fallback: tuple[str | ServeFallback, ...] = ()
    """Who is asked, in this order, when the chosen slot fails before its first byte: names of `slots`, or
    `{slot, system, messages}` with a prompt of its own."""
    shadow: ServeShadow | None = None
    """Who gets copies: `{slot, share}`, the share in ten-thousandths of requests, 1 to 10,000."""
    timeouts: Timeouts = Timeouts()
    """Deadlines of one request."""
    confidence_floor: float | None = None
    """Mean token probability, above 0 to 1, under which an answer is asked for at the next fallback; null: never."""
    durability: Literal["process", "power"] | None = None
    """Durability of this model's log; null: the gateway's."""

    def block(self) -> str | None:
        """As of `ServeModel`; None without a `route`."""
        return digest_json(self.route) if self.route else None

    def weights(self) -> dict[str, int]:
        """Slot → ten-thousandths; empty without a `route`."""
        return dict(self.route)


Entry = ServeModel | Serving


def checked(name: str, entry: ServeModel, file: YamlFile, keys: Keys) -> ServeModel:
    """An entry of a serve file with whole addresses. `keys`: where it stands. Raises ConfigError with file, line and field."""
    if not entry.slots:
        raise ConfigError(f"{file.at((*keys, 'slots'))}: {name} has no slots", fix="write slots: {NAME: {endpoint: …}}")
    if not entry.route and len(entry.slots) > 1:
        raise ConfigError(f"{file.at(keys)}: {name} has {len(entry.slots)} slots and no route", fix="write route: {SLOT: 10000}")
    _check(name, entry, file, keys)
    return replace(entry, slots=whole(entry.slots, file, (*keys, "slots")))


def checked_section(name: str, section: Serving, file: YamlFile, keys: Keys) -> Serving:
    """As `checked`, of the `serving:` section of a model's file."""
    _check(name, section, file, keys)
    return replace(section, slots=whole(section.slots, file, (*keys, "slots")))


def whole(slots: dict[str, ServeSlot], file: YamlFile, keys: Keys) -> dict[str, ServeSlot]:
    """Slots with whole addresses: `localhost:11434` becomes `http://localhost:11434/v1`. Raises ConfigError for what is wrong in
    one of them."""
    return {name: _slot(name, slot, file, (*keys, name)) for name, slot in slots.items()}


def _check(name: str, entry: Entry, file: YamlFile, keys: Keys) -> None:
    for slot, keys_of in _slots_named(entry, keys):
        if slot not in entry.slots:
            near = difflib.get_close_matches(slot, entry.slots, 1)
            raise ConfigError(
                f"{file.at(keys_of)}: {slot!r} is no slot of {name}; known: {', '.join(entry.slots) or 'none'}",
                fix=f"write {near[0]!r}" if near else f"write slots: {{{slot}: {{endpoint: …}}}}",
            )
    total = sum(entry.weights().values())
    if entry.weights() and (total != EVERYTHING or min(entry.weights().values()) < 0):
        raise ConfigError(
            f"{file.at((*keys, 'route'))}: the weights of {name} add up to {total}, not to 10000",
            fix="weights are ten-thousandths",
        )
    if entry.shadow is not None and not 1 <= entry.shadow.share <= EVERYTHING:
        raise ConfigError(f"{file.at((*keys, 'shadow', 'share'))}: share {entry.shadow.share} is not between 1 and 10000")
    for each in fields(Timeouts):
        seconds = getattr(entry.timeouts, each.name)
        if not 0 < seconds < math.inf:
            where = file.at((*keys, "timeouts", each.name))
            raise ConfigError(f"{where}: timeouts.{each.name} is {seconds:g}, not a number of seconds above 0")
    for index, fallback in enumerate(entry.fallback):
        if isinstance(fallback, ServeFallback):
            _check_messages(fallback.messages, file, (*keys, "fallback", index, "messages"))
    _check_floor(entry, file, (*keys, "confidence_floor"))


def _check_floor(entry: Entry, file: YamlFile, keys: Keys) -> None:
    floor = entry.confidence_floor
    if floor is None:
        return
    if not 0 < floor <= 1:
        raise ConfigError(f"{file.at(keys)}: confidence_floor {floor} is not above 0 and at most 1", fix="write 0.5, say")
    if not entry.fallback:
        raise ConfigError(f"{file.at(keys)}: confidence_floor without a fallback does nothing", fix="write fallback: [SLOT]")


def _check_messages(messages: tuple[dict[str, Any], ...], file: YamlFile, keys: Keys) -> None:
    for index, message in enumerate(messages):
        if not isinstance(message.get("role"), str) or "content" not in message:
            raise ConfigError(
                f"{file.at((*keys, index))}: a message needs role and content", fix="write {role: user, content: TEXT}"
            )


def _slots_named(entry: Entry, keys: Keys) -> list[tuple[str, Keys]]:
    named: list[tuple[str, Keys]] = [(slot, (*keys, "route", slot)) for slot in entry.route]
    for index, each in enumerate(entry.fallback):
        named.append((each if isinstance(each, str) else each.slot, (*keys, "fallback", index)))
    return named + ([(entry.shadow.slot, (*keys, "shadow", "slot"))] if entry.shadow else [])


def _slot(name: str, slot: ServeSlot, file: YamlFile, keys: Keys) -> ServeSlot:
    if not SLOT_NAME.fullmatch(name):
        raise ConfigError(
            f"{file.at(keys)}: {name!r} cannot name a slot", fix="use letters, digits and . _ : / @ + -, at most 63"
        )
    for field_name in ("model", "version"):
        name_of = getattr(slot, field_name)
        if name_of is not None and not name_of.isprintable():
            # Every answer says the version in a header, which a line break would end.
            raise ConfigError(
                f"{file.at((*keys, field_name))}: {name_of!r} has characters that cannot be seen", fix="write it plainly"
            )
    for field_name, per in (("price_in", "million"), ("price_out", "million"), ("price_hour", "hour")):
        price = getattr(slot, field_name)
        if price is not None and not 0 <= price < math.inf:
            raise ConfigError(f"{file.at((*keys, field_name))}: {field_name} is {price:g}; a price is 0 or more USD per {per}")
    if slot.price_hour is not None and (slot.price_in is not None or slot.price_out is not None):
        raise ConfigError(f"{file.at((*keys, 'price_hour'))}: one slot is paid by the hour or by tokens, not by both")
    if slot.adapter is not None and (slot.adapter < 0 or slot.engine != "llamacpp"):
        why = f"adapter is {slot.adapter}; they count from 0" if slot.adapter < 0 else f"{slot.engine} takes no adapter's number"
        raise ConfigError(
            f"{file.at((*keys, 'adapter'))}: {why}",
            fix="write engine: llamacpp and a number of GET /lora-adapters; vLLM and Ollama know adapters by `model`",
        )
    if slot.parallel < 1:
        raise ConfigError(f"{file.at((*keys, 'parallel'))}: parallel is {slot.parallel}; a server gives 1 answer at once or more")
    if slot.api_key_env is not None and not VARIABLE.fullmatch(slot.api_key_env):
        # It may be the key itself that stands there: it is not said again.
        raise ConfigError(
            f"{file.at((*keys, 'api_key_env'))}: api_key_env is no name of an environment variable",
            fix="put the key into .env and write the variable's name here",
        )
    _check_messages(slot.messages, file, (*keys, "messages"))
    return replace(slot, endpoint=_address(slot.endpoint, file, (*keys, "endpoint")))


def _address(endpoint: str, file: YamlFile, keys: Keys) -> str:
    given = endpoint.rstrip("/")
    address = given if "://" in given else f"http://{given}" if "/" in given else f"http://{given}/v1"
    try:
        parts = urlsplit(address)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or not address.isascii() or not address.isprintable() or " " in address:
        raise ConfigError(f"{file.at(keys)}: {endpoint!r} is no address", fix="write http://HOST:PORT/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # A password or a key may stand there: it is not said again.
        raise ConfigError(
            f"{file.at(keys)}: an endpoint has no user, password, `?` or `#`: they would not be sent",
            fix="write http://HOST:PORT/v1, put the key into .env and its variable's name into api_key_env",
        )
    return address


def keyless(served: Mapping[str, Entry], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """(`model/slot`, variable) of the slots whose variable is not set, or holds nothing that a header carries: their servers are
    asked without a key."""
    slots = [(f"{model}/{name}", slot.api_key_env) for model, entry in served.items() for name, slot in entry.slots.items()]
    return [(name, variable) for name, variable in slots if variable is not None and not _key(environ, variable)]


def _key(environ: Mapping[str, str], variable: str) -> str | None:
    key = environ.get(variable, "").strip()
    return key if key.isascii() and key.isprintable() else None
