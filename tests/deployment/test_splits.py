"""Where llama.cpp splits text otherwise than training: known before it is run, counted in a project's rows, and avoided."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployment.checkpoints import MARKED
from tests.deployment.conftest import serving
from tests.deployment.test_compare import copied
from tunekeeper.deployment import gguf as ours
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.compare import Subject, compare
from tunekeeper.deployment.exporting import write_servable
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.splits import choose, same_ids
from tunekeeper.deployment.tokens import tokens_of
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.weights import Served
from tunekeeper.text.tokenizers import TokenizerFiles, read_tokenizer

HARD = [
    *MARKED[0].split(), "GRÖSSE", "हिन्दी", "It'system'Triage", "d'ami", "it's 12345 (x) /a\n/b", "café",
    "hello你好world", "ПриветМир", "  a\n\n  b\t",
]  # fmt: skip
HINDI, NAMES, PLAIN = ("My order", "हिन्दी"), ("It'system'Triage", "ok"), ("My order is late", "Sorry")


def tekken(made: Path) -> TokenizerFiles:
    return read_tokenizer(made / "mistral-nemo" / "base")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "pre"), [("mistral-nemo", "tekken"), ("mistral-nemo", "qwen35"), ("phi4-mini", "granite-embed-multi-97m")]
)
def test_what_is_known_of_llama_cpp_is_what_it_does(made: Path, tmp_path: Path, name: str, pre: str) -> None:
    checkpoint = open_checkpoint(made / name / "base")
    files = read_tokenizer(checkpoint.folder)
    ours.write_model(checkpoint, None, tmp_path / "f.gguf", "f16", name="m")
    file = copied(tmp_path / "f.gguf", tmp_path / "m.gguf", lambda key, old: pre if key == "tokenizer.ggml.pre" else old)
    same, seen = same_ids(files, pre), []
    with serving(file) as client:
        for text in (*HARD, *(a + b for a in HARD for b in HARD[:6])):
            body = {"content": text, "add_special": False, "parse_special": True}
            seen.append(client.post("/tokenize", body)["tokens"] == files.encode(text))
            assert same(text) == seen[-1], text
    assert not all(seen), "some of these become other tokens"


def test_rows_that_become_other_tokens_are_counted_and_a_twin_that_is_exact_for_all_is_taken(made: Path) -> None:
    files = tekken(made)
    told = [choose(files, "tekken", rows, lambda name: True) for rows in ([PLAIN] * 3, [PLAIN, HINDI], [NAMES, HINDI, HINDI])]
    assert [(each.pre, each.rows, each.differ) for each in told] == [("tekken", 3, 0), ("qwen35", 2, 0), ("tekken", 3, 2)]
    assert told[2].note == "2 of the 3 rows that were looked at become other tokens in llama.cpp than in training"
    assert choose(files, "tekken", [HINDI], lambda name: False).differ == 1, "another way of merging rules a twin out"


def test_an_export_says_how_many_of_its_rows_are_affected(made: Path) -> None:
    files = tekken(made)
    assert tokens_of(files, 600, (), [PLAIN] * 800).notes[-1].startswith("0 of the 800 rows that were looked at")
    assert not any("rows" in note for note in tokens_of(files, 600, ()).notes), "without rows there is nothing to say"
    exact = read_tokenizer(made / "llama" / "base")
    unread = iter([PLAIN])
    tokens_of(exact, 600, (), unread)
    assert next(unread) == PLAIN, "rows are not even read where llama.cpp has an exact twin"


@pytest.mark.real
def test_a_file_for_rows_with_marks_passes_parity_on_them(made: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(made / "mistral-nemo" / "base")
    out = tmp_path / "m.gguf"
    _, notes = write_servable(checkpoint, None, "f32", out, name="m", metadata={"base_digest": "x"}, rows=[HINDI, PLAIN])
    assert read_gguf(out).pairs["tokenizer.ggml.pre"] == "qwen35"
    assert notes[-1].startswith("0 of the 2 rows")
    references = read_transcript(made / "mistral-nemo" / "transcript.jsonl")
    found = compare(Subject(served=Served(model=out)), checkpoint, None, references, Limits())
    assert (found.verdict, found.layer) == ("pass", None)
