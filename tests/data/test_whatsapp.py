"""A chat of WhatsApp, exported as text, becomes talks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.data.formats import read_rows
from tunekeeper.data.tables import LINE_LIMIT
from tunekeeper.data.threads import NOBODY

IPHONE = """\ufeff[31.12.24, 23:59:03] Ann: Where is it?
[01.01.25, 00:01:10] Shop: On its way:
it comes at 9.
\u200e[01.01.25, 00:02:10] Ann: \u200eimage omitted
[01.01.25, 09:02:10] Ann: And now?
[01.01.25, 09:03:10] Shop: Here.
"""
ANDROID = """12/31/24, 11:59\u202fPM - Messages and calls are end-to-end encrypted.
12/31/24, 11:59\u202fPM - Ann: Where is it?
1/1/25, 12:01\u202fAM - Shop: On its way:
it comes at 9.
1/1/25, 12:02\u202fAM - Ann: <Media omitted>
1/1/25, 9:02\u202fAM - Ann: And now?
1/1/25, 9:03\u202fAM - Shop: Here.
"""


@pytest.mark.parametrize("text", [IPHONE, ANDROID])
def test_a_chat_is_read_in_talks_without_notices_and_pictures(tmp_path: Path, text: str) -> None:
    (tmp_path / "chat.txt").write_text(text, "utf-8")
    rows = list(read_rows(tmp_path / "chat.txt", assistants=frozenset(["shop"])))
    said = [[(m["role"], m["content"]) for m in row.conversation.messages] for row in rows if row.conversation]
    way = ("assistant", "On its way:\nit comes at 9.")
    assert said == [[("user", "Where is it?"), way], [("user", "And now?"), ("assistant", "Here.")]]


def test_who_answers_in_a_chat_has_to_be_told(tmp_path: Path) -> None:
    (tmp_path / "chat.txt").write_text("31/12/2024, 21:15 - Ann: Where?\n31/12/2024, 21:16 - Shop: Here.\n", "utf-8")
    assert [row.broken for row in read_rows(tmp_path / "chat.txt")] == [f"{NOBODY}'Ann', 'Shop'"]


def test_a_message_without_an_end_is_one_broken_row_and_is_not_held(tmp_path: Path) -> None:
    begin, end = "31/12/2024, 21:15 - Ann: Where?\n", "31/12/2024, 21:16 - Shop: Here.\n"
    for middle in ("on and on\n" * 600_000, "x" * (LINE_LIMIT + 1) + "\n"):
        (tmp_path / "chat.txt").write_text(begin + middle + end, "utf-8")
        rows = list(read_rows(tmp_path / "chat.txt", assistants=frozenset(["shop"])))
        assert "the message is longer than 4 MB" in {row.broken for row in rows}, middle[:9]
        assert rows[0].line == 1
