"""What a serve file says, committed: slots declared, first routes published. A short child of `serve`, so that it stays small
itself.

`python -m tunekeeper.processes.seed --root ROOT (--config FILE | --routing FILE --as MODEL)`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tunekeeper.config.serving import ServeFile, ServeModel, load_routing_file, load_serve_file
from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.nouns.serving import FallbackEntry, Slot
from tunekeeper.rollout.routes import RouteSeed

BY = "serve"


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


def slots_of(file: ServeFile, ids: Mapping[tuple[str, str], str]) -> list[Slot]:
    """The slots a file names, with their `ids`."""
    return [
        Slot(
            id=ids[model, name],
            model=model,
            version=each.version or each.model or name,
            engine=each.engine,
            endpoint=each.endpoint,
            upstream_model=each.model,
            system=each.system,
            api_key_env=each.api_key_env,
            price_in=each.price_in,
            price_out=each.price_out,
            observed="ready",
            gated=True,  # who writes the file vouches for what it names; gates belong to projects
        )
        for model, entry in file.models.items()
        for name, each in entry.slots.items()
    ]


def seeds_of(file: ServeFile, ids: Mapping[tuple[str, str], str]) -> list[RouteSeed]:
    """The first routes a file asks for."""
    return [_seed(model, entry, entry.durability or file.durability, ids) for model, entry in file.models.items()]


def _seed(
    model: str, entry: ServeModel, durability: Literal["process", "power"], ids: Mapping[tuple[str, str], str]
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
        assign_by=entry.assign_by,
        fallback=fallback,
        shadow=ids[model, entry.shadow.slot] if entry.shadow else None,
        shadow_share=entry.shadow.share if entry.shadow else 0,
        timeouts=entry.timeouts,
        confidence_floor=entry.confidence_floor,
        durability=durability,
        static=entry.static,
    )


def main(argv: list[str] | None = None) -> int:
    """Commit and publish; prints `{"generation": n}`, or an error document on stderr, and returns the exit code."""
    from tunekeeper.deployment.slots import declare_slots
    from tunekeeper.rollout.moves import seed_routes
    from tunekeeper.store.ledgers.routes import load_route_table
    from tunekeeper.store.ledgers.slots import find_slots
    from tunekeeper.workspace import create_workspace

    parser = argparse.ArgumentParser(prog="tunekeeper.processes.seed")
    parser.add_argument("--root", type=Path, required=True, help="data directory")
    parser.add_argument("--config", type=Path, help="file of `serve --config`")
    parser.add_argument("--routing", type=Path, help="two-slot file of `serve --routing`")
    parser.add_argument("--as", dest="model", help="name of the model that the two-slot file serves")
    options = parser.parse_args(argv)
    try:
        file = load_serve_file(options.config) if options.config else load_routing_file(options.routing, options.model)
        ws = create_workspace(options.root)
        with ws.control.read() as tx:
            ids = ids_of(file, {slot.id: slot.model for slot in find_slots(tx)})
        declare_slots(ws, slots_of(file, ids))
        seed_routes(ws, seeds_of(file, ids), by=BY)
        with ws.control.read() as tx:
            generation = load_route_table(tx).generation
    except TunekeeperError as error:
        kind = type(error).__name__
        print(json.dumps({"kind": kind, "message": error.message, "fix": error.fix}), file=sys.stderr)
        return error.exit_code
    print(json.dumps({"generation": generation}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
