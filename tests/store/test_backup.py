"""A backup: everything of a data directory, beside those who write, whole or absent."""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import Busy, DiskFull, NotFound, UserError
from tunekeeper.core.ids import request_id
from tunekeeper.store import archive, backup
from tunekeeper.store.backup import Backup
from tunekeeper.store.ledgers.rollouts import load_rollout
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.keeper import Keeper
from tunekeeper.store.restore import restore
from tunekeeper.workspace import Workspace, open_workspace

AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
Spawn = Callable[..., "subprocess.Popen[str]"]


def record(clock: ManualClock, number: int, **more: Any) -> dict[str, Any]:
    made = request_id(clock.utc(), b"k" * 32, lambda size: number.to_bytes(size, "big"))
    body = b'{"model":"desk","messages":[{"role":"user","content":"question %d"}]}' % number
    return {"request_id": made, "timestamp": clock.utc(), "model_id": "desk", "latency_ms": 1.0, "request": body, **more}


def taken(ws: Workspace, folder: Path, name: str = "b") -> Backup:
    return backup.create(ws.root, backup.place(ws.root, folder / f"{name}.tar.zst", AT), ws.clock, product="0.1")


def looked_at(path: Path) -> tuple[str, set[str]]:
    """Digest and names of a sound backup."""
    found: set[str] = set()

    def sink(name: str, size: int, mode: int) -> Any:
        found.add(name)
        return open(os.devnull, "wb")

    return archive.read(path, begin=lambda header: None, sink=sink, durable=False).digest, found


def back(made: Backup, folder: Path, clock: ManualClock) -> Workspace:
    restore(made.file, folder, AT)
    return open_workspace(folder, clock=clock)


def test_everything_that_lasts_is_in_it_and_what_is_made_again_is_not(ws: Workspace, tmp_path: Path, clock: ManualClock) -> None:
    digest = ws.blobs.put_bytes(b"weights")
    key = ws.request_key()
    spool = Spool(ws.root, "gateway-0", clock)
    first, second = record(clock, 1, body_id="a"), record(clock, 2, body_id="b")
    spool.ended(first)
    spool.flush()
    spool.seal()
    Keeper(ws.root, clock).once()
    spool.ended(second)
    spool.flush()
    for name in ("run/x.sock", "work/job/out", "routes/7", ".hidden", "state.db.before-0001-1", "clock.lock", "reserve"):
        (ws.root / name).parent.mkdir(parents=True, exist_ok=True)
        (ws.root / name).write_text("x")
    (ws.root / "data" / "desk").mkdir(parents=True)
    (ws.root / "data" / "desk" / "draft.jsonl").write_text("no newline at the end")
    (ws.root / "notifications.jsonl").write_text('{"a":1}\n{"half')
    (ws.root / "data" / "link").symlink_to("/etc/passwd")
    made = taken(ws, tmp_path)
    _, held = looked_at(made.file)
    assert {name.partition("/")[0] for name in held} == {
        *("control.db", "state.db", "blobs", "log", "ids", "spool", "secrets", "data", "notifications.jsonl")
    }
    assert "data/link" not in held
    assert made.file.stat().st_mode & 0o777 == 0o600
    again = back(made, tmp_path / "again", clock)
    with again.control.read() as tx:
        assert load_rollout(tx, "rol_3").slot == "blue"
    assert again.state.version() == "0001"
    assert again.blobs.read(digest) == b"weights"
    assert again.request_key() == key
    assert {inference.request_id for inference in again.log.find()} == {first["request_id"], second["request_id"]}
    assert Keeper(again.root, clock).find("a") == {first["request_id"]}
    assert (again.root / "data" / "desk" / "draft.jsonl").read_text() == "no newline at the end"
    assert (again.root / "notifications.jsonl").read_text() == '{"a":1}\n'
    spool.close()


def test_an_open_request_is_absent_and_one_of_a_dead_writer_is_interrupted(
    ws: Workspace, tmp_path: Path, clock: ManualClock
) -> None:
    living, dead = Spool(ws.root, "gateway-0", clock), Spool(ws.root, "gateway-1", clock)
    whole, running, lost = (record(clock, number) for number in range(3))
    living.opened({name: value for name, value in whole.items() if name != "request"})
    living.opened({name: value for name, value in running.items() if name != "request"})
    living.partial(running["request_id"], "so far", running["request"])
    living.flush()
    living.seal()
    living.ended(whole)
    living.flush()
    dead.opened({name: value for name, value in lost.items() if name != "request"})
    dead.flush()
    (ws.root / "spool" / f"{dead.writer}.lock").unlink()  # as if it had died: nobody holds its lock
    (active,) = [
        segment.path for segment in segments.list_segments(ws.root) if segment.writer == living.writer and segment.number
    ]
    with active.open("ab") as file:
        file.write(b'{"c":"0123456789abcdef","k":"E","request_')  # the first half of a write that goes on
    again = back(taken(ws, tmp_path), tmp_path / "again", clock)
    found = {inference.request_id: inference.status for inference in again.log.find(purpose=None)}
    assert set(found) == {whole["request_id"], lost["request_id"]}
    assert again.log.verify() == {"records": 2, "duplicates": 0, "open": 0, "corrupt": 0}
    Keeper(again.root, clock).once()
    assert again.log.verify() == {"records": 2, "duplicates": 0, "open": 0, "corrupt": 0}


