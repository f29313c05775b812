"""A file is what it holds, whatever it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.data.formats import read_rows
from tunekeeper.data.kinds import held, inspect, kind_of

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_are_read_whichever_of_the_two_endings_their_file_has(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD)}\n")
    assert [(row.line, bool(row.conversation)) for row in read_rows(path)] == [(1, True), (3, True)]
    path.write_text(json.dumps([GOOD, GOOD], indent=1))
    assert [(row.line, bool(row.conversation)) for row in read_rows(path)] == [(1, True), (2, True)]
    path.write_text(json.dumps(GOOD, indent=1))
    assert [(row.line, bool(row.conversation)) for row in read_rows(path)] == [(1, True)]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"a": 1}\n', ".jsonl"),
        (b'{"a": 1}\n{"b"', ".jsonl"),
        (b'{\n"a": 1}', ".json"),
        (b"\xef\xbb\xbf[1]", ".json"),
        (b"a,b\n", ".csv"),
    ],
)
def test_what_has_no_name_is_known_by_how_it_begins(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    assert kind_of(path) == kind


def test_a_line_that_is_broken_does_not_make_a_document_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "bro\n{"prompt": "a"}\n')
    assert held(path, ".jsonl") == ".jsonl"
    path.write_bytes(b'[1, 2]\n{"prompt": "a"}\n')
    assert held(path, ".jsonl") == ".jsonl"
    path.write_bytes(b'{"prompt": "\xff"}\n{"prompt": "a"}\n')
    assert held(path, ".json") == ".json"


def test_what_is_no_text_is_refused_by_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"GGUF\x03")
    with pytest.raises(DataError, match="this is a GGUF model, not text"):
        inspect(path, "rows.jsonl")
