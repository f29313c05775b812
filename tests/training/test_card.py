"""Model cards: their front matter, the licence of the base, and what went in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tunekeeper.training.base import Base
from tunekeeper.training.card import license_of, write_card
from tunekeeper.training.recipe import Recipe, from_json


def card(folder: Path, recipe: Recipe, **changes: object) -> tuple[dict[str, object], str]:
    """The front matter and the text of a card on a base called `tiny`."""
    (folder / "tiny").mkdir(exist_ok=True)
    base = Base(folder=folder / "tiny", digest="sha256:b", tokenizer_digest="sha256:t", template_digest=None)
    told = {"dataset": "sha256:d", "parent": None, "eval_loss": (0.5, 0.25), "epoch": 2} | changes
    write_card(folder, base, recipe, **told)  # type: ignore[arg-type]
    text = (folder / "README.md").read_text()
    return yaml.safe_load(text.split("---\n")[1]), text


def test_a_card_says_what_was_learned_on_what_and_from_what(tmp_path: Path) -> None:
    front, text = card(tmp_path, from_json({"rank": 8}))
    assert front == {
        "base_model": "tiny",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "sft", "tunekeeper"],
    }
    for part in (
        "| rank | 8 |",
        "| targets | all-linear |",
        "`sha256:b`",
        "`sha256:d`",
        "the base",
        "0.2500",
        "2 of 3",
        "None yet",
    ):
        assert part in text
    assert str(tmp_path) not in text, "no path of the machine"
    front, text = card(tmp_path, from_json({"qlora": True}), parent="sha256:p", eval_loss=())
    assert front["tags"] == ["qlora", "sft", "tunekeeper"]
    assert "sha256:p" in text
    assert "not measured" in text


def test_a_model_tuned_whole_is_a_finetune_for_transformers(tmp_path: Path) -> None:
    front, text = card(tmp_path, replace(from_json({}), method="full", objective="dpo"))
    assert (front["base_model_relation"], front["library_name"], front["tags"]) == (
        "finetune", "transformers", ["full", "dpo", "tunekeeper"],
    )  # fmt: skip
    assert "A checkpoint whose every number was tuned" in text
    assert "| objective | dpo |" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# Base\n", "apache-2.0"),
        ("---\ntags: [a]\n---\nlicense: mit\n", None),
        ("# license: mit\n", None),
        ('---\nlicense: "llama3.3"\n---\n', "llama3.3"),  # as our own cards have it
    ],
)
def test_the_licence_is_the_bases_own(tmp_path: Path, text: str, expected: str | None) -> None:
    assert license_of(tmp_path) is None
    (tmp_path / "README.md").write_text(text)
    assert license_of(tmp_path) == expected
