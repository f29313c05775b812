"""Which base to take: checkpoints beside each other, by what they make of the rows and by what this machine can train (TRAIN-01).

Nothing is loaded: headers, config, tokenizer and template tell it all. Which one answers best, only an exam says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError, DataError
from tunekeeper.text.tokenizers import read_templates
from tunekeeper.training.base import parameters, read_json, refuse_unfit, whole_files
from tunekeeper.training.card import license_of
from tunekeeper.training.device import Room
from tunekeeper.training.encode import Encoded, conversations
from tunekeeper.training.memory import need
from tunekeeper.training.places import context_of
from tunekeeper.training.previewing import codec_of
from tunekeeper.training.recipe import Recipe
from tunekeeper.training.rows import Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One checkpoint."""

    folder: str
    """Where it lies."""
    problem: str | None = None
    """Why it cannot be trained on these rows; None where it can."""
    family: str = ""
    """Its `model_type`, e.g. llama, qwen2, mistral."""
    parameters: int = 0
    """Numbers in it."""
    context: int | None = None
    """Longest text it was made for, in tokens, see `places.context_of`; None where its config does not say."""
    license: str | None = None
    """By its own card; None where that names none."""
    tools: bool = False
    """Whether its chat template knows tools."""
    tokens_a_row: float | None = None
    """Mean tokens of a row: of two tokenizers the one that needs fewer knows the language of the data better."""
    too_long: int | None = None
    """Conversations that are longer than the recipe's `max_tokens`."""
    fits: tuple[str, ...] = ()
    """What this machine can train of it: lora, qlora, full."""
    lora_bytes: int | None = None
    """Memory that the recipe takes as a LoRA."""


def compared(folders: Sequence[Path], rows: Sequence[Row], recipe: Recipe, there: Room) -> list[Candidate]:
    """Each folder as a candidate, in their order; `rows` to be learned, `there` the machine."""
    return [_candidate(folder, rows, recipe, there) for folder in folders]


def _candidate(folder: Path, rows: Sequence[Row], recipe: Recipe, there: Room) -> Candidate:
    try:
        whole_files(folder)  # nothing of them is read but the headers
        refuse_unfit(folder)
        config = read_json(folder / "config.json")
        found = _told(folder, config)
        codec = codec_of(folder)
        learned = [each for row in rows for (each,) in conversations(codec, row, "sft")]
    except (ArtifactError, DataError) as error:
        return Candidate(folder=str(folder), problem=str(error))
    return replace(found, **_sized(folder, learned, recipe, there))


def _told(folder: Path, config: dict[str, Any]) -> Candidate:
    return Candidate(
        folder=str(folder),
        family=str(config.get("model_type") or ""),
        parameters=parameters(folder),
        context=context_of(folder),
        license=license_of(folder),
        tools=any(name == "tool_use" or "tools" in text for name, text in read_templates(folder).items()),
    )


def _sized(folder: Path, learned: Sequence[Encoded], recipe: Recipe, there: Room) -> dict[str, Any]:
    lengths = [len(each.ids) for each in learned]
    longest = min(max(lengths), recipe.max_tokens)
    most = max(sum(each.learned) for each in learned)
    plain = replace(recipe, method="lora", qlora=False)
    ways = {"lora": plain, "qlora": replace(plain, qlora=True), "full": replace(plain, method="full", dora=False, rslora=False)}
    taken = {name: need(folder, each, longest, there, learned=most).total for name, each in ways.items()}
    return {
        "tokens_a_row": sum(lengths) / len(lengths),
        "too_long": sum(length > recipe.max_tokens for length in lengths),
        "fits": tuple(name for name, size in taken.items() if size <= there.total),
        "lora_bytes": taken["lora"],
    }
