"""A restore: the same bytes, whole or not at all, and never over what is there."""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import ArtifactError, Busy, OutsideError, UserError
from tunekeeper.store import archive, backup, erasures, madebackups
from tunekeeper.store.archive import Header, Writer
from tunekeeper.store.backup import Backup
from tunekeeper.store.log import segments
from tunekeeper.store.restore import restore
from tunekeeper.workspace import Workspace, open_workspace

AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


@pytest.fixture
def made(ws: Workspace, tmp_path: Path) -> Backup:
    """A backup of a workspace with a few blobs and a secret."""
    for number in range(8):
        ws.blobs.put_bytes(b"blob %d" % number)
    ws.request_key()
    return backup.create(ws.root, tmp_path / "b.tar.zst", ws.clock, product="0.1")


def crafted(path: Path, files: dict[str, bytes], **schemas: str | None) -> Path:
    header = Header(format=1, product="0.9", created="2026-01-05T00:00:00+00:00", schemas=dict(schemas))
    with path.open("wb") as file:
        writer = Writer(file, header)
        for name, data in files.items():
            writer.add_bytes(name, data, 0o777)
        writer.close()
    return path


def sums(root: Path) -> dict[str, str]:
    """Name → sha256 of every file below, but those of `run/`, which is in no backup."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] != "run"
    }


def inside(path: Path) -> dict[str, str]:
    """Name → sha256 of every file of a backup, computed here."""
    found: dict[str, str] = {}

    def sink(name: str, size: int, mode: int) -> io.BytesIO:
        class Kept(io.BytesIO):
            def close(self) -> None:
                if not self.closed:
                    found[name] = hashlib.sha256(self.getvalue()).hexdigest()
                super().close()

        return Kept()

    archive.read(path, begin=lambda header: None, sink=sink, durable=False)
    return found


def test_the_restored_folder_has_the_same_bytes_and_modes_and_opens(made: Backup, tmp_path: Path, clock: ManualClock) -> None:
    target = tmp_path / "deep" / "again"
    done = restore(made.file, target, AT)
    assert sums(target) == inside(made.file)
    assert done.contents == made.contents
    assert (done.aside, done.undone, done.older) == (None, (), ())
    assert (target / "secrets").stat().st_mode & 0o777 == 0o700
    assert (target / "secrets" / "request.key").stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in target.glob("blobs/*/*")} == {0o444}
    assert open_workspace(target, clock=clock).blobs.damaged() == (8, [])
    assert [path.name for path in target.parent.iterdir()] == ["again"]


def test_a_backup_of_what_was_restored_has_the_same_digest(made: Backup, tmp_path: Path, clock: ManualClock) -> None:
    restore(made.file, tmp_path / "again", AT)
    second = backup.create(tmp_path / "again", tmp_path / "c.tar.zst", clock, product="0.2")
    assert second.contents.digest == made.contents.digest


def test_the_backup_that_was_restored_is_known_to_whoever_erases_later(made: Backup, tmp_path: Path, ws: Workspace) -> None:
    moved = made.file.rename(tmp_path / "moved.tar.zst")
    restore(moved, tmp_path / "again", AT)
    (known,) = madebackups.made_until(tmp_path / "again", AT)
    assert (known.file, known.at, known.found) == (str(moved), ws.clock.utc(), True)
    other = crafted(tmp_path / "other.tar.zst", {"a": b"b"})
    restore(other, tmp_path / "again", AT, force=True)
    known_now = [each.file for each in madebackups.made_until(tmp_path / "again", AT)]
    assert {str(moved), str(other)} <= set(known_now), "and those of before a second restore stay known"


def test_a_target_that_is_not_empty_is_refused_and_with_force_moved_aside(made: Backup, ws: Workspace) -> None:
    (ws.root / "new.txt").write_text("since then")
    before = sums(ws.root)
    with pytest.raises(UserError, match="is not empty"):
        restore(made.file, ws.root, AT)
    dry = restore(made.file, ws.root, AT, force=True, dry_run=True)
    assert dry.contents == made.contents
    assert sums(ws.root) == before
    done = restore(made.file, ws.root, AT, force=True)
    assert done.aside is not None
    assert {name: value for name, value in sums(done.aside).items() if name in before} == before
    assert {name for name, _ in sums(ws.root).items() - inside(made.file).items()} == {"backups.jsonl"}
    assert inside(made.file).items() <= sums(ws.root).items(), "all of the backup, and the list of backups that were made since"
    assert [each.file for each in madebackups.made_until(ws.root, AT)] == sorted([str(made.file), str(done.aside)])
    again = restore(made.file, ws.root, AT, force=True)
    assert again.aside not in (None, done.aside)


def test_an_empty_target_is_taken_and_a_file_is_not(made: Backup, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    restore(made.file, tmp_path / "empty", AT)
    assert (tmp_path / "empty" / "control.db").exists()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("file", "link"):
        with pytest.raises(UserError, match="is no folder"):
            restore(made.file, tmp_path / name, AT, force=True)


@pytest.mark.parametrize("name", ["supervisor", "child-keeper", "gateway-w1"])
def test_nothing_is_restored_over_a_living_process(made: Backup, ws: Workspace, name: str) -> None:
    handle = segments.hold(ws.path("run", f"{name}.lock"))
    before = sums(ws.root)
    for dry_run in (False, True):
        with pytest.raises(Busy, match=f"{name} still runs"):
            restore(made.file, ws.root, AT, force=True, dry_run=dry_run)
    os.close(handle)
    assert sums(ws.root) == before


def test_a_newer_schema_is_refused_before_anything_is_written_and_an_older_one_named(tmp_path: Path) -> None:
    newer = crafted(tmp_path / "n.tar.zst", {"control.db": b"x"}, control="0001", state="9999")
    with pytest.raises(UserError, match=r"state database has schema 9999, newer than .* install release 0\.9 or newer"):
        restore(newer, tmp_path / "t", AT)
    assert [path.name for path in tmp_path.iterdir()] == ["n.tar.zst"]
    older = crafted(tmp_path / "o.tar.zst", {"control.db": b"x"}, control="0000", state=None)
    assert restore(older, tmp_path / "t", AT).older == ("control",)


def test_a_damaged_backup_leaves_nothing_behind(made: Backup, tmp_path: Path) -> None:
    data = made.file.read_bytes()
    names = sorted(path.name for path in tmp_path.iterdir())
    for at in random.Random(5).sample(range(len(data) - 64), 12):
        made.file.write_bytes(data[:at])
        with pytest.raises(ArtifactError):
            restore(made.file, tmp_path / "t", AT)
        assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"run/supervisor.lock": b""}, ArtifactError),
        ({"routes/generation": b"x"}, ArtifactError),
        ({"a": b"", "a/b": b""}, OutsideError),
        ({"a/b": b"", "a": b""}, OutsideError),
        ({"n" * 300: b""}, OutsideError),
    ],
)
def test_files_that_no_backup_holds_are_refused(tmp_path: Path, files: dict[str, bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        restore(crafted(tmp_path / "x.tar.zst", files), tmp_path / "t", AT)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.zst"]


def test_an_erasure_since_the_backup_is_told_until_the_user_is_erased_again(ws: Workspace, tmp_path: Path) -> None:
    ws.log.erase("early")
    made = backup.create(ws.root, tmp_path / "b.tar.zst", ws.clock, product="0.1")
    ws.log.erase("late")
    ws.log.erase("never", dry_run=True)
    (late,) = [erasure.unit for erasure in erasures.load(ws.root)][1:]
    dry = restore(made.file, ws.root, AT, force=True, dry_run=True)
    done = restore(made.file, ws.root, AT, force=True)
    assert [erasure.unit for erasure in dry.undone] == [erasure.unit for erasure in done.undone] == [late]
    second = backup.create(ws.root, tmp_path / "c.tar.zst", ws.clock, product="0.1")
    assert [erasure.unit for erasure in restore(second.file, tmp_path / "elsewhere", AT).undone] == [late]
    open_workspace(ws.root, clock=ws.clock).log.erase("late")
    third = backup.create(ws.root, tmp_path / "d.tar.zst", ws.clock, product="0.1")
    assert restore(third.file, tmp_path / "third", AT).undone == ()


def test_a_newer_backup_that_knows_the_erasure_brings_nobody_back_after_an_older_one_did(ws: Workspace, tmp_path: Path) -> None:
    older = backup.create(ws.root, tmp_path / "b.tar.zst", ws.clock, product="0.1")
    ws.log.erase("late")
    newer = backup.create(ws.root, tmp_path / "c.tar.zst", ws.clock, product="0.1")
    assert len(restore(older.file, ws.root, AT, force=True).undone) == 1
    assert restore(newer.file, ws.root, AT, force=True).undone == ()
    assert len(restore(older.file, ws.root, AT, force=True).undone) == 1


def test_killed_anywhere_the_target_is_as_it_was_or_whole(made: Backup, tmp_path: Path) -> None:
    wanted, mine = inside(made.file), {"mine": hashlib.sha256(b"mine").hexdigest()}
    target = tmp_path / "t"

    def run(kill_at: int, *more: str) -> subprocess.CompletedProcess[str]:
        script = str(Path(__file__).with_name("dying.py"))
        command = [sys.executable, script, str(tmp_path), str(kill_at), "tunekeeper", "restore", str(made.file), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(0, "--data", str(tmp_path / "first"))
    assert done.returncode == 0, done.stderr
    touches = int(re.findall(r"touches: (\d+)", done.stderr)[0])
    assert touches > 30
    target.mkdir()
    (target / "mine").write_text("mine")
    for kill_at in sorted(random.Random(9).sample(range(3, touches - 12), 5)):
        assert run(kill_at, "--data", str(target), "--force").returncode == -9
        assert sums(target) == mine
    restore(made.file, target, AT, force=True)
    assert {name: value for name, value in sums(target).items() if name != "backups.jsonl"} == wanted
    (aside,) = tmp_path.glob("t.before-restore-*")
    assert sums(aside) == mine
    assert list(tmp_path.glob(".t.restoring-*")) == [], "what kills left is swept"
