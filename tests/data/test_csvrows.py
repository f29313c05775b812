from __future__ import annotations

import csv
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import data
from tunekeeper.core.nouns.data import Example
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.data import drafts
from tunekeeper.data.config import Config
from tunekeeper.data.csvrows import BOM, FORMULA, HEADER, guarded, unguarded
from tunekeeper.data.exports import export
from tunekeeper.workspace import Workspace, create_workspace

MakeExample = Callable[..., Example]
KEEP = Config(
    redact=(),
    answer_equals_prompt="flag",
    truncated="flag",
    refusals="flag",
    mojibake="flag",
    template_leak="flag",
    contradictions="flag",
)
SIGNS = [*"=+-@\t\r\n'\"`,;|a Z0é日😀\\#\u00a0＝", "=cmd|' /C calc'!A0", "\r\n", '""', "''", "=1+1", "-5", "+49", "@SUM(A1)"]


@pytest.mark.parametrize(
    "value", ["=1+1", "+49 30 1", "-5", "@a", "\t=1", "\rx", "'=1", "''-", "'", "it's", " =1", "", "-", "a=b", "'a", "’=1"]
)
def test_a_cell_never_begins_like_a_formula_and_gives_its_value_back(value: str) -> None:
    assert not guarded(value).startswith(FORMULA)
    assert unguarded(guarded(value)) == value
    assert (guarded(value) == value) is not value.lstrip("'").startswith(FORMULA)


def test_any_text_comes_back_as_it_was(ws: Workspace, task: Model, row: MakeExample, tmp_path: Path) -> None:
    rng = random.Random(51)
    rows = []
    for i in range(400):
        prompt, answer, note = ("".join(rng.choices(SIGNS, k=rng.randint(1, 9))) for _ in range(3))
        made = row(
            f"{prompt}{i}", f"{answer}x", id=f"-{i}", category=rng.choice(("=a", "b")), note=note, n=i, deep={"a": [None, 1.5]}
        )
        messages = made.messages
        if i % 3 == 0:
            messages = (
                *messages,
                {"role": "user", "content": f"@{prompt} and?"},
                {"role": "assistant", "content": f"={answer}y"},
            )
        if i % 5 == 0:
            messages = ({"role": "system", "content": f"={note}."}, *messages[1:])
        rows.append(replace(made, messages=messages, weight=0.5 if i % 7 == 0 else 1.0))
    drafts.save_draft(ws, "desk", rows)
    out = tmp_path / "rows.csv"
    assert export(ws, "draft", "csv", "all", out, model="desk") == 400
    with out.open(encoding="utf-8", newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert len(cells) == 401 * len(HEADER)
    assert [cell for cell in cells if cell.startswith(FORMULA)] == []
    other = create_workspace(tmp_path / "other")
    done = data.import_files(other, Model(name="desk"), KEEP, [out])
    back = {e.id: e for e in drafts.load_draft(other, "desk")}
    assert (done.added, done.dropped) == (400, {})
    assert {id: (e.messages, e.metadata, e.weight) for id, e in back.items()} == {
        e.id: (e.messages, {**e.metadata, "id": e.id}, e.weight) for e in rows
    }


def test_what_a_person_changes_in_the_sheet_is_what_comes_in(
    ws: Workspace, task: Model, row: MakeExample, tmp_path: Path
) -> None:
    one = row("first?", "1", id="a")
    long = replace(
        one, id="b", messages=(*one.messages, {"role": "user", "content": "more?"}, {"role": "assistant", "content": "2"})
    )
    drafts.save_draft(ws, "desk", [one, long])
    out = tmp_path / "rows.csv"
    export(ws, "draft", "csv-excel", "all", out, model="desk")
    assert out.read_bytes().startswith(BOM)
    with out.open(encoding="utf-8-sig", newline="") as file:
        table: list[dict[str, Any]] = list(csv.DictReader(file))
    table[0]["assistant"], table[1]["assistant"] = "=corrected", "=also\r\ncorrected"
    table[1]["reviewer"] = "ana"
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*HEADER, "reviewer"], delimiter=";")
        writer.writeheader()
        writer.writerows(table)
    other = create_workspace(tmp_path / "other")
    data.import_files(other, task, KEEP, [out])
    found = {e.id: e for e in drafts.load_draft(other, "desk")}
    assert found["a"].messages[-1]["content"] == "=corrected"
    assert [m["content"] for m in found["b"].messages[1:]] == ["first?", "1", "more?", "=also\r\ncorrected"]
    assert found["b"].metadata == {"id": "b", "reviewer": "ana"}


def test_calls_of_tools_come_back_and_a_broken_cell_is_named(
    ws: Workspace, task: Model, row: MakeExample, tmp_path: Path
) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": "{}"}}]}
    plain = row("a?", "b", id="t")
    messages = (*plain.messages[:2], call, {"role": "tool", "tool_call_id": "c", "content": "=ok"}, plain.messages[2])
    whole = replace(plain, messages=messages, tools=({"type": "function", "function": {"name": "look"}},))
    drafts.save_draft(ws, "desk", [whole])
    out = tmp_path / "rows.csv"
    export(ws, "draft", "csv", "all", out, model="desk")
    other = create_workspace(tmp_path / "other")
    data.import_files(other, task, KEEP, [out])
    (back,) = drafts.load_draft(other, "desk")
    assert (back.messages, back.tools) == (messages, whole.tools)
    text = out.read_text().replace('""look""', '""look"",,')
    broken = tmp_path / "broken.csv"
    broken.write_text(text + ",".join(f'"{name}"' for name in ("x", "", "", "", "", "why?", "so", "", "", "", "", "")) + "\n")
    done = data.import_files(other, task, KEEP, [broken])
    assert (done.added, done.dropped) == (1, {"broken": 1})
    assert done.broken[0].startswith("broken.csv:2: not JSON at column")
