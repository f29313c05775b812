from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import Route
from tunekeeper.store.behind import behind
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.publishing import publish_newest
from tunekeeper.workspace import create_workspace


def test_a_commit_is_ahead_of_what_is_obeyed_until_it_is_published(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "data", clock=ManualClock())
    assert behind(ws.root) is None
    for number in (1, 2):
        with ws.control.write(by="test") as tx:
            save_route(tx, Route(model="desk"))
        assert behind(ws.root) == number
        publish_newest(ws.control, ws.root, by="test")
        assert behind(ws.root) is None


def test_what_cannot_be_read_is_not_behind(tmp_path: Path) -> None:
    assert behind(tmp_path) is None
    (tmp_path / "control.db").write_bytes(b"no database at all" * 100)
    assert behind(tmp_path) is None
    (tmp_path / "control.db").write_bytes(b"")
    assert behind(tmp_path) is None


def test_a_supervisor_that_looks_loads_no_database_library() -> None:
    code = (
        "import sys, tunekeeper.processes.converge; print([n for n in ('sqlalchemy', 'duckdb', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
