"""From the committed table to the published one: what is newest in `control.db` is what gateways obey."""

from __future__ import annotations

from pathlib import Path

from tunekeeper.store.database import Database
from tunekeeper.store.generation import current_generation
from tunekeeper.store.ledgers.routes import load_route_table
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
    return table.generation
