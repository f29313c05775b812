"""Training without a project. That it makes a PEFT folder is seen from outside (tests/outside/test_train_and_export.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.core.errors import DataError, UserError
from tunekeeper.training import train_folder

from .conftest import BASE


def test_nothing_is_written_when_the_input_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")
