"""What is committed and was never published is published by the supervisor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import Route
from tunekeeper.processes.converge import REST, Converge
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.published import published_generation
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock())


@pytest.fixture
def chore(ws: Workspace) -> Iterator[tuple[Converge, list[float]]]:
    now = [0.0]
    made = Converge(ws.root, lambda: now[0])
    yield made, now
    ended(made)


def ended(converge: Converge) -> None:
    """Wait for the child that publishes, if there is one."""
    if converge._child is not None:
        converge._child.wait(60)


def commit(ws: Workspace) -> int:
    """A change whose maker dies before it publishes."""
    with ws.control.write(by="test") as tx:
        return save_route(tx, Route(model="desk")).generation


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_change_that_nobody_published_is_published_at_the_second_look(ws, chore):
    converge, _ = chore
    number = commit(ws)
    converge()
    assert converge._child is None, "it may be under way: the first look only remembers it"
    converge()
    until(lambda: published_generation(ws.root) == number)
    ended(converge)
    converge()
    converge()
    assert converge._child.returncode == 0
    assert published_generation(ws.root) == number


def test_a_change_that_is_newer_at_the_second_look_is_waited_for(ws, chore):
    converge, _ = chore
    commit(ws)
    converge()
    commit(ws)
    converge()
    assert converge._child is None


def test_what_cannot_be_published_is_tried_again_after_a_rest(ws, chore):
    converge, now = chore
    (ws.root / "routes").rmdir()
    (ws.root / "routes").write_text("in the way")
    commit(ws)
    converge()
    converge()
    first = converge._child
    ended(converge)
    assert first.returncode != 0
    converge()
    assert converge._child is first
    (ws.root / "routes").unlink()
    now[0] += REST
    converge()
    ended(converge)
    assert converge._child.returncode == 0
    assert published_generation(ws.root) is not None
