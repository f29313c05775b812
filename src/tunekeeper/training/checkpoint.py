"""A checkpoint whose every number was tuned: saved as its base is laid out, with our sidecar, and whether one may be continued.

Imported in a training child: torch inside functions.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.training.adapter import SIDECAR, read_sidecar
from tunekeeper.training.base import Base, read_base, read_json

TAKEN_OVER = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "LICENSE",
    "NOTICE",
)
"""Files of the base that are the tuned model's as well, byte for byte; config.json alone is told the new number format."""

TEMPLATES = "additional_chat_templates"
"""A folder of the base that is the tuned model's as well."""


@contextlib.contextmanager
def as_saved(model: Any) -> Iterator[None]:
    """The model with its numbers rounded to the format it is saved in; what goes on learning afterwards are the exact ones."""
    exact = [(parameter, parameter.data) for parameter in model.parameters()]
    for parameter, numbers in exact:
        parameter.data = numbers.to(model.config.dtype)
    try:
        yield
    finally:
        for parameter, numbers in exact:
            parameter.data = numbers


def save_checkpoint(model: Any, folder: Path, base: Base) -> None:
    """Write the model's weights to `folder` in the layout of `base`, whose tokenizer, template and settings it keeps."""
    from transformers import GenerationConfig

    dtype, generation = model.config.dtype, model.generation_config
    model.generation_config = GenerationConfig()  # an odd one of the base would be refused, and its file is copied anyway
    try:
        model.save_pretrained(folder, safe_serialization=True)
    finally:
        model.config.dtype, model.generation_config = dtype, generation
    for name in TAKEN_OVER:
        (folder / name).unlink(missing_ok=True)
        if (base.folder / name).is_file():
            shutil.copyfile(base.folder / name, folder / name)
    if (base.folder / TEMPLATES).is_dir():
        shutil.copytree(base.folder / TEMPLATES, folder / TEMPLATES, dirs_exist_ok=True)
    config = read_json(base.folder / "config.json")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        part |= {key: str(dtype).removeprefix("torch.") for key in ("dtype", "torch_dtype") if key in part}
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def check_tuned_parent(folder: Path, base: Base) -> None:
    """Refuse to continue a checkpoint that was not tuned from `base`, or that lost its own weights. Raises ArtifactError."""
    sidecar = read_sidecar(folder) or {}
    if sidecar.get("base_digest") != base.digest:
        raise ArtifactError(
            f"{folder}: its {SIDECAR} names base {sidecar.get('base_digest')}, not {base.folder} ({base.digest})",
            fix="leave out --from, or set `base` to what it was tuned from",
        )
    tuned = read_base(folder)
    if tuned.tokenizer_digest != base.tokenizer_digest or tuned.template_digest != base.template_digest:
        raise ArtifactError(
            f"{folder}: its tokenizer or chat template is not that of {base.folder}",
            fix="leave out --from, or put the tokenizer and the template back that it was tuned with",
        )
