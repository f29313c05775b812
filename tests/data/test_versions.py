from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper import data
from tunekeeper.core.errors import ArtifactError, NotFound, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, versions
from tunekeeper.data.config import Config
from tunekeeper.data.erase import erase_data, erased_examples
from tunekeeper.data.examples import encode
from tunekeeper.store import backup
from tunekeeper.store.restore import restore
from tunekeeper.workspace import Workspace, open_workspace

MakeExample = Callable[..., Example]
SECTION = Config()


def test_a_version_is_found_by_every_name_it_has(ws: Workspace, task: Model, filled: list[Example]) -> None:
    version = data.freeze(ws, task, SECTION)
    assert [versions.resolve(ws, name, "desk") for name in ("desk/d1", "d1", "1", "latest")] == [version] * 4
    with pytest.raises(NotFound, match=r"no dataset version is called desk/d7; .* is desk/d1"):
        versions.resolve(ws, "desk/d7")
    with pytest.raises(UserError, match="which model's 'latest'"):
        versions.resolve(ws, "latest")
    with pytest.raises(NotFound, match="other has no dataset version"):
        versions.resolve(ws, "latest", "other")
    for name in ("", "desk/", "/d1", "/"):
        with pytest.raises(UserError, match=f"'{name}' names no dataset version"):
            versions.resolve(ws, name, "desk")
    with pytest.raises(UserError, match="the draft of desk is not a version yet"):
        versions.resolve(ws, "draft", "desk")


def test_the_summary_of_the_draft_counts_it_and_says_whether_it_changed(
    ws: Workspace, task: Model, filled: list[Example]
) -> None:
    assert (versions.ls(ws, "desk").changed, versions.ls(ws, "desk").parent) == (True, None)
    data.freeze(ws, task, SECTION)
    summary = versions.ls(ws, "desk")
    assert (summary.examples, summary.train, summary.eval, summary.changed, summary.parent) == (40, 36, 4, False, "desk/d1")
    assert sum(summary.topics.values()) == 40
    assert versions.ls(ws, "nobody").examples == 0


def test_a_checkout_has_the_frozen_bytes_and_overwrites_nothing_else(
    ws: Workspace, task: Model, filled: list[Example], tmp_path: Path
) -> None:
    version = data.freeze(ws, task, SECTION)
    _, (train, held) = versions.checkout(ws, "desk/d1", tmp_path / "out")
    for path, side in ((train, "train"), (held, "eval")):
        assert path.read_bytes() == b"".join(encode(e) for e in filled if e.split == side)
    assert versions.checkout(ws, "desk/d1", tmp_path / "out")[0] == version
    held.write_text("mine")
    with pytest.raises(UserError, match=r"eval\.jsonl exists and is something else"):
        versions.checkout(ws, "desk/d1", tmp_path / "out")
    assert held.read_text() == "mine"


def test_a_damaged_or_missing_blob_is_told(ws: Workspace, task: Model, filled: list[Example], tmp_path: Path) -> None:
    version = data.freeze(ws, task, SECTION)
    (path,) = [ws.blobs.path(pack) for pack in ws.rows.open(version.manifest or "").manifest.packs]
    path.chmod(0o644)
    whole = path.read_bytes()
    for broken in (b"{}\n", whole[:-1] + bytes([whole[-1] ^ 1]), whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        path.write_bytes(broken)
        with pytest.raises(ArtifactError, match="damaged"):
            versions.checkout(ws, "desk/d1", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    path.unlink()
    with pytest.raises(NotFound, match=r"blob sha256:.* is not in this workspace") as caught:
        list(versions.read_examples(ws, version))
    assert caught.value.fix == "restore it from a backup"


def test_a_backup_carries_the_rows_and_what_was_erased_of_them(
    ws: Workspace, task: Model, row: MakeExample, tmp_path: Path
) -> None:
    rows = [row(f"q{n}", "x", id=f"t{n}", user_id=f"u{n}") for n in range(5)]
    drafts.save_draft(ws, "desk", [*rows[:4], replace(rows[4], split="eval")])
    version = data.freeze(ws, task, SECTION)
    erase_data(ws, set(), "u2")
    made = backup.create(ws.root, tmp_path / "b.tar.zst", ws.clock, product="1.0")
    restore(made.file, tmp_path / "again", ws.clock.utc())
    again = open_workspace(tmp_path / "again", clock=ws.clock)
    assert [e.id for e in versions.read_examples(again, version.id)] == ["t0", "t1", "t3", "t4"]
    assert (erased_examples(again, version), again.blobs.damaged()[1]) == (1, [])
