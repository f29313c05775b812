from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.store import migrate, schema
from tunekeeper.store.database import Database
from tunekeeper.store.ledgers.rollouts import find_rollouts, save_rollout
from tunekeeper.store.transactions import Name
from tunekeeper.workspace import Workspace

DATABASES: list[Name] = ["control", "state"]
NEXT = """
import os, signal
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"


def upgrade():
    with op.batch_alter_table("rollouts") as table:
        table.add_column(sa.Column("colour", sa.Text, nullable=True))
    if os.environ.get("KILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    op.create_table("extra", sa.Column("id", sa.Text, primary_key=True))
"""
STARTER = """
import sys
from pathlib import Path
from tunekeeper.core.clock import SystemClock
from tunekeeper.store import migrate, schema
from tunekeeper.store.database import Database
migrate._HOME, schema.HEAD = Path(sys.argv[1]), {"control": "0002", "state": "0001"}
print(Database(Path(sys.argv[2]), "control", SystemClock()).upgrade())
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The migrations of a next release: one more for `control`."""
    home = tmp_path / "migrations"
    for path in migrate._HOME.rglob("*.py"):
        target = home / path.relative_to(migrate._HOME)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(path.read_text())
    (home / "control" / "versions" / "0002_next.py").write_text(NEXT)
    return home


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        return {str(name) for (name,) in file.execute("select name from sqlite_master where type = 'table'")}


def starter(home: Path, path: Path, **environment: str) -> subprocess.Popen[str]:
    source = str(Path(migrate.__file__).parents[2])
    command = [sys.executable, "-c", STARTER, str(home), str(path)]
    return subprocess.Popen(command, env={"PYTHONPATH": source, **environment}, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("name", DATABASES)
def test_migrations_lead_from_nothing_to_exactly_the_tables_in_use(tmp_path: Path, name: Name) -> None:
    database = Database(tmp_path / f"{name}.db", name, ManualClock())
    assert database.version() is None
    assert database.upgrade() is None
    assert [database.version()] == [schema.HEAD[name]] == migrate.heads(name)
    made = tables(tmp_path / f"{name}.db") - {"sqlite_sequence"}
    assert made == {*schema.tables(name), schema.version_table(name)}


def test_one_database_can_hold_both_histories(tmp_path: Path) -> None:
    for name in DATABASES:
        Database(tmp_path / "both.db", name, ManualClock()).upgrade()
    assert {"routes", "cycles", "control_leases", "state_leases", "control_version", "state_version"} <= tables(
        tmp_path / "both.db"
    )


def test_upgrading_an_up_to_date_database_does_nothing(ws: Workspace) -> None:
    assert ws.control.upgrade() is None
    assert list(ws.root.glob("control.db.before-*")) == []


def test_an_upgrade_keeps_the_rows_and_a_copy_from_before(ws: Workspace, newer: Path) -> None:
    said, _ = starter(newer, ws.path("control.db")).communicate(timeout=150)
    copy = ws.path("control.db.before-0001-1")
    assert said.strip() == str(copy)
    assert "extra" in tables(ws.path("control.db"))
    assert "extra" not in tables(copy)
    with closing(sqlite3.connect(copy)) as file:
        assert file.execute("select count(*) from rollouts").fetchone() == (4,)
        assert file.execute("pragma integrity_check").fetchone() == ("ok",)
    with closing(sqlite3.connect(ws.path("control.db"))) as file:
        assert file.execute("select count(*), max(colour) from rollouts").fetchone() == (4, None)


def test_an_upgrade_killed_between_two_statements_leaves_the_exact_old_state(ws: Workspace, newer: Path) -> None:
    killed = starter(newer, ws.path("control.db"), KILL="1")
    assert killed.communicate(timeout=150)[0] == ""
    assert killed.returncode == -9
    assert "extra" not in tables(ws.path("control.db"))
    with ws.control.write(by="test") as tx:
        save_rollout(tx, Rollout(id="rol_9", model="m", version="v", slot="s"))
        assert len(find_rollouts(tx)) == 5
    again = starter(newer, ws.path("control.db"))
    assert again.communicate(timeout=150)[0].strip() == str(ws.path("control.db.before-0001-2"))
    assert "extra" in tables(ws.path("control.db"))


def test_of_two_starters_one_migrates_and_both_arrive(ws: Workspace, newer: Path) -> None:
    both = [starter(newer, ws.path("control.db")) for _ in range(2)]
    said = sorted(child.communicate(timeout=150)[0].strip() for child in both)
    assert [child.returncode for child in both] == [0, 0]
    assert said == sorted([str(ws.path("control.db.before-0001-1")), "None"])


def test_threads_that_create_at_once_make_one_database(tmp_path: Path) -> None:
    found: list[str | None] = []

    def create() -> None:
        database = Database(tmp_path / "state.db", "state", ManualClock())
        database.upgrade()
        found.append(database.version())

    threads = [threading.Thread(target=create) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [schema.HEAD["state"]] * 3


def test_the_schema_of_a_newer_release_is_left_alone(ws: Workspace) -> None:
    with ws.control.write(by="test") as tx:
        tx.connection.change("update control_version set version_num = '0009'")
    with pytest.raises(UserError, match="0009"):
        ws.control.upgrade()
    assert list(ws.root.glob("control.db.before-*")) == []
