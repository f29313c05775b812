"""Training without a project. That it makes a PEFT folder is seen from outside (tests/outside/test_train_and_export.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.training import train_folder

from .conftest import BASE, chat_lines


def test_nothing_is_written_when_the_input_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")


@pytest.mark.real
def test_what_is_too_long_to_be_learned_is_counted(tmp_path: Path) -> None:
    lines = chat_lines(6)
    long = json.loads(lines[0])
    long["messages"][-1]["content"] += " and so on" * 200
    (tmp_path / "rows.jsonl").write_text("".join(lines) + json.dumps(long) + "\n")
    recipe = {"rank": 2, "epochs": 1, "batch": 6, "max_tokens": 256}
    done = train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out", recipe=recipe)
    assert (done["rows"], done["left_out"]) == (6, 1)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
