"""From the committed table to the published one: what is newest in `control.db` is what gateways obey.

`python -m tunekeeper.store.publishing --root ROOT` does it in a process of its own, for a supervisor that loads no database.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tunekeeper.core.clock import SystemClock
from tunekeeper.core.errors import OK, TunekeeperError
from tunekeeper.core.nouns.serving import RouteTable
from tunekeeper.store.database import Database
from tunekeeper.store.gauges import ROLLBACKS, Family, save_gauges
from tunekeeper.store.generation import current_generation
from tunekeeper.store.ledgers.routes import count_rollbacks, load_route_table
from tunekeeper.store.published import publish, published_generation


def publish_newest(control: Database, root: Path, *, by: str, break_after: float | None = None) -> int:
    """Publish the newest committed table under the control lock, so that no publisher overtakes a later one; returns its
    generation. When it is published already this costs one read, so every tick may call it. `break_after` as in `write`.
    """
    with control.read() as tx:
        newest = current_generation(tx)
    if published_generation(root) == newest:
        return newest
    with control.write(by=by, break_after=break_after) as tx:
        table = load_route_table(tx)
        publish(root, table)
        _tell_rollbacks(root, table, count_rollbacks(tx))
    return table.generation


def _tell_rollbacks(root: Path, table: RouteTable, counts: Mapping[tuple[str, str], int]) -> None:
    """Let `/metrics` tell how often each model was gone back from, 0 from the start, or the first one would be no increase. A
    full disk loses the number, never the move."""
    keys = [(model, who) for model in sorted(table.routes) for who in ("hand", "rollout")]
    series = tuple((key, float(counts.get(key, 0))) for key in keys)
    family = Family("model_rollbacks_total", "Rollbacks, by who decided: a person or a rollout.", ("model_id", "reason"), series)
    with suppress(OSError):
        save_gauges(root, (family,), file=ROLLBACKS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish what is committed in a data directory; returns the exit code. Errors are one line on stderr."""
    parser = argparse.ArgumentParser(prog="tunekeeper.store.publishing")
    parser.add_argument("--root", type=Path, required=True, help="the data directory")
    root = parser.parse_args(arguments).root
    try:
        publish_newest(Database(root / "control.db", "control", SystemClock()), root, by="publish")
    except TunekeeperError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return OK


if __name__ == "__main__":
    sys.exit(main())
