"""What a checkpoint folder is: digests of weights, tokenizer and template, and how large it is. Standard library only."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_bytes, digest_file, digest_json

HEADER_LIMIT = 16_000_000
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
    """Of the chat template's text in UTF-8; None without one."""

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
    template = chat_template(folder)
    return Base(
        folder=folder,
        digest=digests[files[0].name] if len(files) == 1 else digest_json(digests),
        tokenizer_digest=digest_file(folder / "tokenizer.json"),
        template_digest=None if template is None else digest_bytes(template.encode()),
    )


def whole_files(folder: Path) -> list[Path]:
    """The weights of the checkpoint in `folder`, whose headers, config and tokenizer are there. Raises ArtifactError."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder", fix="name a checkpoint folder (`base` in models/<name>.yaml)")
    for name in ("config.json", "tokenizer.json"):
        read_json(folder / name)
    return weight_files(folder)


def talking_base(folder: Path) -> Base:
    """As `read_base`, for training: a base without a chat template cannot be shown a conversation. Raises ArtifactError."""
    base = read_base(folder)
    refuse_speechless(folder)
    return base


def refuse_speechless(folder: Path) -> None:
    """Raise ArtifactError for a checkpoint without a chat template."""
    if chat_template(folder) is None:
        raise ArtifactError(
            f"{folder}: no chat template, so nothing says how a conversation becomes text",
            fix="put the template of the chat model that it belongs to into chat_template.jinja beside tokenizer.json",
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, by name. Raises ArtifactError when there are none or one is cut short."""
    files = sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("adapter_"))
    if not files:
        raise ArtifactError(f"{folder}: no *.safetensors; other weight formats may run code and are refused")
    for file in files:
        tensor_header(file)
    return files


def tensor_header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: tensor name → {dtype, shape, data_offsets}. Raises ArtifactError on a broken one."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, HEADER_LIMIT):
            raise ArtifactError(f"{file}: truncated, its header does not fit in its {size} bytes")
        try:
            header = json.loads(stream.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ArtifactError(f"{file}: its header is not that of a safetensors file") from error
    if 8 + length + end != size:
        raise ArtifactError(f"{file}: truncated, {8 + length + end} bytes announced and {size} there")
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def parameters(folder: Path) -> int:
    """Numbers in the weights of a checkpoint or adapter folder, counted from the headers."""
    files = sorted(folder.glob("*.safetensors"))
    total = 0
    for file in files:
        for entry in tensor_header(file).values():
            count = 1
            for size in entry["shape"]:
                count *= size
            total += count
    return total


def chat_template(folder: Path) -> str | None:
    """The chat template: chat_template.jinja, else the `chat_template` of tokenizer_config.json, else None."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    config = folder / "tokenizer_config.json"
    template = read_json(config).get("chat_template") if config.is_file() else None
    return template if isinstance(template, str) else None


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint. Raises ArtifactError naming the file."""
    try:
        value = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ArtifactError(f"{file}: missing", fix="name the folder of a checkpoint") from error
    except ValueError as error:
        raise ArtifactError(f"{file}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{file}: not a JSON object")
    return value
