from __future__ import annotations

import gzip
import io
import json
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data import formats, tables
from tunekeeper.data.formats import read_rows, read_stdin

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
Write = Callable[[str, Any], Path]


def troubles(path: Path, mapping: dict[str, str] | None = None) -> list[tuple[int, str]]:
    return [(row.line, row.broken) for row in read_rows(path, mapping) if row.broken]


def test_broken_lines_are_reported_with_their_number_and_the_others_are_read(write: Write) -> None:
    lines = [GOOD, "not json", "", GOOD, '{"messages": [', b'{"prompt": "\xff"}', '{"a": NaN}', "[1]", b'{"a": "\x00"}']
    found = list(read_rows(write("rows.jsonl", lines)))
    assert [row.line for row in found if row.conversation] == [1, 4]
    assert [(row.line, row.broken.split(":")[0]) for row in found if row.broken] == [
        (2, "not JSON at column 1"),
        (5, "not JSON at column 15"),
        (6, "not UTF-8 at byte 13"),
        (7, "not JSON"),
        (8, "a row must be an object, not list"),
        (9, "a NUL character at column 8"),
    ]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "x" / "t.jsonl", tmp_path / "b" / "x" / "t.jsonl", tmp_path / "u.jsonl"]
    assert list(formats.names_of([*paths, paths[0]]).values()) == ["a/x/t.jsonl", "b/x/t.jsonl", "u.jsonl"]


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_with_its_mark_and_without(tmp_path: Path, code: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("question,answer\nWo ist Größe 8?,Im 3. Stock 🏨\n".encode(code))
    [row] = read_rows(path)
    assert row.conversation is not None
    assert [message["content"] for message in row.conversation.messages] == ["Wo ist Größe 8?", "Im 3. Stock 🏨"]


def test_a_first_line_of_brackets_is_a_broken_row_and_no_list(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[" * 100_000 + b"\n" + json.dumps(GOOD).encode() + b"\n")
    assert [bool(row.broken) for row in read_rows(path)] == [True, False]


def test_a_pipe_is_told_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="a pipe or a device, not a file"):
        list(read_rows(tmp_path / "rows.jsonl"))
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "gone.jsonl"))


def test_a_byte_order_mark_does_not_matter(write: Write) -> None:
    path = write("rows.jsonl", [b"\xef\xbb\xbf" + json.dumps(GOOD).encode()])
    assert troubles(path) == []


def test_a_giant_line_is_skipped_without_being_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LINE_LIMIT", 1 << 20)
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        for _ in range(40):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + json.dumps(GOOD).encode())
    tracemalloc.start()
    found = list(read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(row.line, row.broken) for row in found] == [(1, "the line is longer than 1 MB"), (2, "")]
    assert peak < 8 << 20


def test_a_nested_bomb_and_a_row_of_ten_thousand_messages_are_refused(write: Write) -> None:
    many = {"messages": [{"role": "user", "content": "x"}] * 10_000}
    brackets = {"messages": [{"role": "user", "content": "[" * 200 + '\\"{'}, {"role": "assistant", "content": "ok"}]}
    path = write("rows.jsonl", ["[" * 100_000 + "]" * 100_000, many, brackets])
    assert troubles(path) == [
        (1, "lists and objects are nested more than 64 deep"),
        (2, "10000 messages, at most 2000 are allowed"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b"", "the file is empty"),
        ("rows.jsonl", gzip.compress(b"x" * 100, mtime=0), "this is gzip data, not text"),
        ("rows.csv", b"PK\x03\x04zip", "this is a zip archive, not text"),
        ("rows.csv", b"\xff\xfea\x00\x00\xd8a\x00", "the text is neither UTF-8 nor UTF-16"),
        ("rows.json", b'{"messages": ', "not JSON at column"),
        ("rows.json", b'"text"', "one list of rows, not str"),
        ("rows.xml", b"<a/>", "no reader for '.xml'"),
        ("rows.xlsx", b"PK\x03\x04", "rows.xlsx: not a zip archive, or one that is cut off"),
        ("rows.xlsx", b"\xd0\xcf\x11\xe0", "rows.xlsx: not an XLSX workbook, or one behind a password"),
        ("rows.ods", b"PK\x03\x04", "rows.ods: a spreadsheet in .ods is not read"),
        ("rows.json", b'[{"a": 1}, {"b"', "not JSON: the list does not end, row 2 is cut off"),
        ("rows.csv", b"user,assistant,assistant\na,b,c\n", "rows.csv: two columns are called 'assistant'"),
        ("rows.csv", b"user,assistant\ra,b\r", "rows.csv: its lines end in a carriage return alone"),
        ("rows.json", b"[1] [2]", "not JSON: text after the end of the list"),
        ("rows.csv", b"foo,bar\n1,2\n", r"no column for 'user' .*columns are: foo, bar"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_rows(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        list(read_rows(tmp_path / "nowhere.csv"))


def test_a_list_in_one_json_file_is_read_as_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([GOOD, {"messages": 3}]))
    assert [(row.line, bool(row.conversation)) for row in read_rows(path)] == [(1, True), (2, False)]


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("csv", ";"), ("csv", "|"), ("tsv", "\t")])
def test_tables_are_read_with_cells_over_several_lines_and_the_line_a_row_begins_on(
    tmp_path: Path, suffix: str, mark: str
) -> None:
    path = tmp_path / f"rows.{suffix}"
    lines = ["id,ticket,answer", '1,"two\nlines",yes', "2,short", "", "3,last,no"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).replace(",", mark).encode())
    found = list(read_rows(path))
    assert [(row.line, row.conversation.messages[0]["content"] if row.conversation else row.broken) for row in found] == [
        (2, "two\nlines"),
        (4, "2 cells, the header has 3 columns"),
        (6, "last"),
    ]