def test_taken_while_others_write_it_holds_every_acknowledged_change(
    ws: Workspace, tmp_path: Path, spawn: Spawn, clock: ManualClock
) -> None:
    writer = spawn("increment", ws.root, "rol_0", 100_000)
    spool = Spool(ws.root, "gateway-0", clock, max_bytes=20_000)
    logged: list[str] = []
    assert writer.stdout is not None
    for turn in range(4):
        said = int(writer.stdout.readline())
        for number in range(100):
            spool.ended(made := record(clock, turn * 100 + number))
            spool.flush()
            logged.append(made["request_id"])
        again = back(taken(ws, tmp_path, f"b{turn}"), tmp_path / f"again{turn}", clock)
        with again.control.read() as tx:
            assert load_rollout(tx, "rol_0").phase >= said
        assert again.control.damage() == again.state.damage() == []
        assert sorted(i.request_id for i in again.log.find()) == sorted(logged)
        Keeper(ws.root, clock).once()
    writer.kill()
    spool.close()


def test_killed_anywhere_it_is_absent_and_the_next_one_is_whole(ws: Workspace, tmp_path: Path, clock: ManualClock) -> None:
    for number in range(20):
        ws.blobs.put_bytes(b"%d" % number)
    spool = Spool(ws.root, "gateway-0", clock)
    spool.ended(record(clock, 1))
    spool.close()
    out = tmp_path / "out"
    out.mkdir()

    def run(kill_at: int, name: str) -> subprocess.CompletedProcess[str]:
        script = str(Path(__file__).with_name("dying.py"))
        words = ("backup", "--data", str(ws.root), "--out", str(out / f"{name}.tar.zst"))
        command = [sys.executable, script, str(tmp_path), str(kill_at), "tunekeeper", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(0, "first")
    assert done.returncode == 0, done.stderr
    touches = int(re.findall(r"touches: (\d+)", done.stderr)[0])
    assert touches > 40
    for kill_at in sorted(random.Random(3).sample(range(5, touches - 20), 6)):
        assert run(kill_at, "killed").returncode == -9
        assert [path.name for path in out.iterdir() if not path.name.startswith(".")] == ["first.tar.zst"]
    made = taken(ws, out, "killed")
    assert sorted(path.name for path in out.iterdir()) == ["first.tar.zst", "killed.tar.zst"], "what kills left is swept"
    assert not (ws.root / "work" / "backup").exists()
    assert looked_at(made.file)[0] == made.contents.digest
    assert Log(back(made, tmp_path / "again", clock).root, clock).verify()["records"] == 1


def test_only_one_at_a_time(ws: Workspace, tmp_path: Path) -> None:
    handle = segments.hold(ws.path("run", "backup.lock"))
    with pytest.raises(Busy, match="being made already"):
        taken(ws, tmp_path)
    os.close(handle)


def test_where_it_goes_is_checked_first(ws: Workspace, tmp_path: Path) -> None:
    assert backup.place(ws.root, tmp_path, AT) == tmp_path / "data-20260105T093000Z.tar.zst"
    (tmp_path / "there.tar.zst").write_text("")
    for name, said in (
        ("there.tar.zst", "exists already"),
        ("x.zip", "no name of a backup"),
        (".tar.zst", "no name of a backup"),
    ):
        with pytest.raises(UserError, match=said):
            backup.place(ws.root, tmp_path / name, AT)
    with pytest.raises(UserError, match="inside the data directory"):
        backup.place(ws.root, ws.root / "log", AT)
    with pytest.raises(NotFound, match="no folder"):
        backup.place(ws.root, tmp_path / "none" / "b.tar.zst", AT)


def test_a_damaged_or_missing_database_is_one_line_and_no_file(ws: Workspace, tmp_path: Path) -> None:
    ws.path("state.db").write_bytes(b"rubbish" * 2000)
    with pytest.raises(UserError, match=r"state\.db is damaged.*restore it from a backup"):
        taken(ws, tmp_path)
    ws.path("state.db").unlink()
    with pytest.raises(NotFound, match=r"state\.db does not exist"):
        taken(ws, tmp_path)
    assert list(tmp_path.glob("*.zst")) == []
    made = backup.create(ws.root, tmp_path / "pg.tar.zst", ws.clock, product="0.1", databases=False)
    assert made.contents.header.schemas == {"control": None, "state": None}
    assert not looked_at(made.file)[1] & {"control.db", "state.db"}


def test_no_room_for_the_copies_of_the_databases_is_said_as_that(ws: Workspace, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for room in (64 << 10, 16 << 10):  # the copy does not fit, and then not even what SQLite maps to read a file
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
            with pytest.raises(DiskFull, match=r"no room left on the disk of state\.db"):
                taken(ws, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert taken(ws, tmp_path).contents.files
