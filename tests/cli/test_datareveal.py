"""`tunekeeper data seal-key` and `reveal`, from a pair of keys to an erased row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.outside.conftest import Outcome, call, chat, write_lines, write_yaml

USER = "I am ana@example.com, not bo@example.com; ana@example.com"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = call("data", "seal-key", "--out", tmp_path / "secret", "--json")
    assert made.code == 0, made.err
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "desk"
    assert call("init", folder, "--model", "help").code == 0
    section = {"redact_seal": made.json["public"]}
    write_yaml(folder / "models" / "help.yaml", {"model": "help", "base": "base", "data": section})
    rows = [chat(USER, "I wrote to ana@example.com", id="T1", user_id="u1"), chat("Where is my lamp", "shipping", id="T2")]
    done = call("data", "import", write_lines(folder / "rows.jsonl", rows), "--model", "help", "--dir", folder, "--json")
    assert done.json["redacted"] == {"email": 4}, done.err
    return folder


def reveal(folder: Path, row: str, key: str = "secret") -> Outcome:
    return call("data", "reveal", row, "--model", "help", "--key", folder.parent / key, "--dir", folder, "--json")


def test_only_the_secret_key_shows_what_was_taken_out(folder: Path) -> None:
    draft = folder / ".tunekeeper" / "data" / "help" / "draft.jsonl"
    text = draft.read_text("utf-8")
    assert "I am [EMAIL:1], not [EMAIL:2]; [EMAIL:1]" in text
    assert "example.com" not in text
    shown = reveal(folder, "T1").json
    assert [message["content"] for message in shown["messages"]][-2:] == [USER, "I wrote to ana@example.com"]
    assert "sealed" not in shown["metadata"]
    assert draft.read_text("utf-8") == text
    assert call("data", "seal-key", "--out", folder.parent / "other").code == 0
    assert (
        "the key does not open this box"
        in call("data", "reveal", "T1", "--model", "help", "--key", folder.parent / "other", "--dir", folder).error
    )


def test_a_secret_key_is_not_made_where_the_boxes_lie(folder: Path) -> None:
    inside = folder / ".tunekeeper" / "key"
    done = call("data", "seal-key", "--out", inside, "--dir", folder)
    assert (done.code, inside.exists()) == (2, False)
    assert "keep the secret key outside of the data directory" in done.error
    assert call("data", "seal-key", "--out", folder.parent / "third", "--dir", folder, "--json").code == 0
    assert call("data", "seal-key", "--out", folder.parent / "fourth", "--dir", folder.parent / "none").code == 2


@pytest.mark.parametrize(
    ("row", "key", "said"), [("T2", "secret", "nothing sealed"), ("T9", "secret", "no row"), ("T1", "no", "no")]
)
def test_what_cannot_be_shown_is_one_line(folder: Path, row: str, key: str, said: str) -> None:
    done = call("data", "reveal", row, "--model", "help", "--key", folder.parent / key, "--dir", folder)
    assert done.code != 0
    assert said in done.error


def test_a_key_is_never_written_over_another(folder: Path) -> None:
    before = (folder.parent / "secret").read_text()
    assert "cannot write" in call("data", "seal-key", "--out", folder.parent / "secret").error
    assert (folder.parent / "secret").read_text() == before


def test_erasing_a_user_takes_the_box_along(folder: Path) -> None:
    assert call("log", "erase", "--user", "u1", "--dir", folder, "--json").json["copies"]["drafts"] == 1
    assert "sealed" not in (folder / ".tunekeeper" / "data" / "help" / "draft.jsonl").read_text("utf-8")
    assert "no row" in call("data", "reveal", "T1", "--model", "help", "--key", folder.parent / "secret", "--dir", folder).error
