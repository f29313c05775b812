"""New databases made from plain SQL are those that the migrations make."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound
from tunekeeper.store import alchemy, migrate, schema, snapshot
from tunekeeper.store.database import Database
from tunekeeper.store.transactions import Name
from tunekeeper.workspace import create_workspace

DATABASES: list[Name] = ["control", "state"]
KILLED = """
import os, signal, sys
from pathlib import Path
from tunekeeper.store import snapshot
folder, name = Path(sys.argv[1]), sys.argv[2]
whole = list(snapshot.statements(name))
def cut(number):
    for place, statement in enumerate(whole):
        if place == number:
            os.kill(os.getpid(), signal.SIGKILL)
        yield statement
    os.kill(os.getpid(), signal.SIGKILL)
for number in range(len(whole) + 1):
    child = os.fork()  # a fresh interpreter for each would take a hundred times as long
    if child == 0:
        snapshot.statements = lambda name: cut(number)
        snapshot.create(folder / f"{number}.db", name)
        os._exit(1)
    print(number, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def content(path: Path) -> tuple[list[tuple[str, ...]], dict[str, list[tuple[object, ...]]], str]:
    """Everything that stands in `sqlite_master`, every row of every table, and the journal mode."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        rows = file.execute("select type, name, tbl_name, coalesce(sql, '') from sqlite_master").fetchall()
        made = [(*row[:3], re.sub(r"\s*([(),])\s*", r"\1", re.sub(r"\s+", " ", row[3]))) for row in rows]
        tables = {row[1]: file.execute(f'select * from "{row[1]}"').fetchall() for row in rows if row[0] == "table"}
        return made, tables, file.execute("pragma journal_mode").fetchone()[0]


@pytest.mark.parametrize("name", DATABASES)
def test_what_the_snapshot_makes_is_what_the_migrations_make(tmp_path: Path, name: Name) -> None:
    migrated, made = tmp_path / "migrated.db", tmp_path / "made.db"
    migrate.upgrade(alchemy.file(migrated), name, migrated)
    assert snapshot.create(made, name)
    assert content(made) == content(migrated)
    assert snapshot.version(made, name) == schema.HEAD[name] == Database(made, name, ManualClock()).version()
    assert migrate.heads(name) == [snapshot.HEAD[name]]


def test_a_new_workspace_needs_no_database_library(tmp_path: Path) -> None:
    code = f"""import sys
from pathlib import Path
from tunekeeper.workspace import create_workspace
for _ in range(2):
    create_workspace(Path({str(tmp_path)!r}))
print(sorted({{"sqlalchemy", "alembic"}} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=True)
    assert done.stdout == "[]\n"
    assert [snapshot.version(tmp_path / f"{name}.db", name) for name in DATABASES] == ["0001", "0001"]


@pytest.mark.parametrize("name", DATABASES)
def test_a_creator_that_is_killed_before_any_statement_leaves_nothing_and_the_next_one_makes_everything(
    tmp_path: Path, name: Name
) -> None:
    whole = len(list(snapshot.statements(name)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), name], timeout=150, check=True, capture_output=True, text=True
    )
    # The last one is killed before the commit.
    assert [line.split() for line in done.stdout.splitlines()] == [[str(n), str(-signal.SIGKILL)] for n in range(whole + 1)]
    assert snapshot.create(tmp_path / "never-killed.db", name)
    made = content(tmp_path / "never-killed.db")
    for number in range(whole + 1):
        path = tmp_path / f"{number}.db"
        assert snapshot.version(path, name) is None
        with pytest.raises(NotFound, match="does not exist or is empty"), Database(path, name, ManualClock()).read():
            raise AssertionError("it was served without its tables")
        assert snapshot.create(path, name)
        assert content(path) == made
    print(f"T11 {name}: killed before each of {whole} statements and before the commit")


def test_a_database_that_stands_is_left_as_it_is(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path)
    assert snapshot.create(tmp_path / "control.db", "control")
    with ws.control.write(by="test") as tx:
        tx.connection.change("update control_version set version_num = '0000'")
    before = content(tmp_path / "control.db")
    assert not snapshot.create(tmp_path / "control.db", "control")
    assert content(tmp_path / "control.db") == before


def test_what_is_no_database_or_not_there_has_no_number(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert snapshot.version(path, "control") is snapshot.generation(path) is None
    assert not path.exists()
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    assert snapshot.version(path, "control") is snapshot.generation(path) is None
    assert not snapshot.create(path, "control")


def test_the_number_of_the_newest_change_is_read(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path)
    assert snapshot.generation(tmp_path / "control.db") == 0
    with ws.control.write(by="test") as tx:
        tx.connection.change("update sequences set value = 7")
    assert snapshot.generation(tmp_path / "control.db") == 7
    assert snapshot.generation(tmp_path / "state.db") is None
