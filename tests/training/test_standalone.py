"""Training without a project, by verb and by command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.cli.app import main
from tunekeeper.core.errors import DataError, UserError
from tunekeeper.training import train_folder

from .conftest import BASE, chat_lines


@pytest.mark.real
def test_a_checkpoint_and_a_file_become_a_peft_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(chat_lines(24)))
    (tmp_path / "recipe.yaml").write_text("rank: 4\nepochs: 1\nbatch: 8\nlearning_rate: 0.002\n")
    words = ["train", "run", "--checkpoint", str(BASE), "--data", str(tmp_path / "rows.jsonl"), "--json"]
    code = main([*words, "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")])
    said = json.loads(capsys.readouterr().out)
    assert code == 0
    assert set(said) >= {"run", "version", "state", "seconds", "cpu_seconds", "tokens_per_second", "loss", "adapter"}
    assert said["state"] == "done"
    settings = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert (settings["r"], settings["peft_type"]) == (4, "LORA")
    assert (tmp_path / "out/adapter_model.safetensors").stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "recipe.yaml", "rows.jsonl"]


def test_nothing_is_written_when_the_input_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")
