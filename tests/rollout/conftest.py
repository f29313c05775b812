"""A desk with two slots, `blue` live, and a canary for `green`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.nouns.rollout import Margins, Rollout
from tunekeeper.rollout.config import Config
from tunekeeper.rollout.decision import phases_of
from tunekeeper.rollout.moves import promote
from tunekeeper.store.ledgers.rollouts import load_rollout, save_rollout
from tunekeeper.testing.desk import MODEL, Desk, open_desk
from tunekeeper.workspace import create_workspace

MARGINS = Margins(errors=0.05, corrections=0.05)
CONFIG = Config(min_requests=20, margins=MARGINS)


@pytest.fixture(scope="session")
def new_desk(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Desk]:
    """Makes desks as `open_desk` does, out of databases that were migrated once."""
    empty = create_workspace(tmp_path_factory.mktemp("empty")).root

    def make(folder: Path, **asked: Any) -> Desk:
        (folder / ".tunekeeper").mkdir(parents=True, exist_ok=True)
        for name in ("control.db", "state.db"):
            shutil.copy(empty / name, folder / ".tunekeeper" / name)
        return open_desk(folder, **asked)

    return make


@pytest.fixture
def desk(tmp_path: Path, new_desk: Callable[..., Desk]) -> Desk:
    made = new_desk(tmp_path / "desk")
    made.slot("blue", "v1.0")
    made.slot("green", "v1.1")
    promote(made.ws, MODEL, "blue", by="test", reason="first")
    made.clock.advance(60)
    return made


def canary(desk: Desk, **fields: Any) -> Rollout:
    """A rollout of `green` as the stage opens one: 5 % for two hours, 25 % for four."""
    known = {
        "phases": phases_of([(5, 2), (25, 4)]),
        "margins": MARGINS,
        "check_every": 900.0,
        "settle": 600.0,
        "artifact_digest": "sha256:v1.1",
        "due": desk.clock.steady(),
        **fields,
    }
    rollout = Rollout(id="rol_1", model=MODEL, version=f"{MODEL}@v1.1", slot="green", **known)
    with desk.ws.control.write(by="test") as tx:
        return save_rollout(tx, rollout)


def now_of(desk: Desk) -> Rollout:
    """The rollout as it stands."""
    with desk.ws.control.read() as tx:
        return load_rollout(tx, "rol_1")
