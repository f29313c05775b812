from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tunekeeper
from tunekeeper.core.clock import ManualClock, SystemClock
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.workspace import Workspace, create_workspace, open_workspace


def test_a_new_workspace_has_both_databases_and_its_folders(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "data", project=tmp_path)
    assert (ws.control.version(), ws.state.version()) == ("0001", "0001")
    assert {path.name for path in ws.root.iterdir() if path.is_dir()} == {
        "blobs",
        "spool",
        "log",
        "routes",
        "run",
        "work",
        "secrets",
        "ids",
    }
    assert ws.project == tmp_path
    assert isinstance(ws.clock, SystemClock)
    assert ws.path("work", "x") == ws.root / "work" / "x"
    assert stat.S_IMODE(ws.path("secrets").stat().st_mode) == 0o700
    assert ws.blobs.read(ws.blobs.put_bytes(b"x")) == b"x"


def test_creating_again_keeps_what_is_there(tmp_path: Path) -> None:
    first = create_workspace(tmp_path)
    lease = first.control.acquire_lease("worker", "me", 60)
    again = create_workspace(tmp_path)
    assert lease is not None
    assert again.control.acquire_lease("worker", "another", 60) is None


def test_a_missing_workspace_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="tunekeeper init"):
        open_workspace(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(NotFound):
        open_workspace(tmp_path)


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot become a data directory"):
            create_workspace(place)


def test_secrets_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    create_workspace(tmp_path)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(open_workspace(tmp_path).request_key())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    assert open_workspace(tmp_path).pepper() != found[0]
    assert sorted(path.name for path in (tmp_path / "secrets").iterdir()) == ["pepper", "request.key"]
    assert stat.S_IMODE((tmp_path / "secrets" / "request.key").stat().st_mode) == 0o600


def test_a_broken_state_database_stops_nothing_that_reads_control(tmp_path: Path) -> None:
    create_workspace(tmp_path)
    (tmp_path / "state.db").write_bytes(b"rubbish")
    clock = ManualClock()
    ws = open_workspace(tmp_path, clock=clock)
    assert ws.clock is clock
    with ws.control.read() as tx:
        assert tx.database == "control"


@pytest.mark.parametrize(
    "use",
    [
        "ws.request_key(); ws.blobs; ws.clock.utc()",
        "ws.control.version()",
        "ws.control.acquire_lease('worker', 'a', 1.0)",
        "(ws.state.upgrade(), ws.state.lease_alive('worker'))",
    ],
)
def test_each_part_costs_only_who_uses_it_and_none_a_database_library(tmp_path: Path, use: str) -> None:
    ws = create_workspace(tmp_path)
    assert isinstance(ws, Workspace)
    code = (
        "import sys; from pathlib import Path; from tunekeeper.workspace import open_workspace;"
        f"ws = open_workspace(Path({str(tmp_path)!r})); {use};"
        "print(*[m for m in ('sqlalchemy', 'alembic', 'duckdb', 'pyarrow', 'yaml', 'numpy') if m in sys.modules])"
    )
    source = str(Path(tunekeeper.__file__).parent.parent)
    said = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True)
    assert said.stdout.split() == []
