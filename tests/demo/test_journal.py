from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.core.errors import UserError
from tunekeeper.demo.journal import Journal


def test_what_was_closed_is_found_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "demo" / "journal.json")
    journal.close("train", {"loss": 0.1})
    journal.note("key", "tk_1")
    again = Journal(tmp_path / "demo" / "journal.json")
    assert again.done("train")
    assert not again.done("export")
    assert again.figures("train") == {"loss": 0.1}
    assert again.figures("export") == {}
    assert (again.noted("key"), again.noted("other")) == ("tk_1", None)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99}'])
def test_a_damaged_journal_is_refused_with_a_way_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "journal.json"
    path.write_text(text)
    with pytest.raises(UserError, match="another folder"):
        Journal(path)
