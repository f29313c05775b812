"""T03: a small file system runs full under a gateway, a rollback works all the same, and everything goes on when room returns."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.conftest import MODEL, Bench
from tests.patience import until
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.gateway.options import Options
from tunekeeper.monitoring.watchdog import check_room
from tunekeeper.rollout.moves import promote, rollback
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.store.published import published_generation
from tunekeeper.store.reserve import reserved
from tunekeeper.store.space import measure
from tunekeeper.workspace import Workspace, create_workspace

MB = 1 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here; thresholds and refusals have tests of their own")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


class Desk(Bench):
    """A gateway over a whole workspace: its routes are the committed ones, first slot `a`, then `b`."""

    def __init__(self, ws: Workspace) -> None:
        super().__init__(ws.root, Options())
        self.ws = ws

    def publish(self, **_: object) -> int:  # type: ignore[override]
        with self.ws.control.write(by="test") as tx:
            for name, version, fake in (("a", "v1.0", self.a), ("b", "v1.1", self.b)):
                endpoint = f"{fake.url}/v1"
                save_slot(tx, Slot(id=name, model=MODEL, version=version, endpoint=endpoint, observed="ready", gated=True))
        promote(self.ws, MODEL, "a", by="test", reason="first")
        return promote(self.ws, MODEL, "b", by="test", reason="second").route_version


def fill(folder: Path, leave: int) -> None:
    """Take room until at most `leave` bytes are free."""
    with (folder / "ballast").open("ab") as file:
        try:
            while (free := measure(folder).free) > leave:
                os.write(file.fileno(), bytes(min(free - leave, MB)))
        except OSError:
            return  # the disk is full to the last byte


def storm(desk: Desk, seconds_over: Callable[[], bool]) -> tuple[set[str], list[httpx.Response]]:
    """Four clients until told to stop: the ids they were answered under, and every refusal."""
    answered: set[str] = set()
    refused: list[httpx.Response] = []

    def client() -> None:
        with httpx.Client(timeout=60, verify=False) as http:
            while not seconds_over():
                body = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 3000}]}
                heard = http.post(f"{desk.url}/v1/chat/completions", json=body)
                if heard.status_code == 200:
                    answered.add(heard.headers["x-tunekeeper-request-id"])
                else:
                    refused.append(heard)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(60)
    return answered, refused


def disk_says(desk: Desk) -> str | None:
    said: str | None = desk.get("/readyz").json().get("disk")
    return said


def test_a_disk_that_runs_full_loses_nothing_lets_a_rollback_through_and_recovers_by_itself(small: Path) -> None:
    ws = create_workspace(small / "data")
    desk = Desk(ws).start()
    try:
        answered = {desk.chat().headers["x-tunekeeper-request-id"]}
        assert disk_says(desk) is None
        assert check_room(ws, MODEL) is None

        fill(small, leave=12 * MB)
        until(lambda: disk_says(desk) == "low")
        until(lambda: reserved(ws.root))
        alert = check_room(ws, MODEL)
        assert alert is not None
        assert "full" in alert.reason
        fill(small, leave=6 * MB)
        until(lambda: disk_says(desk) == "no_bodies")
        lean = desk.record(desk.chat())
        answered.add(lean["request_id"])
        assert lean["bodies_off"] == "disk"
        assert not lean.keys() & {"request", "response"}
        fill(small, leave=3 * MB)
        until(lambda: disk_says(desk) == "no_shadow")

        fill(small, leave=0)
        met: list[float] = []

        def full_for_a_while() -> bool:
            if not met and disk_says(desk) == "full":
                met.append(time.monotonic())
            return bool(met) and time.monotonic() - met[0] > 0.5

        some, refused = storm(desk, full_for_a_while)
        answered |= some
        assert refused
        assert {each.status_code for each in refused} == {503}
        assert {each.json()["error"]["code"] for each in refused} == {"log_unavailable"}
        assert all(each.headers["retry-after"] for each in refused)
        assert "tunekeeper_disk_level 4" in desk.get("/metrics").text

        before = published_generation(ws.root)
        move = rollback(ws, MODEL, by="ana")
        assert (move.before, move.after) == ("v1.1", "v1.0")
        assert published_generation(ws.root) != before
        assert not reserved(ws.root), "that is what it was laid by for"

        (small / "ballast").unlink()
        began = time.monotonic()
        until(lambda: desk.chat().status_code == 200)
        print(f"served again {time.monotonic() - began:.1f} s after room returned")
        until(lambda: desk.get("/readyz").status_code == 200)
        last = desk.chat()
        answered.add(last.headers["x-tunekeeper-request-id"])
        assert last.headers["x-tunekeeper-slot"] == "a"
        assert check_room(ws, MODEL) is None
    finally:
        desk.stop()
    found = [json.loads(line) for line in json_lines(ws)]
    assert answered <= {each["request_id"] for each in found if each["status"] == "ok"}, "answered but not logged"
    report = ws.log.verify()
    assert (report["duplicates"], report["open"], report["corrupt"]) == (0, 0, 0)
    assert ws.control.damage() == ws.state.damage() == []


def json_lines(ws: Workspace) -> Iterator[str]:
    for each in ws.log.each():
        yield json.dumps({"request_id": each.request_id, "status": each.status})
