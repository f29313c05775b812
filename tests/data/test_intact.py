from __future__ import annotations

from dataclasses import replace
from typing import Any

from tunekeeper import data
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts, intact, versions
from tunekeeper.data.config import Config
from tunekeeper.data.erase import erase_data
from tunekeeper.workspace import Workspace


def frozen(ws: Workspace, task: Model, row: Any) -> str:
    """The manifest of a version of four rows, one of them held out, which the draft holds too."""
    rows = [replace(row(f"q{i}", "a", id=f"t{i}", user_id=f"u{i}"), split="eval" if i == 0 else "train") for i in range(4)]
    drafts.save_draft(ws, "desk", rows)
    return data.freeze(ws, task, Config()).manifest or ""


def test_nothing_is_wrong_with_what_was_frozen_nor_once_a_row_of_it_was_erased(ws: Workspace, task: Model, row: Any) -> None:
    frozen(ws, task, row)
    assert intact.damage(ws) == []
    erase_data(ws, set(), "u2")
    assert [each.id for each in versions.read_examples(ws, "desk/d1")] == ["t1", "t3", "t0"]
    assert intact.damage(ws) == []


def test_a_version_without_its_manifest_and_lines_that_are_no_reports_are_named(ws: Workspace, task: Model, row: Any) -> None:
    manifest = frozen(ws, task, row)
    ws.blobs.path(manifest).unlink()
    drafts.write_whole(ws.path("data", "desk", "reports", "import_1.jsonl"), [b'{"kind":"empty"}\n', b"[]\n", b"{"])
    assert intact.damage(ws) == [
        f"desk/d1: blob {manifest} is not in this workspace",
        "data/desk/reports/import_1.jsonl: line 2 is damaged",
        "data/desk/reports/import_1.jsonl: line 3 is damaged",
    ]
