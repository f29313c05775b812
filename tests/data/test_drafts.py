from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError, DiskFull, UserError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data import drafts
from tunekeeper.data.erase import erase_data
from tunekeeper.data.findings import Finding
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]


def test_a_draft_comes_back_as_it_was_saved(ws: Workspace, row: MakeExample) -> None:
    rows = [row("Ünïcode \u2028 line\nend", "x", id="a", nested={"b": [1, None]}), row("b", "y")]
    drafts.save_draft(ws, "desk", rows)
    assert drafts.load_draft(ws, "desk") == rows
    assert drafts.load_draft(ws, "other") == []


def test_a_row_that_is_no_json_leaves_the_old_draft_and_no_litter(ws: Workspace, row: MakeExample) -> None:
    drafts.save_draft(ws, "desk", [row("a", "b")])
    with pytest.raises(DataError, match="row bad: cannot be written as JSON"):
        drafts.save_draft(ws, "desk", [row("c", "d"), row("e", "f", id="bad", odd=object())])
    assert [e.messages[1]["content"] for e in drafts.load_draft(ws, "desk")] == ["a"]
    assert [path.name for path in drafts.folder(ws, "desk").iterdir()] == ["draft.jsonl"]


def test_what_a_killed_writer_left_half_written_goes_with_the_next_change_before_an_erasure_would_miss_it(ws: Workspace) -> None:
    place = drafts.folder(ws, "desk")
    for name in ("draft", "findings", "worklog", "origin", "collected", "reports/import_1"):
        path = place / f"{name}.jsonl"
        part = path.with_name(f".{path.name}.17.0123abcd")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text('{"id": "a", "row": {"metadata": {"user_id": "u-17"}}}')
    erase_data(ws, set(), "u-17")
    assert [path.name for path in place.rglob("*") if path.is_file()] == ["lock"]


def test_a_place_where_no_file_can_be_is_one_line_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for path, why in ((tmp_path / "file" / "x", "cannot be written: Not a directory"), (tmp_path / "folder", "is a folder")):
        with pytest.raises(UserError, match=why):
            drafts.write_whole(path, [b"new"])
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_is_one_line_and_leaves_the_old_draft(
    ws: Workspace, row: MakeExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts.save_draft(ws, "desk", [row("a", "b")])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=r"no room left for draft\.jsonl"):
        drafts.save_draft(ws, "desk", [])
    assert len(drafts.load_draft(ws, "desk")) == 1


def test_findings_come_back_with_the_row_that_was_dropped(ws: Workspace) -> None:
    found = Finding(kind="empty", id="a", file="x.jsonl", line=3, detail="nothing")
    lines: list[dict[str, Any]] = [*drafts.rows_of([found]), *drafts.rows_of([found], action="dropped")]
    drafts.save_findings(ws, "desk", [{**line, "row": {"messages": []}} for line in lines])
    stored = drafts.load_findings(ws, "desk")
    assert [drafts.to_finding(line) for line in stored] == [found, found]
    assert [line["action"] for line in stored] == ["flagged", "dropped"]
    assert drafts.identity(stored[0]) == drafts.identity(stored[1])


def test_a_file_beside_the_draft_stays_while_its_reader_lives_and_goes_with_it(ws: Workspace) -> None:
    path = drafts.folder(ws, "desk") / "draft.jsonl"
    with drafts.beside(path, [b"a", b"b"]) as copy, drafts.locked(ws, "desk"):
        assert copy.read_bytes() == b"ab"
    assert [each.name for each in path.parent.iterdir()] == ["lock"]
