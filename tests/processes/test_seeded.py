"""A start that finds what it committed last time commits nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import tunekeeper
from tests.processes.test_plans import FILE, cli, event
from tunekeeper.config.serving import load_serve_file
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.processes import seed, seeded
from tunekeeper.rollout.moves import set_route
from tunekeeper.store.ledgers.routes import load_route
from tunekeeper.store.publishing import publish_newest
from tunekeeper.workspace import Workspace, create_workspace

SLOT = Slot(id="a", model="desk", engine="openai", endpoint="http://127.0.0.1:9/v1")


@dataclass(frozen=True)
class Wish:
    """Something that a file could ask for."""

    share: int


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = create_workspace(tmp_path / "data")
    declare_slots(ws, [SLOT])
    seeded.note(ws.root, Wish(1))
    return ws


def test_a_wish_holds_until_it_or_the_store_changes(ws: Workspace) -> None:
    assert seeded.noted(ws.root)
    assert seeded.holds(ws.root, Wish(1))
    assert not seeded.holds(ws.root, Wish(2))
    declare_slots(ws, [SLOT, Slot(id="b", model="desk", engine="openai", endpoint="http://127.0.0.1:9/v1")])
    assert not seeded.holds(ws.root, Wish(1))
    seeded.note(ws.root, Wish(1))
    assert seeded.holds(ws.root, Wish(1))


def test_what_is_committed_and_not_published_does_not_hold(ws: Workspace) -> None:
    with ws.control.write(by="killed") as tx:
        tx.connection.change("update sequences set value = value + 1")
    assert not seeded.holds(ws.root, Wish(1))
    seeded.note(ws.root, Wish(1))
    assert not seeded.holds(ws.root, Wish(1))
    publish_newest(ws.control, ws.root, by="test")
    seeded.note(ws.root, Wish(1))
    assert seeded.holds(ws.root, Wish(1))


def test_another_schema_another_file_and_another_release_do_not_hold(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tunekeeper, "__version__", "0.0.0")
        assert not seeded.holds(ws.root, Wish(1))
    control = ws.path("control.db")
    shutil.copy2(control, control.with_name("copy.db"))
    control.with_name("copy.db").replace(control)
    assert not seeded.holds(ws.root, Wish(1))
    seeded.note(ws.root, Wish(1))
    with ws.state.write(by="test") as tx:
        tx.connection.change("update state_version set version_num = '0000'")
    assert not seeded.holds(ws.root, Wish(1))


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"wish": "?"}'])
def test_a_damaged_note_holds_for_nothing(ws: Workspace, text: str) -> None:
    (ws.root / "run" / seeded.FILE).write_text(text)
    assert not seeded.holds(ws.root, Wish(1))


def test_nothing_was_noted_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert not seeded.noted(tmp_path / "none")
    assert not seeded.holds(tmp_path / "none", Wish(1))


def test_a_note_after_seeding_says_that_seeding_again_would_change_nothing(tmp_path: Path) -> None:
    """The claim itself: where the note holds, the child that was saved would have left every row as it is."""
    (tmp_path / "g.yaml").write_text(FILE.format(upstream="http://127.0.0.1:9"))
    words = ["--root", str(tmp_path / "data"), "--config", str(tmp_path / "g.yaml")]
    assert seed.main(words) == 0
    ws = create_workspace(tmp_path / "data")
    set_route(ws, "desk", {"a": 4000, "b": 6000}, by="ann", override="test")
    assert not seeded.holds(ws.root, load_serve_file(tmp_path / "g.yaml"))
    assert seed.main(words) == 0
    assert seeded.holds(ws.root, load_serve_file(tmp_path / "g.yaml"))

    def rows() -> list[list[tuple[object, ...]]]:
        with ws.control.read() as tx:
            return [tx.connection.rows(f"select * from {table}") for table in ("routes", "slots", "promotions", "sequences")]

    before = rows()
    assert seed.main(words) == 0
    assert rows() == before


def test_the_second_start_of_serve_commits_nothing_and_a_changed_file_is_committed(tmp_path: Path) -> None:
    file, root = tmp_path / "g.yaml", tmp_path / "data"
    file.write_text(FILE.format(upstream="http://127.0.0.1:9"))
    words = ("serve", "--config", str(file), "--data", str(root), "--port", "0")

    def start() -> tuple[int, int, dict[str, object]]:
        with cli(*words) as process:
            event(process, "ready")
        note = root / "run" / seeded.FILE
        return note.stat().st_ino, note.stat().st_mtime_ns, json.loads(note.read_text())

    first, second = start(), start()
    assert second == first, "nobody wrote the note again"
    file.write_text(FILE.format(upstream="http://127.0.0.1:9").replace("route: {a: 10000}", "route: {b: 10000}"))
    third = start()
    assert third[2] != first[2]
    with create_workspace(root).control.read() as tx:
        assert load_route(tx, "desk").champion == "b"
