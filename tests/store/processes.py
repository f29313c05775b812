"""Processes that write to a workspace until told otherwise; the store's tests start and kill them."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.store.ledgers.rollouts import load_rollout, save_rollout
from tunekeeper.workspace import open_workspace


def counted(rollout: Rollout) -> Rollout:
    """The rollout, one higher: `phase` is the counter."""
    return replace(rollout, phase=rollout.phase + 1)


def increment(root: Path, id: str, times: int) -> None:
    """Read, add one, write, `times` times; say each number only once it is committed."""
    ws = open_workspace(root)
    for _ in range(times):
        with ws.control.write(by="test") as tx:
            saved = save_rollout(tx, counted(load_rollout(tx, id)))
        sys.stdout.write(f"{saved.phase}\n")
        sys.stdout.flush()


def hold(root: Path) -> None:
    """Enter a write transaction, change a row, and stay inside."""
    ws = open_workspace(root)
    with ws.control.write(by="stuck") as tx:
        save_rollout(tx, counted(load_rollout(tx, "rol_0")))
        sys.stdout.write("inside\n")
        sys.stdout.flush()
        time.sleep(60)


def read(root: Path) -> None:
    """Say what the workspace's clock reads, once for every line that comes in."""
    clock = open_workspace(root).clock
    for _ in sys.stdin:
        sys.stdout.write(f"{clock.steady()} {clock.utc().timestamp()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    verb, where, *rest = sys.argv[1:]
    if verb == "increment":
        increment(Path(where), rest[0], int(rest[1]))
    elif verb == "hold":
        hold(Path(where))
    else:
        read(Path(where))
