"""What files say about who answers, as the slots and route seeds that are committed. Pure.

A slot of a `serve` file keeps its own name where it can; one of a project is `<model>/<name>` always, so that it never meets the
name of a slot that deployment fills.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tunekeeper.config.project import ModelConfig
from tunekeeper.config.serving import ServeFile
from tunekeeper.config.slots import Entry, ServeSlot, Serving
from tunekeeper.core.nouns.serving import FallbackEntry, Slot
from tunekeeper.rollout.routes import RouteSeed

Ids = Mapping[tuple[str, str], str]
"""(model, slot as the file names it) → id of the slot in the workspace."""


def ids_of(file: ServeFile, held: Mapping[str, str] | None = None) -> dict[tuple[str, str], str]:
    """(model, slot of the file) → workspace-wide id: the file's own name; `<model>/<name>` where another model has that name.

    `held`: id → model of the slots that are committed already. They keep their ids, so that putting a model into the file, or
    moving one, never points a committed route at another model's endpoint.
    """
    held = held or {}
    pairs = [(model, name) for model, entry in file.models.items() for name in entry.slots]
    ids = {pair: id for pair in pairs for id in (pair[1], "/".join(pair)) if held.get(id) == pair[0]}
    for model, name in pairs:
        if (model, name) not in ids:
            taken = name in held or name in ids.values()
            ids[model, name] = f"{model}/{name}" if taken else name
    return ids


def slots_of(file: ServeFile, ids: Ids) -> list[Slot]:
    """The slots that a serve file names, with their `ids`. Who writes it vouches for what it names: they count as gated."""
    return [
        _slot(ids[model, name], model, name, each, gated=True)
        for model, entry in file.models.items()
        for name, each in entry.slots.items()
    ]


def seeds_of(file: ServeFile, ids: Ids) -> list[RouteSeed]:
    """The first routes that a serve file asks for."""
    return [
        _seed(model, entry, ids, entry.assign_by, entry.durability or file.durability, entry.static)
        for model, entry in file.models.items()
    ]


def project_slots(models: Mapping[str, ModelConfig]) -> list[Slot]:
    """The endpoints of the `serving:` sections. No exam judged them: a person who gives one traffic says why (`--override`), or
    writes it into the file's `route`."""
    return [
        _slot(f"{model}/{name}", model, name, each, gated=False)
        for model, config in models.items()
        for name, each in _section(config).slots.items()
    ]


def project_seeds(models: Mapping[str, ModelConfig]) -> list[RouteSeed]:
    """What the `serving:` sections ask of the routes: shares only where one has a `route`, everything else always."""
    found = []
    for model, config in models.items():
        section = _section(config)
        ids = {(model, name): f"{model}/{name}" for name in section.slots}
        found.append(_seed(model, section, ids, config.sections["rollout"].assign_by, section.durability, None))
    return found


def _section(config: ModelConfig) -> Serving:
    section: Serving = config.sections["serving"]
    return section


def _slot(id: str, model: str, name: str, each: ServeSlot, *, gated: bool) -> Slot:
    return Slot(
        id=id,
        model=model,
        version=each.version or each.model or name,
        engine=each.engine,
        endpoint=each.endpoint,
        upstream_model=each.model,
        adapter=each.adapter,
        system=each.system,
        messages=each.messages,
        api_key_env=each.api_key_env,
        price_in=each.price_in,
        price_out=each.price_out,
        price_hour=each.price_hour,
        options={"parallel": each.parallel} if each.price_hour is not None else {},
        observed="ready",
        gated=gated,
    )


def _seed(
    model: str,
    entry: Entry,
    ids: Ids,
    assign_by: str,
    durability: Literal["process", "power"] | None,
    static: str | None,
) -> RouteSeed:
    fallback = tuple(
        FallbackEntry(slot=ids[model, each])
        if isinstance(each, str)
        else FallbackEntry(slot=ids[model, each.slot], system=each.system, messages=each.messages)
        for each in entry.fallback
    )
    return RouteSeed(
        model=model,
        weights={ids[model, name]: weight for name, weight in entry.weights().items() if weight},
        block=entry.block(),
        assign_by=assign_by,
        fallback=fallback,
        shadow=ids[model, entry.shadow.slot] if entry.shadow else None,
        shadow_share=entry.shadow.share if entry.shadow else 0,
        timeouts=entry.timeouts,
        confidence_floor=entry.confidence_floor,
        durability=durability,
        static=static,
    )
