from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import ApiKey, Route
from tunekeeper.store.ledgers.keys import load_key, save_key
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.published import PublishedReader, published_generation
from tunekeeper.store.publishing import main, publish_newest
from tunekeeper.workspace import Workspace, open_workspace


def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path / "data", clock=ManualClock(), create=True)


def test_what_is_committed_is_published_once(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    assert published_generation(ws.root) is None
    with ws.control.write(by="test") as tx:
        saved = save_route(tx, Route(model="desk"))
    assert publish_newest(ws.control, ws.root, by="test") == saved.generation == published_generation(ws.root)
    stamp = (ws.root / "routes" / str(saved.generation)).stat().st_mtime_ns
    assert publish_newest(ws.control, ws.root, by="test") == saved.generation
    assert (ws.root / "routes" / str(saved.generation)).stat().st_mtime_ns == stamp


def test_a_published_file_that_is_gone_is_written_again(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    with ws.control.write(by="test") as tx:
        saved = save_route(tx, Route(model="desk"))
    publish_newest(ws.control, ws.root, by="test")
    (ws.root / "routes" / str(saved.generation)).unlink()
    publish_newest(ws.control, ws.root, by="test")
    assert PublishedReader(ws.root).current().routes["desk"].generation == saved.generation


def test_revoking_the_last_key_does_not_open_the_gateway(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    with ws.control.write(by="test") as tx:
        save_key(tx, ApiKey(id="key_1", hash="ab"))
    with ws.control.write(by="test") as tx:
        save_key(tx, replace(load_key(tx, "key_1"), revoked=True))
    publish_newest(ws.control, ws.root, by="test")
    table = PublishedReader(ws.root).current()
    assert (table.keys, table.asks_key) == ((), True)


def test_the_command_publishes_what_is_committed_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ws = workspace(tmp_path)
    with ws.control.write(by="test") as tx:
        saved = save_route(tx, Route(model="desk"))
    assert main(["--root", str(ws.root)]) == 0
    assert published_generation(ws.root) == saved.generation
    assert main(["--root", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith("error: control.db does not exist")
