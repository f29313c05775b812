"""What Ollama does with the files that a `create` names: what it refuses, and the copy that it keeps of a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tunekeeper.deployment.header import open_model

LAST = ("general.quantization_version", "general.file_type")
"""Fields that the quantizer writes itself, after all others."""


class Refused(Exception):
    """An error that create reports."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said)
        self.status = status


def check_files(files: Any, blob: Callable[[str], Path]) -> None:
    """What is refused before a file is looked at: the name decides what it is, and its first bytes where that says nothing."""
    if not isinstance(files, dict) or not files:
        raise Refused("unknown type", 400)
    for name, digest in files.items():
        if not name or any(part in ("", ".", "..") for part in name.split("/")):
            raise Refused("file path must be relative", 400)
        if not digest:
            raise Refused("invalid digest format", 400)
        if not name.endswith(".gguf") and not _begins_as_gguf(blob(str(digest))):
            raise Refused("unknown type", 400)


def _begins_as_gguf(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def copy_file(source: Path, target: Path) -> None:
    """Write `source` anew as llama.cpp's quantizer copies it, which releases from 0.30 on run over every model: the same fields
    and tensors, those of a block together, else by name. Raises ArtifactError."""
    reader = open_model(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for key, field in sorted(reader.fields.items(), key=lambda item: item[0] in LAST):
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=sub)
    for tensor in sorted(reader.tensors, key=lambda tensor: _place(tensor.name)):
        writer.add_tensor(tensor.name, np.asarray(tensor.data), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _place(name: str) -> tuple[int, str]:
    block = re.match(r"blk\.(\d+)\.", name)
    return (int(block[1]) if block else -1), name
