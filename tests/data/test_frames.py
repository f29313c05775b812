from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import checks, drafts, frames
from tunekeeper.data.config import Config
from tunekeeper.data.frames import without_frames
from tunekeeper.workspace import Workspace

Tickets = Callable[..., list[tuple[str, str]]]
Write = Callable[[str, Any], Path]
BEFORE = " ".join(f"Rule {n}: read the whole ticket before you choose its category." for n in range(1, 31)) + "\n\nTicket: "
BEHIND = "\n\n" + " ".join(f"Note {n}: answer with one word and with nothing else." for n in range(1, 31))


def test_what_many_texts_begin_or_end_with_is_taken_off() -> None:
    asked = [f"{n} is not {n + 1}" for n in range(40)]
    assert list(without_frames(f"{BEFORE}{text}{BEHIND}" for text in asked)) == asked
    assert list(without_frames(f"{BEFORE}{text}" for text in asked)) == asked
    assert list(without_frames([*asked, BEFORE])) == [*asked, BEFORE]
    assert list(without_frames(iter(()))) == []


def test_what_few_share_and_a_short_opening_stay() -> None:
    few = [f"{BEFORE}{n}" for n in range(frames.LEAST_TEXTS - 1)]
    short = [f"Hello, my parcel with the number {n} has not arrived yet, please help." for n in range(100)]
    assert list(without_frames([*few, *short])) == [*few, *short]


def test_one_long_text_over_and_over_is_no_frame_of_a_number(tickets: Tickets) -> None:
    spam = [f"{BEFORE} order {n}" for n in range(40)]
    assert list(without_frames(spam)) == spam
    chinese = "请先阅读全部规则再选择类别。" * 30
    asked = ["我的包裹在哪里", "退款什么时候到", "密码忘记了怎么办"] * 10
    assert list(without_frames(f"{chinese}{text}" for text in asked)) == asked


def test_a_text_that_leaves_a_frame_early_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = BEFORE[:700] + "and so on and on, " * 40
    asked = [f"{n} is it" for n in range(30)]
    assert list(without_frames([*(f"{BEFORE}{text}" for text in asked), odd]))[:30] == asked
    monkeypatch.setattr(frames, "BLOCK", 31)
    later = list(without_frames([*(f"{BEFORE}{text}" for text in asked), odd, *(f"{BEFORE}{text}" for text in asked[:3])]))
    assert later[31:] == asked[:3], "a frame is known in the blocks behind"


@pytest.mark.parametrize("frame", [BEFORE[-600:], BEFORE])
def test_rows_under_one_long_instruction_are_held_out_and_give_nothing_away(
    ws: Workspace, task: Model, write: Write, tickets: Tickets, frame: str
) -> None:
    rows = [{"prompt": frame + text, "answer": answer, "id": f"t{i}"} for i, (text, answer) in enumerate(tickets(60))]
    near = {"prompt": f"{frame}{tickets(60)[7][0]} Thanks", "answer": json.dumps({"category": "other"}), "id": "near"}
    data.import_files(ws, task, Config(contradictions="flag"), [write("rows.jsonl", [*rows, near])])
    sides = {row.id: row.split for row in drafts.load_draft(ws, task.name)}
    assert list(sides.values()).count("eval") == 6
    assert sides["near"] == sides["t7"]
    told = {f.kind for f in checks.check(ws, task, Config()).findings if f.id not in ("near", "t7")}
    assert not told & {"leak", "near_duplicate", "contradiction"}
    assert data.freeze(ws, task, Config()).eval == 6
