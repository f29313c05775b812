"""A project's own model servers, as `up` starts them and says what is not loaded yet."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.processes.test_plans import cli, event, version
from tunekeeper.core.nouns.serving import Route, Share, Slot
from tunekeeper.deployment.slots import declare_slots, observe_slot
from tunekeeper.processes.models import Models
from tunekeeper.processes.supervisor import Supervisor
from tunekeeper.rollout.moves import publish_newest
from tunekeeper.store.ledgers.routes import next_generation, save_route
from tunekeeper.workspace import Workspace, create_workspace


def project(folder: Path) -> Workspace:
    """A project whose one model is answered by a server of its own."""
    (folder / "tunekeeper.yaml").write_text("gateway: {port: 0}\nworker: {enabled: false}\n")
    (folder / "models").mkdir()
    (folder / "models" / "desk.yaml").write_text("model: desk\nbase: base\n")
    ws = create_workspace(folder / ".tunekeeper", project=folder)
    ws.path("models").mkdir()
    ws.path("models", "one").write_text('{"default": "one"}')
    declare_slots(
        ws,
        [
            Slot(
                id="desk-blue",
                model="desk",
                version="v1",
                engine="fake",
                files={"model": "models/one"},
                digest="sha256:" + 64 * "1",
            )
        ],
    )
    with ws.control.write(by="test") as tx:
        share = Share(slot="desk-blue", variant="champion", ranges=((0, 10_000),))
        save_route(tx, Route(model="desk", generation=next_generation(tx), salt="s", champion="desk-blue", shares=(share,)))
    publish_newest(ws)
    return ws


def asked(url: str) -> tuple[int, Any]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


def test_up_says_what_is_still_being_loaded_also_what_answered_before_its_last_end(tmp_path: Path) -> None:
    observe_slot(project(tmp_path), "desk-blue", "ready", endpoint="http://127.0.0.1:1/v1", pid=1)
    with cli("up", "--dir", str(tmp_path), "--json", TUNEKEEPER_GATEWAY_KEY="sesame") as process:
        ready = event(process, "ready")
        assert ready["loading"] == ["desk-blue"]
        assert event(process, "loaded")["name"] == "engine-desk-blue"
        assert asked(ready["url"]) == (200, {"ready": True})
        assert version(ready["url"], "sesame") == (200, "v1")
        process.send_signal(signal.SIGTERM)
        event(process, "stopped")


def test_without_a_table_that_can_be_read_nothing_is_begun_and_nothing_waited_for(tmp_path: Path) -> None:
    ws = project(tmp_path)
    for path in ws.path("routes").glob("[0-9]*"):
        path.write_bytes(b"half a file")
    models = Models(ws, Supervisor(ws.root, {}, print))
    models.begin()
    assert models.loading() == []
    models.stop()
