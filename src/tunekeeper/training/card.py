"""The model card of what was learned, beside it: what went in, by its digests, before any exam.

Nothing in it depends on the clock or the machine: the same run writes the same card.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tunekeeper.text.modelcard import Card, text_of
from tunekeeper.training.base import Base
from tunekeeper.training.recipe import Recipe

CARD = "README.md"
_LICENSE = re.compile(r"^license:[ \t]*([\"']?)([\w.+-]+)\1[ \t]*$", re.MULTILINE)


def write_card(
    folder: Path, base: Base, recipe: Recipe, *, dataset: str, parent: str | None, eval_loss: Sequence[float], epoch: int
) -> None:
    """Write the card into the folder of an adapter or of a tuned model, in the place of the empty one that PEFT leaves there.

    `dataset`, `parent`: digests. `eval_loss`: held-out loss after each epoch, nats a learned token. `epoch`: which one this is.
    """
    whole = recipe.method == "full"
    kind = "full" if whole else "qlora" if recipe.qlora else "lora"
    learned = "A checkpoint whose every number was tuned" if whole else "A LoRA adapter"
    held = f"{eval_loss[-1]:.4f} nats a token" if eval_loss else "not measured"
    told = Card(
        title=f"{base.folder.name}, {'tuned' if whole else 'adapter'}",
        base=base.folder.name,
        whole=whole,
        origin=f"{learned}, trained by Tunekeeper from {parent or 'the base'}: epoch {epoch} of {recipe.epochs}.",
        parts={
            "base weights": base.digest,
            "tokenizer": base.tokenizer_digest,
            "chat template": base.template_digest,
            "dataset": dataset,
            "continued from": parent,
            "recipe": recipe.digest,
        },
        tags=(kind, recipe.objective),
        license=license_of(base.folder),
        recipe=recipe.as_json() | {"targets": ", ".join(recipe.targets)},
        loss=f"Held-out loss {held}, which is no measure of what it is good for: an exam is.",
    )
    (folder / CARD).write_text(text_of(told), "utf-8")


def license_of(base: Path) -> str | None:
    """The licence that the front matter of the base's own card names; None where it names none."""
    try:
        text = (base / CARD).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    front = text[3:].partition("\n---")[0] if text.startswith("---") else ""
    found = _LICENSE.search(front)
    return found[2] if found else None
