from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.errors import Busy
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, drafts, filerows
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
Tickets = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def draft(ws: Workspace, row: MakeExample, tickets: Tickets) -> Path:
    """A draft with every kind of row that is wrong only beside another one."""
    texts = tickets(120)
    rows = [row(text, answer, id=f"t{i}", conversation_id=f"c{i}", user_id=f"u{i}") for i, (text, answer) in enumerate(texts)]
    rows = [replace(e, split="eval" if i % 4 == 0 else "train") for i, e in enumerate(rows)]
    long = "Since Monday the courier of your partner in {} has not come to our office with the two parcels that I ordered in May"
    rows += [
        row(texts[1][0], texts[1][1], id="copy"),
        row(texts[2][0] + "!", "another answer than before, at some length", id="against"),
        row(long.format("Oslo"), "It comes on Friday, the courier says.", id="near1"),
        replace(row("Please: " + long.format("Oslo"), "It comes on Friday, the courier says.", id="near2"), split="eval"),
        row("Something else about the old garden", "ok", id="talk", conversation_id="c4"),
        row("Something new about the tall tower", "ok", id="user", user_id="u8"),
        row(texts[0][0].upper(), texts[0][1], id="leak"),
    ]
    drafts.save_draft(ws, "desk", rows)
    return drafts.folder(ws, "desk") / "draft.jsonl"


def test_rows_are_read_by_their_place_and_again_and_again(draft: Path) -> None:
    rows, held = filerows.FileRows(draft), list(filerows.read_file(draft))
    assert (len(rows), list(rows), list(rows)) == (127, held, held)
    assert (rows[0], rows[126], rows[-1], rows[3:5]) == (held[0], held[126], held[-1], held[3:5])
    assert filerows.rows_of(draft) == held, "few rows are held"
    assert filerows.rows_of(draft.with_name("none.jsonl")) == []


def test_few_rows_are_not_held_either_where_they_are_long(draft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filerows, "HELD", draft.stat().st_size - 1)
    assert isinstance(filerows.rows_of(draft), filerows.FileRows)
    monkeypatch.setattr(filerows, "HELD", draft.stat().st_size)
    assert isinstance(filerows.rows_of(draft), list)


def test_a_draft_that_changes_meanwhile_is_not_read_by_the_places_of_the_old_one(ws: Workspace, draft: Path) -> None:
    rows = filerows.FileRows(draft)
    drafts.save_draft(ws, "desk", list(rows)[1:])
    with pytest.raises(Busy, match="changed while it was read"):
        list(rows)
    with pytest.raises(Busy, match="changed while it was read"):
        rows[0]


def test_what_is_compared_on_disk_is_what_is_compared_in_memory(
    ws: Workspace, task: Model, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = checks.check(ws, task, Config())
    monkeypatch.setattr(filerows, "MANY", 100)
    streamed = checks.check(ws, task, Config())
    assert isinstance(filerows.rows_of(draft), filerows.FileRows)
    assert set(streamed.findings) == set(held.findings)
    assert replace(streamed, findings=(), kinds=()) == replace(held, findings=(), kinds=())
    told = {(f.kind, f.id) for f in held.findings}
    assert {("exact_duplicate", "copy"), ("near_duplicate", "near2"), ("contradiction", "against")} <= told
    assert {("leak", "talk"), ("leak", "user"), ("leak", "leak"), ("leak", "near1")} <= told


def test_what_a_suite_shares_with_rows_on_disk_is_what_it_shares_with_them_in_memory(
    ws: Workspace, task: Model, draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = tmp_path / "suite.jsonl"
    asked = [row.messages[1]["content"] for row in filerows.read_file(draft)]
    texts = [*asked[5:9], f"Please: {asked[123]}", "When does the bakery in the harbour open on a holiday?"]
    made = ({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "?"}]} for text in texts)
    suite.write_text("".join(f"{json.dumps(each | {'user_id': 'u8'})}\n" for each in made))
    held = checks.check(ws, task, Config(), against=suite)
    monkeypatch.setattr(filerows, "MANY", 100)
    streamed = checks.check(ws, task, Config(), against=suite)
    assert set(streamed.findings) == set(held.findings)
    assert streamed.covered == held.covered is not None
    assert {f.topic for f in held.findings if f.kind == "leak" and "suite.jsonl" in f.detail} == {"exact", "near", "user"}
    assert held.counts["uncovered"] > 0


def test_a_rows_answers_are_read_whole_only_where_they_may_contradict(draft: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = filerows.FileRows.__getitem__

    def counted(self: filerows.FileRows, index: int) -> Example:
        read.append(index)
        return real(self, index)

    monkeypatch.setattr(filerows.FileRows, "__getitem__", counted)
    filerows.compared(filerows.FileRows(draft), Config())
    assert 0 < len(set(read)) < 40
