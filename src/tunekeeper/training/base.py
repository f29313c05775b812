"""What a checkpoint folder is: digests of weights, tokenizer and template, and how large it is. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_file, digest_json
from tunekeeper.text.tokenizers import read_templates, template_digest
from tunekeeper.training.header import plain_size, tensor_header

JSON_LIMIT = 64 << 20
"""Bytes of a settings file or of a tokenizer."""
NARROW = ("F4", "F6_", "F8_")
"""How the types of such floats begin."""
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PARTS = {"base_digest": "base", "tokenizer_digest": "tokenizer", "template_digest": "chat template"}
"""Digest → what it is of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A base checkpoint on disk."""

    folder: Path
    """Where it lies."""
    digest: str
    """Of the weights: the file's own digest, for several files the digest of the JSON {name: digest}."""
    tokenizer_digest: str
    """Of tokenizer.json."""
    template_digest: str | None
    """Of the chat template's text in UTF-8, see `text.tokenizers.template_digest`; None without one."""

    @property
    def digests(self) -> dict[str, str | None]:
        """{base_digest, tokenizer_digest, template_digest}: all that a run's result depends on, as jobs and records name it."""
        return {
            "base_digest": self.digest,
            "tokenizer_digest": self.tokenizer_digest,
            "template_digest": self.template_digest,
        }

    def refuse_changed(self, known: Mapping[str, Any], whose: str) -> None:
        """Raise ArtifactError when a digest of `known` is not that of this checkpoint; what is None there is not known. `whose`:
        what learns, or learned, on it, for the message."""
        for name, digest in self.digests.items():
            if known.get(name) not in (None, digest):
                part = PARTS[name]
                raise ArtifactError(
                    f"{self.folder}: its {part} is {digest} now; {whose} has {known[name]}",
                    fix=f"put back the {part} that it had, or train anew with tunekeeper train run",
                )


def read_base(folder: Path) -> Base:
    """The checkpoint in `folder`. Raises ArtifactError naming what is missing or broken."""
    files = whole_files(folder)
    digests = {file.name: digest_file(file) for file in files}
    named = read_templates(folder)
    return Base(
        folder=folder,
        digest=digests[files[0].name] if len(files) == 1 else digest_json(digests),
        tokenizer_digest=digest_file(folder / "tokenizer.json"),
        template_digest=template_digest(named.get("default"), named.get("tool_use")),
    )


def whole_files(folder: Path) -> list[Path]:
    """The weights of the checkpoint in `folder`, whose headers, config and tokenizer are there. Raises ArtifactError."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder", fix="name a checkpoint folder (`base` in models/<name>.yaml)")
    for name in ("config.json", "tokenizer.json"):
        read_json(folder / name)
    files = weight_files(folder)
    if not any(map(tensor_header, files)):
        raise ArtifactError(f"{folder}: its weights hold no tensor", fix="fetch the checkpoint again")
    return files


def talking_base(folder: Path) -> Base:
    """As `read_base`, for training: what cannot be trained and served is refused. Raises ArtifactError."""
    refuse_unfit(folder)
    return read_base(folder)


def refuse_unfit(folder: Path) -> None:
    """Raise ArtifactError for a checkpoint without a chat template, which cannot be shown a conversation, or of which no adapter
    could be exported: weights that are quantized already, code that it brings along."""
    if not (folder / "config.json").is_file():
        return  # what is no checkpoint at all is said in other words
    named = read_templates(folder)
    if "default" not in named:
        why = f"chat templates for {', '.join(sorted(named))} alone" if named else "no chat template"
        raise ArtifactError(
            f"{folder}: {why}, so nothing says how a conversation becomes text",
            fix="put the template of the chat model that it belongs to into chat_template.jinja beside tokenizer.json",
        )
    config = read_json(folder / "config.json")
    if config.get("auto_map"):
        raise ArtifactError(
            f"{folder / 'config.json'}: auto_map, the checkpoint brings its own code; nothing learned on it can be exported",
            fix="take auto_map out of a copy, where transformers knows the architecture without it",
        )
    if told := config.get("quantization_config"):
        kind = told.get("quant_method") if isinstance(told, dict) else None
        raise ArtifactError(
            f"{folder / 'config.json'}: quantization_config ({kind or 'unnamed'}), the weights are already quantized",
            fix="take the checkpoint that it was made from; with `qlora: true` it is held in 4 bits while it learns",
        )
    if any(entry["dtype"].startswith(NARROW) for file in weight_files(folder) for entry in tensor_header(file).values()):
        raise ArtifactError(
            f"{folder}: its weights are in 8 bits or fewer, already quantized", fix="take the checkpoint that it was made from"
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers loads of a checkpoint, by name: model.safetensors, else those that its index names.
    Raises ArtifactError when there are none, one is missing or broken, or what would be loaded lies elsewhere."""
    _refuse_other_weights(folder)
    files = [folder / SINGLE] if (folder / SINGLE).exists() else _indexed(folder)
    for file in files:
        tensor_header(file)
    return files


def _refuse_other_weights(folder: Path) -> None:
    if (folder / "adapter_config.json").exists():
        raise ArtifactError(
            f"{folder}: holds an adapter (adapter_config.json), which would be put on when the checkpoint is loaded",
            fix="move adapter_config.json and the adapter's weights into a folder of their own",
        )
    config = folder / "config.json"
    if config.is_file() and (told := read_json(config).get("transformers_weights")) not in (None, SINGLE, INDEX):
        raise ArtifactError(f"{config}: transformers_weights names {told!r}", fix=f"call the weights {SINGLE}, and leave it out")


def _indexed(folder: Path) -> list[Path]:
    index = folder / INDEX
    if not index.exists():
        others = sorted(path.name for path in folder.glob("*.safetensors"))
        if not others:
            raise ArtifactError(f"{folder}: no *.safetensors; other weight formats may run code and are refused")
        raise ArtifactError(
            f"{folder}: neither {SINGLE} nor {INDEX} says which of its files are the weights ({others[0]} …)",
            fix=f"fetch {INDEX} as well, or save the checkpoint again with transformers' save_pretrained",
        )
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise ArtifactError(f"{index}: names no files of weights", fix="fetch it again")
    names = sorted(set(named.values()))
    for name in names:
        if Path(name).name != name or name.startswith(".") or not name.endswith(".safetensors"):
            raise ArtifactError(
                f"{index}: {name!r} is no safetensors file beside it", fix="put every file of weights into the folder"
            )
        if not (folder / name).exists():
            raise ArtifactError(
                f"{folder / name}: missing, and {INDEX} names it", fix="fetch the missing files of the checkpoint"
            )
    return [folder / name for name in names]


def parameters(folder: Path) -> int:
    """Numbers in the weights of a checkpoint, counted from the headers."""
    return sum(math.prod(entry["shape"]) for file in weight_files(folder) for entry in tensor_header(file).values())


def embeddings(folder: Path) -> int | None:
    """Token ids that the checkpoint in `folder` has numbers for, as its config says; None where that does not."""
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    told = [place.get("vocab_size") for place in (config.get("text_config"), config) if isinstance(place, dict)]
    return next((size for size in told if type(size) is int), None)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint. Raises ArtifactError naming the file."""
    try:
        if plain_size(file) > JSON_LIMIT:
            raise ArtifactError(f"{file}: larger than {JSON_LIMIT >> 20} MiB", fix="fetch the file again")
        value = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ArtifactError(f"{file}: missing", fix="name the folder of a checkpoint") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{file}: not JSON: {error}", fix="fetch the file again") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{file}: not a JSON object", fix="fetch the file again")
    return value
