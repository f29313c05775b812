from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import make_file
from tunekeeper.deployment.header import read_gguf
from tunekeeper.testing.ollamafiles import Refused, check_files, copy_file

GOOD = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "unknown type"),
        ({"m": GOOD}, "unknown type"),
        ({"../m.gguf": GOOD}, "file path must be relative"),
        ({"/m.gguf": GOOD}, "file path must be relative"),
        ({"m.gguf": ""}, "invalid digest format"),
    ],
)
def test_files_are_refused_before_they_are_looked_at(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said) as told:
        check_files(files, lambda digest: tmp_path / "none")
    assert told.value.status == 400


def test_a_file_whose_first_bytes_say_what_it_is_needs_no_such_name(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"GGUF" + bytes(20))
    check_files({"model": GOOD}, lambda digest: tmp_path / "blob")


def test_a_copy_has_the_same_fields_and_tensors_in_another_order(tmp_path: Path) -> None:
    """As `llama-quantize IN OUT COPY` was seen to write it."""
    source, target = make_file(tmp_path / "m.gguf"), tmp_path / "copy.gguf"
    copy_file(source, target)
    old, new = read_gguf(source), read_gguf(target)
    assert new.pairs == old.pairs
    assert list(new.pairs)[-2:] == ["general.quantization_version", "general.file_type"]
    assert {each.name: (each.shape, each.kind) for each in new.tensors} == {e.name: (e.shape, e.kind) for e in old.tensors}
    names = [each.name for each in new.tensors]
    assert names[:3] == ["output_norm.weight", "token_embd.weight", "blk.0.attn_k.bias"]
    assert source.read_bytes() != target.read_bytes()
