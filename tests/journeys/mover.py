"""Processes that move traffic until they are killed: `python -m tests.journeys.mover ROOT`.

It gives slot `a` everything and prints the generation of that. Then each line of stdin, `SEED LEDGER`, begins a process (a
fork, for a fresh interpreter costs more than fifty moves), whose id is printed; that one writes to the file LEDGER what it is
about to ask for, and after each call the generation that it was told.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from tests.journeys.rig import MODEL
from tunekeeper.rollout.moves import rollback, set_route
from tunekeeper.workspace import Workspace, open_workspace


def move(ws: Workspace, seed: int, ledger: Path) -> None:
    """Change the route of `desk` at random, for ever."""
    rng = random.Random(seed)
    file = os.open(ledger, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def note(**what: Any) -> None:
        os.write(file, json.dumps(what).encode() + b"\n")

    while True:
        share = rng.randrange(1, 10_000)
        if rng.random() < 0.3:
            slot = rng.choice("ab")
            note(asked={slot: 10_000})
            done = rollback(ws, MODEL, to=slot, by="mover")
        else:
            note(asked={"a": share, "b": 10_000 - share})
            done = set_route(ws, MODEL, {"a": share, "b": 10_000 - share}, by="mover")
        note(told=done.route_version)


def main(root: Path) -> None:
    """Begin a process for every line of stdin."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    ws = open_workspace(root)
    print(set_route(ws, MODEL, {"a": 10_000}, by="mover").route_version, flush=True)  # what is slow the first time is done now
    for line in sys.stdin:
        seed, _, ledger = line.strip().partition(" ")
        pid = os.fork()
        if pid == 0:
            try:
                move(ws, int(seed), Path(ledger))
            finally:
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
