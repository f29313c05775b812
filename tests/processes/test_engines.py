from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.engines import ChatClient
from tunekeeper.processes import ending, engines, locks
from tunekeeper.processes.children import Child
from tunekeeper.processes.engines import Engines
from tunekeeper.processes.supervisor import Supervisor
from tunekeeper.store.ledgers.slots import load_slot
from tunekeeper.workspace import Workspace, create_workspace


class House:
    """A workspace, its supervisor and the model servers it keeps."""

    def __init__(self, ws: Workspace, events: list[dict[str, Any]]) -> None:
        self.ws = ws
        self.events = events
        self.supervisor = Supervisor(ws.root, os.environ, events.append)
        self.engines = Engines(ws, self.supervisor)

    def slot(self) -> Slot:
        with self.ws.control.read() as tx:
            return load_slot(tx, "desk-blue")

    def until(self, true: Callable[[Slot], bool]) -> Slot:
        end = time.monotonic() + 60
        while not true(slot := self.slot()):
            assert time.monotonic() < end, f"it stays {slot.observed}: {slot.reason}"
            self.engines.reconcile()
            time.sleep(0.05)
        return slot


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    ws = create_workspace(tmp_path / "data")
    ws.path("models").mkdir()
    for name in ("one", "two"):
        ws.path("models", name).write_text(f'{{"default": "{name}"}}')
    house = House(ws, [])
    with house.supervisor.at_work(then=lambda: house.engines.stop()):
        yield house


def want(house: House, **changes: Any) -> None:
    """Ask for the slot as a project's deployment would."""
    slot = Slot(
        id="desk-blue", model="desk", version="v1", engine="fake", files={"model": "models/one"}, digest="sha256:" + 64 * "1"
    )
    declare_slots(house.ws, [replace(slot, **changes)])


def test_a_wanted_slot_is_loaded_answers_and_is_ended_when_it_is_no_longer_wanted(house: House):
    want(house)
    slot = house.until(lambda slot: slot.observed == "ready")
    assert slot.endpoint is not None
    assert ChatClient(slot.endpoint, "desk").chat([{"role": "user", "content": "hi"}], max_tokens=8).text == "one"
    assert ending.running(house.ws.root)["engine-desk-blue"] == slot.pid
    want(house, wanted="unloaded")
    house.until(lambda slot: slot.observed == "stopped")
    assert "engine-desk-blue" not in ending.running(house.ws.root)


def test_a_server_that_died_is_started_again_and_reported(house: House):
    want(house)
    first = house.until(lambda slot: slot.observed == "ready")
    assert first.pid is not None
    os.kill(first.pid, 9)
    second = house.until(lambda slot: slot.observed == "ready" and slot.pid != first.pid)
    assert second.endpoint == first.endpoint  # who knew the address need not learn another
    assert [event["name"] for event in house.events if event["event"] == "died"] == ["engine-desk-blue"]


def test_a_server_that_stands_still_is_replaced(house: House, monkeypatch: pytest.MonkeyPatch):
    want(house)
    first = house.until(lambda slot: slot.observed == "ready")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGSTOP)
    with monkeypatch.context() as hurried:
        hurried.setattr(engines, "SILENT_SECONDS", 0.2)
        said = house.until(lambda slot: slot.observed == "failed").reason
    assert said == "it gave no sign of life for 0 s and was ended"
    assert house.until(lambda slot: slot.observed == "ready").pid != first.pid


@pytest.fixture
def loading(house: House) -> Child:
    """A server that holds its lock and waits for ever for its answers: a pipe that nobody writes to."""
    os.mkfifo(house.ws.path("models/pipe"))
    want(house, files={"model": "models/pipe"})
    house.engines.reconcile()
    child = house.engines.children["desk-blue"]
    until(lambda: locks.held(child.plan.lock))
    return child


def test_a_server_that_does_not_come_to_answer_is_ended_and_that_is_the_reason(
    house: House, loading: Child, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engines, "patience", lambda slot, root: 0.2)
    assert house.until(lambda slot: slot.observed == "failed").reason == "it did not answer within 0 s and was ended"
    assert not loading.alive()


def test_a_server_that_loads_while_another_supervisor_takes_over_may_go_on_loading(house: House, loading: Child):
    heir = Engines(house.ws, house.supervisor)
    for _ in range(3):
        heir.reconcile()
    assert (house.slot().observed, heir.children["desk-blue"].pid, loading.alive()) == ("starting", loading.pid, True)


def test_a_file_that_was_deleted_is_put_back_and_its_server_serves_on(house: House):
    digest = house.ws.blobs.put_bytes(b'{"default": "kept"}')
    want(house, digest=digest, files={"model": "models/three"})
    first = house.until(lambda slot: slot.observed == "ready")
    house.ws.path("models/three").unlink()
    house.engines.reconcile()
    assert house.ws.path("models/three").read_bytes() == b'{"default": "kept"}'
    assert (house.slot().observed, house.slot().pid) == ("ready", first.pid)


def test_a_file_that_was_damaged_in_place_is_put_back_when_its_server_refused_it(house: House):
    digest = house.ws.blobs.put_bytes(b'{"default": "kept"}')
    house.ws.path("models/three").write_bytes(b'{"default": "kept"!')
    want(house, digest=digest, files={"model": "models/three"})
    house.until(lambda slot: slot.observed == "ready")
    assert house.ws.path("models/three").read_bytes() == b'{"default": "kept"}'


def test_while_nothing_can_be_written_down_the_other_slots_are_looked_at_all_the_same(house: House):
    (house.ws.root / "run").mkdir(exist_ok=True)
    want(house)
    other = Slot(
        id="desk-green", model="desk", version="v2", engine="fake", files={"model": "models/two"}, digest="sha256:" + 64 * "2"
    )
    declare_slots(house.ws, [other])
    (house.ws.root / "run" / "engine-desk-blue.lock").mkdir()
    with suppress(OSError):
        house.engines.reconcile()
    assert "desk-green" in house.engines.children
    (house.ws.root / "run" / "engine-desk-blue.lock").rmdir()
    house.until(lambda slot: slot.observed == "ready")


def test_a_slot_that_asks_for_another_file_gets_another_server(house: House):
    want(house)
    first = house.until(lambda slot: slot.observed == "ready")
    want(house, files={"model": "models/two"}, digest="sha256:" + 64 * "2", version="v2")
    second = house.until(lambda slot: slot.observed == "ready" and slot.pid != first.pid)
    assert second.version == "v2"


def test_the_next_supervisor_adopts_a_server_that_runs(house: House):
    want(house)
    first = house.until(lambda slot: slot.observed == "ready")
    heir = Engines(house.ws, house.supervisor)
    heir.reconcile()
    assert house.slot().pid == first.pid
    assert {"event": "adopted", "name": "engine-desk-blue", "pid": first.pid} in house.events


def test_a_slot_that_somebody_else_answers_from_now_on_has_no_server_of_ours(house: House):
    want(house)
    house.until(lambda slot: slot.observed == "ready")
    want(house, engine="ollama", files={}, endpoint="http://127.0.0.1:9/v1", upstream_model="desk:v1")
    house.until(lambda slot: "engine-desk-blue" not in ending.running(house.ws.root))
    assert (house.slot().observed, house.slot().pid) == ("ready", None)


def test_an_outside_endpoint_is_left_alone(house: House):
    want(house, engine="openai", files={}, endpoint="http://127.0.0.1:9/v1")
    house.engines.reconcile()
    assert house.engines.children == {}
    assert house.slot().observed == "ready"
