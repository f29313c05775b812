"""What files say about who answers, committed: slots declared, first routes published. For `serve` as a short child, so that it
stays small itself; `up` calls it.

`python -m tunekeeper.processes.seed --root ROOT (--config FILE | --routing FILE --as MODEL)`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tunekeeper.config.serving import load_routing_file, load_serve_file
from tunekeeper.config.wishes import ids_of, project_seeds, project_slots, seeds_of, slots_of
from tunekeeper.core.errors import TunekeeperError
from tunekeeper.processes import seeded
from tunekeeper.store import refusedfile

if TYPE_CHECKING:
    from tunekeeper.config.project import ModelConfig
    from tunekeeper.workspace import Workspace

BY = "serve"
PROJECT = "up"


def commit_project(ws: Workspace, models: Mapping[str, ModelConfig]) -> bool:
    """Commit and publish what the `serving:` sections of a project say, where the ledgers say otherwise. Returns whether nothing
    is left to do while neither changes: False while a drill is under way. Raises StoreDamaged, DiskFull, Busy."""
    from tunekeeper.deployment.slots import declare_slots
    from tunekeeper.rollout.drill import REASON, unfinished
    from tunekeeper.rollout.moves import seed_routes

    slots = project_slots(models)
    if slots:
        declare_slots(ws, slots, vouched=False)
    for model in models:
        unfinished(ws, model, by=PROJECT)  # a drill that was killed ends before its route is written over
    return all(route.reason != REASON for route in seed_routes(ws, project_seeds(models), by=PROJECT))


def _disobey(options: argparse.Namespace, error: TunekeeperError) -> None:
    """The routing file cannot be obeyed: noted for the gateway, and an alert. What cannot be written down is said on stderr as it
    is anyway."""
    from tunekeeper.workspace import open_workspace

    with suppress(TunekeeperError, OSError):
        ws = open_workspace(options.root)
        refusedfile.refuse(ws.root, str(options.routing), error.message, ws.clock.utc())
        _tell(ws, [options.model])


def _obey(ws: Workspace, models: Iterable[str], *, routing: bool) -> None:
    """What the file says is in force, also where an earlier one could not be obeyed. `routing`: it is one that is read again, so
    that an alert may have outlived its note."""
    if routing or refusedfile.refused(ws.root) is not None:
        refusedfile.accept(ws.root)
        _tell(ws, models)


def _tell(ws: Workspace, models: Iterable[str]) -> None:
    from tunekeeper.monitoring.watchdog import check_routing

    for model in models:
        check_routing(ws, model)


def main(argv: list[str] | None = None) -> int:
    """Commit and publish; prints `{"generation": n}`, or an error document on stderr, and returns the exit code."""
    from tunekeeper.deployment.slots import declare_slots
    from tunekeeper.rollout.moves import seed_routes, withdraw
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
        withdraw(ws, file.models.keys(), by=BY)  # what follows publishes it
        declare_slots(ws, slots_of(file, ids))
        seed_routes(ws, seeds_of(file, ids), by=BY)
        with ws.control.read() as tx:
            generation = load_route_table(tx).generation
        _obey(ws, file.models, routing=options.routing is not None)
        if not options.routing:
            seeded.note(ws.root, file)
    except TunekeeperError as error:
        if options.routing:
            _disobey(options, error)
        kind = type(error).__name__
        print(json.dumps({"kind": kind, "message": error.message, "fix": error.fix}), file=sys.stderr)
        return error.exit_code
    print(json.dumps({"generation": generation}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
