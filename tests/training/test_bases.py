"""Checkpoints beside each other, before one is chosen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from tunekeeper.training.bases import compared
from tunekeeper.training.device import Room
from tunekeeper.training.recipe import from_json
from tunekeeper.training.rows import read_rows

from .conftest import BASE, chat_lines

RECIPE = from_json({"max_tokens": 96, "batch": 4})
MACHINE = Room(device="cpu", total=8 << 30, free=8 << 30)


def test_each_base_says_what_it_makes_of_the_rows_and_what_can_be_trained(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    long = json.loads(chat_lines(1)[0])
    long["messages"][-1]["content"] *= 9
    rows.write_text("".join(chat_lines(4)) + json.dumps(long) + "\n")
    bare = Path(shutil.copytree(BASE, tmp_path / "bare"))
    (bare / "chat_template.jinja").unlink()
    tooled = Path(shutil.copytree(BASE, tmp_path / "tooled"))
    template = (tooled / "chat_template.jinja").read_text()
    (tooled / "chat_template.jinja").write_text("{% if tools %}{{ tools }}{% endif %}" + template)
    (tooled / "README.md").write_text("---\nlicense: mit\n---\n")
    first, second, third, fourth = compared([BASE, bare, tooled, tmp_path / "no"], read_rows(rows), RECIPE, MACHINE)
    assert (first.family, first.parameters, first.problem, first.tools) == ("qwen2", 2_018_560, None, False)
    assert first.too_long == 1
    assert 20 < (first.tokens_a_row or 0) < 200
    assert first.fits == ("lora", "qlora", "full")
    assert "no chat template" in (second.problem or "")
    assert (third.tools, third.license, third.tokens_a_row) == (True, "mit", first.tokens_a_row)
    assert "no such folder" in (fourth.problem or "")


def test_what_is_too_large_for_the_machine_is_said(large: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(BASE / name, tmp_path / name)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(large / name)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(chat_lines(2)))
    small = RECIPE.as_json() | {"batch": 1, "checkpointing": True}
    card = Room(device="A card", total=4 << 30, free=0, bfloat16=True)
    found = [
        compared([tmp_path], read_rows(rows), from_json(small), replace(card, total=total << 30))[0].fits for total in (2, 10, 24)
    ]
    assert found == [(), ("qlora",), ("lora", "qlora")]
