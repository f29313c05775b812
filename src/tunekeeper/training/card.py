"""The model card of what was learned: README.md with the front matter that model hubs read, and what went in, by its digests.

Nothing in it depends on the clock or the machine: the same run writes the same card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from tunekeeper.training.base import Base
from tunekeeper.training.recipe import Recipe

CARD = "README.md"
_LICENSE = re.compile(r"^license:[ \t]*([\w.+-]+)[ \t]*$", re.MULTILINE)


def write_card(
    folder: Path, base: Base, recipe: Recipe, *, dataset: str, parent: str | None, eval_loss: Sequence[float], epoch: int
) -> None:
    """Write the card into the folder of an adapter or of a tuned model, in the place of the empty one that PEFT leaves there.

    `dataset`, `parent`: digests. `eval_loss`: held-out loss after each epoch, nats a learned token. `epoch`: which one this is.
    """
    whole = recipe.method == "full"
    kind = "full" if whole else "qlora" if recipe.qlora else "lora"
    front = {
        "base_model": json.dumps(base.folder.name),  # a text of JSON is one of YAML
        "base_model_relation": "finetune" if whole else "adapter",
        "library_name": "transformers" if whole else "peft",
        "pipeline_tag": "text-generation",
        "license": license_of(base.folder),
        "tags": f"[{kind}, {recipe.objective}, tunekeeper]",
    }
    shape = "every number of the base" if whole else f"rank {recipe.rank}, alpha {recipe.alpha} on {', '.join(recipe.targets)}"
    rows = [
        ("Learned", f"{shape}, {recipe.objective}"),
        ("Base", f"{base.folder.name}, weights {base.digest}"),
        ("Tokenizer", base.tokenizer_digest),
        ("Chat template", base.template_digest or "none"),
        ("Dataset", dataset),
        ("Continued from", parent or "the base"),
        (
            "Epoch",
            f"{epoch} of {recipe.epochs}, learning rate {recipe.learning_rate:g}, batch {recipe.batch}, seed {recipe.seed}",
        ),
        ("Held-out loss", f"{eval_loss[-1]:.4f} nats a token" if eval_loss else "not measured"),
        ("Recipe", recipe.digest),
    ]
    head = "".join(f"{key}: {value}\n" for key, value in front.items() if value)
    body = "".join(f"| {what} | {value} |\n" for what, value in rows)
    title = f"{base.folder.name}, {'tuned' if whole else 'adapter'}"
    text = (
        f"---\n{head}---\n\n# {title}\n\n| | |\n|---|---|\n{body}\nThe loss is no measure of what it is good for: an exam is.\n"
    )
    (folder / CARD).write_text(text, "utf-8")


def license_of(base: Path) -> str | None:
    """The licence that the front matter of the base's own card names; None where it names none."""
    try:
        text = (base / CARD).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    front = text[3:].partition("\n---")[0] if text.startswith("---") else ""
    found = _LICENSE.search(front)
    return found[1] if found else None
