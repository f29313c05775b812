"""One writer of model cards: front matter that hubs can read, and nothing said that is not known."""

from __future__ import annotations

from dataclasses import replace

import yaml

from tunekeeper.text.modelcard import Card, text_of

PLAIN = Card(
    title="tiny: a name", base="tiny", whole=False, origin="A LoRA adapter.", parts={"base weights": "sha256:b", "x": None}
)


def test_what_is_known_is_said_and_what_is_not_is_left_out() -> None:
    _, front, body = text_of(PLAIN).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "tiny",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["tunekeeper"],
    }
    assert "# tiny: a name\n" in body
    assert "| base weights | `sha256:b` |" in body
    assert "| x |" not in body
    assert "## Recipe" not in body
    assert "None yet: nothing is known about its quality." in body


def test_front_matter_survives_any_name() -> None:
    odd = replace(PLAIN, base='a "b": c #d', license="apache-2.0", tags=("lora", "größe"), dataset="desk/d1")
    told = yaml.safe_load(text_of(odd).split("---\n")[1])
    assert (told["base_model"], told["license"], told["tags"]) == ('a "b": c #d', "apache-2.0", ["lora", "größe", "tunekeeper"])
    assert told["datasets"] == ["desk/d1"]


def test_a_recipe_is_told_without_what_it_leaves_open() -> None:
    body = text_of(replace(PLAIN, whole=True, recipe={"rank": 8, "patience": None}, loss="Loss 1.0."))
    assert "| rank | 8 |" in body
    assert "patience" not in body
    assert "Loss 1.0." in body
    assert 'library_name: "transformers"' in body
