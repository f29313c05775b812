"""llama.cpp makes the tokens that transformers makes, or the tokenizer is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.conftest import serving
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import open_checkpoint
from tunekeeper.deployment.gguf import write_model
from tunekeeper.deployment.sentencepiece import notes, read
from tunekeeper.deployment.tokens import tokens_of
from tunekeeper.text.tokenizers import TokenizerFiles, read_tokenizer

TRICKY = [
    "", " ", "  ", "   a", "a  b", "a   b    c", "\n", "\n\n", " \n ", "\t", "a\tb", "Hello world", " Hello", "Größe, naïve",
    "你好 🎉", "\u2581", "a\u2581b", "\u2581\u2581a", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_start|> a",
    "a <|im_end|> b", "<s>", "<s> a", "</s>\n\n x", "<unk>", "<0x41>", "<0x0A>", "aaaaaaaa", "refund refund", "e\u0301", "\u00a0",
    "\u200b", "1234567", "it's they're", "<|im_end|>\n", "<|endoftext|>\n a", "ıİ", "𝔘𝔫", "\r\n", "x" * 300, "  <|im_start|>  ",
    "<|im_start|><|im_end|>", "dollars.The app", "JSON: {\"category\": 1}",
]  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("name", ["gemma", "phi3", "llama-prefixed", "mistral-v3", "llama-2"])
def test_the_server_makes_the_tokens_of_training(made: Path, tmp_path: Path, name: str) -> None:
    base = made / name / "base"
    files = read_tokenizer(base)
    write_model(open_checkpoint(base), None, tmp_path / "m.gguf", "f16", name="m")

    with serving(tmp_path / "m.gguf") as client:
        # Training puts a space before a text of theirs that no special token begins; chats begin with one.
        for text in [f"<s>{text}" for text in TRICKY] if name in ("mistral-v3", "llama-2") else TRICKY:
            asked = {"content": text, "add_special": False, "parse_special": True}
            assert list(client.post("/tokenize", asked)["tokens"]) == files.encode(text), text


def test_merges_become_scores_and_texts_get_their_space(made: Path) -> None:
    spaces, prefixed, stripping = (
        read(read_tokenizer(made / name / "base"), 800) for name in ("gemma", "llama-prefixed", "phi3")
    )

    assert (spaces.space_prefix, prefixed.space_prefix, stripping.space_prefix) == (False, True, True)
    assert (spaces.stripped, prefixed.stripped, stripping.stripped) == (False, False, True)
    assert spaces.types[:7] == [2, 3, 3, 3, 3, 3, 6]
    assert spaces.types.count(6) == 256
    merged = [score for score in spaces.scores if score < 0]
    assert merged == sorted(merged, reverse=True)
    assert len(set(merged)) == len(merged)


def mixed(merges: list[list[str]]) -> None:
    """Let short runs of spaces be merged before long ones, which no SentencePiece model has."""
    first = next(at for at, pair in enumerate(merges) if set("".join(pair)) == {"\u2581"})
    merges[first:] = reversed(merges[first:])


def part(merges: list[list[str]]) -> None:
    """Put the first of two pairs of one token at the end."""
    twice = next(at for at, pair in enumerate(merges) if "".join(pair) == "".join(merges[at + 1]))
    merges.append(merges.pop(twice))


def changed(made: Path, tmp_path: Path, name: str, change: Callable[[dict[str, Any]], object]) -> TokenizerFiles:
    value = json.loads((made / name / "base" / "tokenizer.json").read_text())
    change(value)
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    (tmp_path / "tokenizer_config.json").write_bytes((made / name / "base" / "tokenizer_config.json").read_bytes())
    return read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("gemma", lambda v: v["model"]["vocab"].pop("<0x41>"), "each of the 256 bytes"),
        ("gemma", lambda v: v["model"]["merges"].pop(5), "llama.cpp would merge them"),
        ("gemma", lambda v: part(v["model"]["merges"]), "do not stand together"),
        ("gemma", lambda v: v["model"]["merges"].append(["\x00", "\x00"]), "does not have"),
        ("gemma", lambda v: v.update(normalizer={"type": "NFKC"}), "put spaces"),
        ("gemma", lambda v: v.update(normalizer=None), "put spaces"),
        ("gemma", lambda v: v.update(pre_tokenizer={"type": "Whitespace"}), "put spaces"),
        ("mistral-v3", lambda v: mixed(v["model"]["merges"]), "do not stand together"),
        ("phi3", lambda v: v["added_tokens"][3].update(rstrip=True), "has rstrip where"),
        ("phi3", lambda v: v["added_tokens"][4].update(rstrip=False), "has rstrip where"),
    ],
)
def test_a_tokenizer_that_would_make_other_tokens_is_refused(
    made: Path, tmp_path: Path, name: str, change: Callable[[dict[str, Any]], object], why: str
) -> None:
    with pytest.raises(ArtifactError, match=why):
        read(changed(made, tmp_path, name, change), 800)


def test_a_second_name_of_a_bytes_token_is_passed_over(made: Path, tmp_path: Path) -> None:
    files = changed(made, tmp_path, "gemma", lambda v: v["model"]["vocab"].update({"\t": v["model"]["vocab"]["<0x09>"]}))

    tokens = tokens_of(files, 800, ())

    assert tokens.texts[files.vocabulary["<0x09>"]] == "<0x09>"


def metaspace(**fields: Any) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": False, **fields}


@pytest.mark.parametrize(
    ("scheme", "prefix", "said"),
    [("always", True, "no second space"), ("never", False, ""), ("first", False, "begin raw prompts")],
)
def test_the_newer_way_of_writing_spaces_down_is_understood(
    made: Path, tmp_path: Path, scheme: str, prefix: bool, said: str
) -> None:
    def change(value: dict[str, Any]) -> None:
        value.update(normalizer=None, pre_tokenizer=metaspace(prepend_scheme=scheme))

    files = changed(made, tmp_path, "gemma", change)
    assert read(files, 800).space_prefix is prefix
    assert said in "".join(notes(files))
    assert bool(said) is bool(notes(files))


@pytest.mark.parametrize(
    ("name", "normalized", "refused"),
    [("llama-prefixed", True, True), ("llama-prefixed", False, False), ("gemma", True, False), ("mistral-v3", True, False)],
)
def test_an_added_token_that_training_finds_with_its_space_only_is_refused(
    copy: Callable[[str], Path], name: str, normalized: bool, refused: bool
) -> None:
    base = copy(f"{name}/base")
    value = json.loads((base / "tokenizer.json").read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "special"), False)
    size = max(value["model"]["vocab"].values()) + 1
    value["added_tokens"].append({"id": size, "content": "PROD-X", "normalized": normalized, **flags})
    (base / "tokenizer.json").write_text(json.dumps(value))
    if not refused:
        assert tokens_of(read_tokenizer(base), size + 8, (2,)).texts[size] == "PROD-X"
        return
    with pytest.raises(ArtifactError, match=r"token 'PROD-X' is looked for in normalised text"):
        tokens_of(read_tokenizer(base), size + 8, (2,))
