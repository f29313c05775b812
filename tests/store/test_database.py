from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from tunekeeper.core.errors import Busy, Conflict, DiskFull, LeaseLost, NotFound, OurFault, UserError
from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.store import sqlite
from tunekeeper.store.database import Database
from tunekeeper.store.ledgers.rollouts import find_rollouts, load_rollout, save_rollout
from tunekeeper.store.transactions import find_audit
from tunekeeper.workspace import Workspace, open_workspace

Spawn = Callable[..., "subprocess.Popen[str]"]


def count(ws: Workspace, id: str = "rol_0") -> int:
    with ws.control.read() as tx:
        return load_rollout(tx, id).phase


def lines(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def integrity(ws: Workspace) -> str:
    with ws.control.read() as tx:
        return str(tx.connection.rows("pragma integrity_check")[0][0])


def test_four_processes_that_read_and_write_one_row_lose_no_update(ws: Workspace, spawn: Spawn) -> None:
    writers = [spawn("increment", ws.root, "rol_0", 60) for _ in range(4)]
    said = [int(line) for writer in writers for line in writer.communicate(timeout=200)[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    assert sorted(said) == list(range(1, 241))
    assert count(ws) == 240
    assert (ws.path("control.db-wal").stat().st_size if ws.path("control.db-wal").exists() else 0) < 1_000_000


def test_readers_are_never_refused_while_others_write(ws: Workspace, spawn: Spawn) -> None:
    writers = [spawn("increment", ws.root, f"rol_{number}", 60) for number in range(2)]
    seen = [count(ws)]
    while any(writer.poll() is None for writer in writers):
        seen.append(count(ws))
    assert seen == sorted(seen)
    assert count(ws) == count(ws, "rol_1") == 60


def test_killed_writers_leave_every_acknowledged_number_and_a_whole_file(ws: Workspace, spawn: Spawn) -> None:
    chance = random.Random(7)
    expected = dict.fromkeys(("rol_0", "rol_1", "rol_2"), 0)
    for _ in range(3):
        writers = {id: spawn("increment", ws.root, id, 100_000) for id in expected}
        first = {id: lines(writer).readline() for id, writer in writers.items()}
        time.sleep(chance.uniform(0.0, 0.08))
        for writer in writers.values():
            writer.kill()
        for id, writer in writers.items():
            said = [int(line) for line in (first[id] + lines(writer).read()).splitlines(keepends=True) if line.endswith("\n")]
            found = count(ws, id)
            assert said[0] == expected[id] + 1
            assert found in (said[-1], said[-1] + 1), "an acknowledged write is gone, or one came from nowhere"
            expected[id] = found
        assert integrity(ws) == "ok"
    assert min(expected.values()) >= 3


def test_a_transaction_that_raises_changes_nothing(ws: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), ws.control.write(by="test") as tx:
        save_rollout(tx, replace(load_rollout(tx, "rol_0"), phase=9))
        raise ZeroDivisionError
    assert count(ws) == 0
    with ws.control.read() as tx:
        assert [row["rev"] for row in find_audit(tx, ledger="rollouts", id="rol_0")] == [1]


def test_a_reader_sees_one_moment(ws: Workspace) -> None:
    with ws.control.read() as before:
        assert load_rollout(before, "rol_0").phase == 0
        with ws.control.write(by="test") as tx:
            save_rollout(tx, replace(load_rollout(tx, "rol_0"), phase=1))
        assert load_rollout(before, "rol_0").phase == 0
    assert count(ws) == 1


def test_every_save_leaves_an_audit_row_that_names_who(ws: Workspace) -> None:
    with ws.control.write(by="dana") as tx:
        save_rollout(tx, replace(load_rollout(tx, "rol_0"), phase=1))
    with ws.control.read() as tx:
        newest = find_audit(tx, ledger="rollouts", id="rol_0")[0]
    assert newest == {
        "by": "dana",
        "ledger": "rollouts",
        "id": "rol_0",
        "rev": 2,
        "at": "2026-01-05T09:00:00.000000Z",
        "detail": "",
    }


def test_a_value_that_changed_meanwhile_is_a_conflict(ws: Workspace) -> None:
    with ws.control.write(by="test") as tx:
        old = load_rollout(tx, "rol_0")
        save_rollout(tx, replace(old, phase=1))
    with pytest.raises(Conflict, match="rol_0"), ws.control.write(by="test") as tx:
        save_rollout(tx, replace(old, phase=2))
    with pytest.raises(Conflict, match="rol_0"), ws.control.write(by="test") as tx:
        save_rollout(tx, Rollout(id="rol_0", model="m", version="v", slot="s"))
    assert count(ws) == 1


def test_the_stale_holder_of_a_lease_is_refused_in_its_own_transaction(ws: Workspace) -> None:
    for _ in range(20):
        old = ws.control.acquire_lease("worker", "first", 0.001)
        assert old is not None
        time.sleep(0.002)
        new = ws.control.acquire_lease("worker", "second", 30)
        assert new is not None
        assert new.epoch == old.epoch + 1
        with pytest.raises(LeaseLost, match="second"), ws.control.write(by="first", lease=old) as tx:
            save_rollout(tx, replace(load_rollout(tx, "rol_0"), phase=99))
        with pytest.raises(LeaseLost):
            ws.control.renew_lease(old)
        ws.control.release_lease(old)
        with ws.control.write(by="second", lease=new) as tx:
            save_rollout(tx, replace(load_rollout(tx, "rol_0"), phase=1))
        ws.control.release_lease(new)
    assert count(ws) == 1


def test_a_lease_is_held_until_it_expires_or_is_released(ws: Workspace) -> None:
    first = ws.control.acquire_lease("worker", "first", 30)
    assert first is not None
    assert ws.control.acquire_lease("worker", "second", 30) is None
    assert ws.state.acquire_lease("worker", "second", 30) is not None, "each database has its own leases"
    renewed = ws.control.renew_lease(first)
    assert renewed.epoch == first.epoch
    assert renewed.expires > first.expires
    ws.control.release_lease(renewed)
    assert ws.control.acquire_lease("worker", "second", 30) is not None


def test_an_expired_lease_that_nobody_took_still_writes(ws: Workspace) -> None:
    lease = ws.control.acquire_lease("worker", "first", 0.001)
    time.sleep(0.002)
    with ws.control.write(by="first", lease=lease) as tx:
        save_rollout(tx, replace(load_rollout(tx, "rol_0"), phase=1))
    assert count(ws) == 1


def test_a_stopped_writer_is_killed_by_who_may_and_the_kill_is_on_record(ws: Workspace, spawn: Spawn) -> None:
    stuck = spawn("hold", ws.root)
    assert lines(stuck).readline() == "inside\n"
    stuck.send_signal(signal.SIGSTOP)
    with pytest.raises(Busy, match=str(stuck.pid)), ws.control.write(by="test", wait=0.05):
        raise AssertionError("two writers at once")
    start = time.monotonic()
    with ws.control.write(by="rollback", break_after=0.3) as tx:
        assert load_rollout(tx, "rol_0").phase == 0
    assert time.monotonic() - start >= 0.3
    assert stuck.wait(60) == -signal.SIGKILL
    with ws.control.read() as tx:
        [row] = find_audit(tx, ledger="lock")
    assert (row["by"], row["id"]) == ("rollback", str(stuck.pid))


def test_a_writer_that_has_only_just_begun_is_waited_for(ws: Workspace) -> None:
    inside, done = threading.Event(), threading.Event()

    def slow() -> None:
        with ws.control.write(by="slow") as tx:
            inside.set()
            done.wait(60)
            save_rollout(tx, replace(load_rollout(tx, "rol_0"), phase=1))

    thread = threading.Thread(target=slow)
    thread.start()
    inside.wait(60)
    threading.Timer(0.15, done.set).start()
    with ws.control.write(by="rollback", break_after=0.05) as tx:
        assert load_rollout(tx, "rol_0").phase == 1
    thread.join()


def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(ws: Workspace) -> None:
    with pytest.raises(DiskFull, match=r"control\.db"), ws.control.write(by="test") as tx:
        pages = tx.connection.rows("pragma page_count")[0][0]
        tx.connection.change(f"pragma max_page_count={pages}")
        save_rollout(tx, Rollout(id="rol_big", model="m", version="v" * 100_000, slot="s"))
    with ws.control.read() as tx:
        assert len(find_rollouts(tx)) == 4


def test_a_missing_database_names_the_command_that_makes_it(ws: Workspace) -> None:
    empty = Database(ws.path("none.db"), "state", ws.clock)
    with pytest.raises(NotFound, match="tunekeeper store upgrade"), empty.read():
        raise AssertionError("read from nothing")
    assert not ws.path("none.db").exists()


@pytest.mark.parametrize(("number", "words"), [("0000", "needs 0001"), ("0002", "newer than 0001")])
def test_another_schema_is_refused_before_anything_is_read(ws: Workspace, number: str, words: str) -> None:
    with ws.control.write(by="test") as tx:
        tx.connection.change("update control_version set version_num = :n", n=number)
    again = open_workspace(ws.root).control
    for transaction in (again.read(), again.write(by="test")):
        with pytest.raises(UserError, match=f"{words}.*tunekeeper store upgrade"), transaction:
            raise AssertionError("served on a wrong schema")


def test_a_damaged_file_is_said_in_one_line(ws: Workspace) -> None:
    ws.path("broken.db").write_bytes(b"not a database, whatever its name says " * 100)
    with pytest.raises(UserError, match=r"broken\.db is damaged"), Database(ws.path("broken.db"), "state", ws.clock).read():
        raise AssertionError("read from rubbish")


def test_a_ledger_of_the_other_database_is_our_own_fault(ws: Workspace) -> None:
    with pytest.raises(OurFault, match=r"control\.db"), ws.state.read() as tx:
        find_rollouts(tx)


def test_commits_are_synced_and_only_writers_checkpoint(ws: Workspace) -> None:
    with ws.control.write(by="test") as tx:
        pragmas = {
            name: tx.connection.rows(f"pragma {name}")[0][0] for name in ("synchronous", "journal_mode", "wal_autocheckpoint")
        }
    assert pragmas == {"synchronous": 2, "journal_mode": "wal", "wal_autocheckpoint": 0}
    with closing(sqlite3.connect(f"file:{ws.path('control.db')}?mode=ro&immutable=1", uri=True)) as file:
        assert file.execute("select count(*) from rollouts").fetchone() == (4,), "what was committed stands in the file itself"
    with ws.control.read() as read, pytest.raises(sqlite3.OperationalError, match="readonly"):
        read.connection.change("delete from rollouts")


def test_readers_that_follow_one_another_do_not_let_the_log_grow_for_ever(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LARGE_LOG", 200_000)
    log, readers = ws.path("control.db-wal"), ExitStack()
    sizes = []
    for number in range(60):
        reader = ExitStack()
        reader.enter_context(ws.control.read()).connection.rows("select count(*) from rollouts")
        with ws.control.write(by="test") as tx:
            save_rollout(tx, Rollout(id=f"rol_n{number}", model="desk", version="v1", slot="blue"))
        sizes.append(log.stat().st_size)
        readers.close()
        readers = reader
        if number % 5 == 0:
            readers.close()  # nobody reads for a moment, and nobody writes in it
    readers.close()
    assert max(sizes) < 2 * 200_000, "each write adds some 35 kB"
    with ws.control.read() as tx:
        assert len(find_rollouts(tx)) == 64


def test_opening_for_a_rollback_imports_neither_alembic_nor_configuration(ws: Workspace) -> None:
    code = (
        "import sys; from pathlib import Path; from tunekeeper.workspace import open_workspace;"
        "from tunekeeper.store.ledgers.routes import load_route_table;"
        f"ws = open_workspace(Path({str(ws.root)!r}));\n"
        "with ws.control.write(by='rollback', break_after=0.3) as tx: print(load_route_table(tx).generation)\n"
        "print([m for m in ('alembic', 'duckdb', 'pyarrow', 'yaml', 'tunekeeper.config') if m in sys.modules])"
    )
    ws.path("state.db").unlink()
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    assert said.stdout.split("\n")[:2] == ["0", "[]"]


def test_once_it_is_forgotten_nothing_of_what_was_replaced_is_left_while_somebody_has_the_file_open(ws: Workspace) -> None:
    def say(words: str) -> None:
        with ws.control.write(by="test") as tx:
            save_rollout(tx, replace(load_rollout(tx, "rol_0"), version=words))

    def held() -> set[str]:
        return {path.name for path in ws.root.glob("control.db*") if b"what mallory said" in path.read_bytes()}

    with closing(sqlite3.connect(ws.path("control.db"), isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select count(*) from rollouts").fetchall()
        say("what mallory said" * 90)
        say("nothing")
        assert held() == {"control.db-wal"}
        reader.execute("commit")
        ws.control.forget()
        assert held() == set()
    assert integrity(ws) == "ok"
