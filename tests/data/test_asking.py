from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.data.asking import confirmed
from tunekeeper.data.formats import read_rows

TABLE = "id,question,text,answer,mood\n1,How?,long text,So.,calm\n2,Why?,other,Because.,\n3,When?,more,Now.,\n4,Who?,none,Me.,\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    return path


def answering(*answers: str) -> Callable[[str], str]:
    found: Iterator[str] = iter(answers)
    return lambda question: next(found)


def test_a_guess_is_shown_with_three_rows_and_with_what_is_unsure(table: Path) -> None:
    said: list[str] = []
    confirmed([table], {}, answering("y"), said.append)
    assert said == [
        "t.csv: columns would be read as",
        "  user       question",
        "  assistant  answer",
        "  id         id",
        "  unsure: user could be question, text",
        "  kept beside each row: text, mood",
        "row 2",
        "  user       How?",
        "  assistant  So.",
        "row 3",
        "  user       Why?",
        "  assistant  Because.",
        "row 4",
        "  user       When?",
        "  assistant  Now.",
    ]


def test_where_nothing_is_recognised_the_rows_show_what_each_column_holds(tmp_path: Path) -> None:
    table, said, asked = tmp_path / "t.csv", list[str](), list[str]()
    table.write_text("Anfrage (neu);Erwiderung\nWo ist es?;Hier.\nWarum?;Darum.\n")
    told: Iterator[str] = iter(["user=Anfrage (neu)", "assistant=Erwiderung", "n"])

    def ask(question: str) -> str:
        asked.append(question)
        return next(told)

    with pytest.raises(UserError, match="not confirmed") as refused:
        confirmed([table], {}, ask, said.append)
    assert refused.value.fix == "--map 'user=Anfrage (neu)' --map assistant=Erwiderung"
    assert [question.partition("?")[0] for question in asked] == [
        "which column is user",
        "which column is assistant",
        "is that right",
    ]
    assert said[:9] == [
        "t.csv: which columns are what?",
        "  missing: no column looks like user",
        "  missing: no column looks like assistant",
        "  kept beside each row: Anfrage (neu), Erwiderung",
        "row 2",
        "  Anfrage (neu)  Wo ist es?",
        "  Erwiderung     Hier.",
        "row 3",
        "  Anfrage (neu)  Warum?",
    ]


def test_a_yes_takes_the_guess_and_an_edit_changes_it(table: Path) -> None:
    said: list[str] = []
    whole = {"user": "question", "assistant": "answer", "id": "id"}
    assert confirmed([table], {}, answering("y"), said.append) == {table: whole}
    changed = confirmed([table], {}, answering("user=Text", "category=mood", "YES"), said.append)
    assert changed == {table: {**whole, "user": "text", "category": "mood"}}


def test_an_answer_that_makes_no_sense_is_explained_and_asked_again(table: Path) -> None:
    said: list[str] = []
    confirmed([table], {}, answering("usr=text", "user=nothing", "perhaps", "y"), said.append)
    fields = "user, assistant, system, context, id, created, category, said_by, said_at"
    assert f"no field is called 'usr'; fields are: {fields}" in said
    assert "t.csv: no column 'nothing' for 'user'; columns are: id, question, text, answer, mood" in said
    assert "answer y, n, or for instance user=id" in said


def test_a_missing_column_must_be_named_before_yes_is_a_yes(tmp_path: Path) -> None:
    path, said = tmp_path / "t.csv", list[str]()
    path.write_text("Body,answer\nHow?,So.\n")
    assert confirmed([path], {}, answering("y", "user=Body", "y"), said.append) == {path: {"user": "Body", "assistant": "answer"}}
    assert "  missing: no column looks like user" in said
    assert "which column is user? answer user=COLUMN" in said


def test_a_no_imports_nothing_and_says_how_to_go_on(table: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv: not confirmed, nothing was imported") as caught:
        confirmed([table], {}, answering("n"), lambda line: None)
    assert caught.value.fix == "--map user=question --map assistant=answer"


def test_nothing_is_asked_where_rows_say_what_they_are_or_all_is_told(table: Path, tmp_path: Path) -> None:
    chat = tmp_path / "c.jsonl"
    chat.write_text(json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    alpaca = tmp_path / "a.csv"
    alpaca.write_text("instruction,input,output\nDo it,now,done\n")
    assert confirmed([chat, alpaca, Path("-")], {}, answering(), lambda line: None) == {}
    assert confirmed([table], {"user": "text", "assistant": "answer"}, answering(), lambda line: None) == {}


def test_rows_of_json_with_columns_of_their_own_are_asked_about_too(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('nonsense\n{"prompt": "a", "message": "b", "answer": "c"}\n')
    said: list[str] = []
    assert confirmed([path], {}, answering("y"), said.append) == {path: {"user": "prompt", "assistant": "answer"}}
    assert {"  unsure: user could be prompt, message", "row 2"} <= set(said)


@pytest.mark.parametrize(
    ("header", "told", "open_"),
    [
        ("question,text,answer", {}, "more than one column could be 'user': question, text"),
        ("question,answer,response", {}, "more than one column could be 'assistant': answer, response"),
        ("question,text,answer", {"user": "text"}, ""),
        ("user,text,answer", {}, ""),
        ("instruction,context,response,category", {}, ""),
    ],
)
def test_without_a_terminal_a_guess_is_used_only_where_it_is_sure(
    tmp_path: Path, header: str, told: dict[str, str], open_: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(header + "\n" + ",".join("abcd"[: header.count(",") + 1]) + "\n")
    if not open_:
        assert [row.broken for row in read_rows(path, told)] == [""]
        return
    with pytest.raises(DataError, match=open_) as caught:
        list(read_rows(path, told))
    assert str(caught.value.fix).startswith("--map ")
    rows: list[Any] = [dict.fromkeys(header.split(","), "x")]
    flat = tmp_path / "t.jsonl"
    flat.write_text(json.dumps(rows[0]))
    [row] = read_rows(flat)
    assert row.broken == f"{open_}: {caught.value.fix}"
