from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, drafts, judged, leaking
from tunekeeper.data.config import Config
from tunekeeper.workspace import Workspace

MakeExample = Callable[..., Example]
Tickets = Callable[..., list[tuple[str, str]]]
SHOWN = "tunekeeper data check --model desk --only leak"


@pytest.fixture
def rows(row: MakeExample, tickets: Tickets) -> list[Example]:
    """40 rows, the last four held out, four users on both sides."""
    made = [row(text, answer, id=f"t{n}", user_id=n + 1 if n < 36 else n - 35) for n, (text, answer) in enumerate(tickets(40))]
    return [replace(each, split="train" if n < 36 else "eval") for n, each in enumerate(made)]


@pytest.fixture
def suite(tmp_path: Path, rows: list[Example], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cases that ask what five rows to learn from and a held-out one do, and something else."""
    monkeypatch.chdir(tmp_path)
    asked = [rows[n].messages[-2]["content"] for n in (1, 3, 5, 7, 9, 37)] + ["What is the capital of Norway?"]
    cases = [{"id": f"c{n}", "messages": [{"role": "user", "content": text}], "expected": "x"} for n, text in enumerate(asked)]
    path = tmp_path / "core.yaml"
    path.write_text(json.dumps({"model": "desk", "cases": cases}))
    return path


def warnings(ws: Workspace, task: Model, **options: Any) -> list[str]:
    return [
        text for text in data.freeze(ws, task, Config(), **options).report["warnings"] if "stand in" in text or "leak" in text
    ]


def test_a_freeze_counts_the_rows_that_give_held_out_ones_away(ws: Workspace, task: Model, rows: list[Example]) -> None:
    drafts.save_draft(ws, "desk", rows)
    assert warnings(ws, task) == [f"4 rows to learn from give held-out ones away: {SHOWN}"]
    assert checks.check(ws, task, Config(), only="leak").counts == {"leak": 4}


def test_a_freeze_counts_the_rows_that_stand_in_the_suite(ws: Workspace, task: Model, rows: list[Example], suite: Path) -> None:
    drafts.save_draft(ws, "desk", [replace(row, metadata={}) for row in rows])
    told = "5 rows to learn from stand in core.yaml: tunekeeper data check --model desk --against core.yaml --only leak"
    assert warnings(ws, task, suite=suite) == [told]


def test_a_sound_draft_is_frozen_without_a_word_about_leaks(
    ws: Workspace, task: Model, filled: list[Example], suite: Path
) -> None:
    assert warnings(ws, task) == []


def test_a_suite_that_cannot_be_read_stops_no_freeze(ws: Workspace, task: Model, filled: list[Example], suite: Path) -> None:
    suite.write_text("cases: [")
    [said] = warnings(ws, task, suite=suite)
    assert said.startswith("nobody looked for leaks into core.yaml: ")


def test_of_a_draft_that_nobody_compared_what_is_the_same_counts_and_of_a_large_one_some_rows(
    ws: Workspace, task: Model, rows: list[Example], suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts.save_draft(ws, "desk", rows)
    monkeypatch.setattr(judged, "FEW", 10)
    inside, into = warnings(ws, task, suite=suite)
    assert inside == f"4 rows to learn from give held-out ones away: {SHOWN}"
    assert into.startswith("5 rows to learn from stand in core.yaml")
    monkeypatch.setattr(leaking, "HELD", 10)
    monkeypatch.setattr(judged, "HELD", 10)
    monkeypatch.setattr(judged, "SAMPLE", 50)
    drafts.save_draft(ws, "desk", rows[1:])
    assert [said.partition(":")[0] for said in warnings(ws, task, suite=suite)] == [
        "5 rows to learn from of 35 that were looked at stand in core.yaml"
    ]
