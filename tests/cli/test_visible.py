from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunekeeper.cli.app import main
from tunekeeper.cli.visible import in_json, line, visible

ANY = st.text(st.characters(codec=None), max_size=60)
OBEYED = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;x\x07", "‹ESC›]0;x‹BEL›"),
        ("\x1b[2J", "‹ESC›[2J"),
        ("a\x9bb\x7f", "a‹U+009B›b‹DEL›"),
        ("\u202egnp.exe\u202c \u2066x\u2069", "‹U+202E›gnp.exe‹U+202C› ‹U+2066›x‹U+2069›"),
        ("zero\u200bwidth\ufeff", "zero‹U+200B›width‹U+FEFF›"),
        ("tag \U000e0041", "tag ‹U+E0041›"),
        ("one\r\ntwo\rthree", "one\ntwo‹CR›three"),
        ("a\tb", "a    b"),
        ("[red]é ب 漢 👩\u200d🔧 می\u200cخواهم", "[red]é ب 漢 👩\u200d🔧 می\u200cخواهم"),
        ("in\u200dvisible", "in‹U+200D›visible"),
    ],
)
def test_what_a_terminal_would_obey_or_hide_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(ANY)
def test_nothing_that_is_shown_can_be_obeyed(text: str) -> None:
    assert {c for c in visible(text) if unicodedata.category(c) in OBEYED} <= {"\n", "\t", "\u200c", "\u200d"}
    assert "\n" not in line(text)


@given(ANY)
@example("\x7f")
@example("\x9b2J")
def test_a_document_says_the_same_and_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    document = in_json(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(document) == {text: text}
    assert not {c for c in document if unicodedata.category(c) == "Cc"}


def test_names_and_texts_from_outside_reach_a_terminal_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "p"), "--model", "desk"]) == 0
    rows = tmp_path / "rows\x1b[31m.jsonl"
    said = [
        {"role": "user", "content": "hi \x1b]0;owned\x07 \x9b2J"},
        {"role": "assistant", "content": "hi \x1b]0;owned\x07 \x9b2J"},
    ]
    rows.write_text(json.dumps({"messages": said, "metadata": {"id": "a\nb\x1b[2J"}}) + "\n")
    where = ("--model", "desk", "--dir", str(tmp_path / "p"))
    assert main(["data", "import", str(rows), *where]) == 0
    assert main(["data", "check", *where]) == 0
    assert main(["data", "import", str(tmp_path / "none\x1b[31m\nerror: all is well.jsonl"), *where]) == 2
    shown = capsys.readouterr()
    assert "rows‹ESC›[31m.jsonl: 1 rows" in shown.out
    assert "a‹LF›b‹ESC›[2J" in shown.out
    assert shown.err.count("\n") == 1
    assert main(["data", "check", *where, "--json"]) == 0
    document = capsys.readouterr().out
    assert "a\nb\x1b[2J" in [finding["id"] for finding in json.loads(document)["findings"]]
    assert not {c for c in shown.out + shown.err + document if unicodedata.category(c) == "Cc"} - {"\n"}