def test_damaged_cells_are_reported_and_do_not_end_the_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"prompt,answer\nnul\x00,x\ncaf\xe9,x\nfine,x\n")
    assert troubles(path) == [(2, "a NUL character at column 4"), (3, "not UTF-8")]


def test_a_mapping_applies_to_json_rows_as_well(write: Write) -> None:
    path = write("rows.jsonl", [{"q": "Hi", "a": "Hello"}, {"q": "Hi"}])
    found = list(read_rows(path, {"user": "q", "assistant": "a"}))
    assert found[0].conversation is not None
    assert found[1].broken == "no column 'a' for 'assistant'; columns are: q"


def test_a_list_is_read_row_by_row_wherever_the_pieces_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(7)
    path = tmp_path / "rows.json"
    odd = ["a,]b", 'q"\\', "é\\", "]}{[", "line\nend"]
    for piece in (1, 3, 64):
        monkeypatch.setattr(formats, "_PIECE", piece)
        said = [rng.choice(odd) + str(number) for number in range(8)]
        rows = [{"prompt": text, "answer": text, "more": [[1, {"x": text}], None]} for text in said]
        path.write_text(json.dumps(rows, indent=rng.choice([None, 2]), ensure_ascii=piece == 3))
        found = list(read_rows(path))
        assert [row.conversation.messages[0]["content"] for row in found if row.conversation] == said


def test_a_list_with_a_giant_row_is_refused_without_being_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LINE_LIMIT", 1 << 20)
    path = tmp_path / "rows.json"
    with path.open("wb") as file:
        file.write(b"[" + json.dumps(GOOD).encode() + b', {"prompt": "')
        for _ in range(40):
            file.write(b"x" * (1 << 20))
        file.write(b'"}]')
    tracemalloc.start()
    with pytest.raises(DataError, match=r"rows\.json: row 2 is longer than 1 MB"):
        list(read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD) + "\n" + json.dumps(GOOD) + "\n",
        json.dumps([GOOD, GOOD]),
        json.dumps([GOOD, GOOD], indent=1),
        json.dumps({"object": "list", "data": [GOOD, GOOD]}, indent=1),
        "\ufeffprompt;answer\nHi;Hello\nHi;Hello\n",
    ],
)
def test_standard_input_is_read_by_how_it_begins(text: str) -> None:
    found = list(read_stdin(io.BytesIO(text.encode())))
    assert [row.file for row in found] == ["stdin", "stdin"]
    assert [row.conversation.messages[-1]["content"] for row in found if row.conversation] == ["Hello", "Hello"]


def test_standard_input_that_is_empty_or_endless_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="stdin: the file is empty"):
        list(read_stdin(io.BytesIO(b"")))
    monkeypatch.setattr(formats, "STDIN_LIMIT", 1000)
    with pytest.raises(DataError, match="stdin: more than"):
        list(read_stdin(io.BytesIO(b"x" * 2000)))


def test_a_table_of_exports_holds_json_in_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "observations.csv"
    asked = json.dumps([{"role": "user", "content": "Hi"}]).replace('"', '""')
    path.write_text(f'id,traceId,type,input,output\no1,t1,GENERATION,"{asked}",Hello\no2,t2,SPAN,x,y\n')
    first, second = read_rows(path)
    assert first.conversation is not None
    assert [m["content"] for m in first.conversation.messages] == ["Hi", "Hello"]
    assert first.conversation.metadata == {"id": "o1", "request_id": "t1"}
    assert second.broken == "a SPAN of Langfuse, not a generation"


TALK = [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "In Oslo."}]
TURNS = [{"from": "human", "value": "Who is there?"}, {"from": "gpt", "value": "It is me."}]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.json", json.dumps(TALK), ["In Oslo."]),
        ("a.json", json.dumps(TALK, indent=1), ["In Oslo."]),
        ("a.json", json.dumps([TALK, TURNS]), ["In Oslo.", "It is me."]),
        ("a.jsonl", f"{json.dumps(TALK)}\n{json.dumps(TURNS)}\n", ["In Oslo.", "It is me."]),
        ("a.json", json.dumps(TURNS), ["It is me."]),
    ],
)
def test_a_bare_list_of_messages_is_a_conversation(tmp_path: Path, name: str, text: str, wanted: list[str]) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = [row.conversation for row in read_rows(path, {})]
    assert [row.messages[-1]["content"] for row in found if row is not None] == wanted
    assert all(row is not None and row.messages[0]["role"] == "user" for row in found)
