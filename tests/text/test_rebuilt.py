from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tests.deployment.checkpoints import LOADED, TOLD, make_all
from tests.once import made_once
from tunekeeper.core.errors import ArtifactError, MissingExtra
from tunekeeper.text.rebuilt import load_rebuilt

TEXT = "We  look <s> at the Größe [INST] of 2 parcels"
MADE = ["We look at the size of the parcel", "Größe  und  Farbe", "the [INST] of <s>"] * 5
Save = Callable[..., Path]


def bpe() -> Tokenizer:
    """As SentencePiece's are written."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.train_from_iterator(
        MADE, trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    )
    return made


def of_bytes() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(MADE, trainer)
    return made


def pieces() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    made.train_from_iterator(MADE, trainers.WordPieceTrainer(vocab_size=80, special_tokens=special, show_progress=False))
    return made


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A folder with the files of a tokenizer: `save(tokenizer, config, **settings)`."""

    def saved(made: Tokenizer | None, config: dict[str, Any], **settings: Any) -> Path:
        if made is not None:
            made.save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return saved


@pytest.mark.parametrize(
    ("make", "kind", "settings"),
    [
        (bpe, "llama", {"tokenizer_class": "LlamaTokenizer"}),
        (of_bytes, "gpt2", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}),
        (of_bytes, "qwen2", {"tokenizer_class": "Qwen2TokenizerFast"}),
        (pieces, "bert", {"tokenizer_class": "BertTokenizer", "do_lower_case": True}),
        (None, "t5", {"tokenizer_class": "ByT5Tokenizer"}),
        (bpe, "llama", {"tokenizer_class": "PreTrainedTokenizerFast"}),
        (bpe, "llama", {}),
    ],
)
def test_ids_are_those_of_transformers_own_tokenizer(
    save: Save, make: Callable[[], Tokenizer] | None, kind: str, settings: dict[str, Any]
) -> None:
    from transformers import AutoTokenizer

    folder = save(make and make(), {"model_type": kind}, chat_template="{{ bos_token }}{{ messages }}", **settings)
    theirs, ours = AutoTokenizer.from_pretrained(folder), load_rebuilt(folder)
    assert ours.encode(TEXT) == theirs.encode(TEXT, add_special_tokens=False)
    assert ours.encode(TEXT * 50) == theirs.encode(TEXT * 50, add_special_tokens=False)
    assert ours.template == theirs.chat_template
    if settings.get("tokenizer_class") != "PreTrainedTokenizerFast":
        assert ours.special() == theirs.special_tokens_map


def test_a_class_brings_special_tokens_that_no_settings_name(save: Save) -> None:
    assert load_rebuilt(save(bpe(), {"model_type": "llama"}, tokenizer_class="LlamaTokenizer")).special()["bos_token"] == "<s>"


def test_files_that_make_no_tokenizer_are_told_in_one_line(save: Save, capfd: pytest.CaptureFixture[str]) -> None:
    folder = save(None, {"model_type": "llama"}, tokenizer_class="LlamaTokenizer")
    (folder / "tokenizer.model").write_bytes(b"\n\x0bgarbage")
    with pytest.raises(
        ArtifactError, match=r"transformers cannot load its tokenizer: .*fix: save it with a tokenizer\.json"
    ) as told:
        load_rebuilt(folder)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["LlamaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer", "TokenizersBackend"])
def test_a_tokenizer_that_transformers_makes_of_nothing_is_none(save: Save, name: str) -> None:
    with pytest.raises(ArtifactError, match=r"no vocabulary|cannot load its tokenizer"):
        load_rebuilt(save(None, {"model_type": "llama"}, tokenizer_class=name))


def test_of_the_classes_that_are_known_transformers_is_not_asked(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_once(tmp_path_factory, "checkpoints", make_all) / "tokenizers"
    monkeypatch.setitem(sys.modules, "transformers", None)
    for number in range(len(LOADED)):
        theirs = json.loads((made / str(number) / "loaded.json").read_text())
        ours = load_rebuilt(made / str(number))
        assert [ours.encode(text) for text in TOLD] == theirs["ids"]


@pytest.mark.parametrize(
    "settings", [{"tokenizer_class": "CohereTokenizer"}, {"auto_map": {"AutoTokenizer": ["code.Own", None]}}]
)
def test_of_other_classes_and_of_code_of_its_own_transformers_is_asked(
    save: Save, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match="transformers is not installed"):
        load_rebuilt(save(of_bytes(), {"model_type": "qwen3"}, **settings))


def test_without_transformers_only_a_tokenizer_that_its_file_describes_is_read(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match="transformers is not installed"):
        load_rebuilt(save(bpe(), {"model_type": "llama"}, tokenizer_class="LlamaTokenizer"))
    plain = load_rebuilt(save(bpe(), {"model_type": "llama"}, tokenizer_class="TokenizersBackend"))
    assert plain.encode("We look") == plain.fast.encode("We look", add_special_tokens=False).ids
