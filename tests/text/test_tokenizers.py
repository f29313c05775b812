from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.ids import digest_bytes, digest_file
from tunekeeper.text.tokenizers import read_tokenizer

WORDS = "Where is the parcel that I was told of, and who has it now?"


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    """The example base's tokenizer, to be changed."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(repository / "examples" / "support_desk" / "base" / name, tmp_path / name)
    return tmp_path


def test_text_becomes_ids_and_comes_back(folder: Path) -> None:
    files = read_tokenizer(folder)
    ids = files.encode("<|im_start|>user\nGröße 🎉<|im_end|>")

    assert ids[0] == files.vocabulary["<|im_start|>"]
    assert ids[-1] == files.id_of("eos_token") == files.vocabulary["<|im_end|>"]
    assert files.decode(ids) == "user\nGröße 🎉"
    assert files.special()["eos_token"] == "<|im_end|>"
    assert files.id_of("unk_token") is None


def test_digests_are_of_the_file_and_of_the_templates_text(folder: Path) -> None:
    files = read_tokenizer(folder)

    assert files.digest == digest_file(folder / "tokenizer.json")
    assert files.template_digest == digest_bytes((folder / "chat_template.jinja").read_bytes())


@pytest.mark.parametrize(
    ("value", "template"),
    [
        ("T", "T"),
        ([{"name": "tool", "template": "A"}, {"name": "default", "template": "B"}], "B"),
        ([], None),
        (None, None),
        (7, None),
    ],
)
def test_an_older_template_stands_in_the_configuration(folder: Path, value: Any, template: str | None) -> None:
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**config, "chat_template": value, "pad_token": {"content": "<|endoftext|>"}})
    )

    files = read_tokenizer(folder)

    assert files.template == template
    assert (files.template_digest is None) == (template is None)
    assert files.special()["pad_token"] == "<|endoftext|>"


@pytest.mark.parametrize(
    ("text", "why"), [("{", "not JSON"), ("[]", "not an object"), ("{}", "has no model"), ("[" * 99999, "not JSON")]
)
def test_a_broken_file_is_named(folder: Path, text: str, why: str) -> None:
    (folder / "tokenizer.json").write_text(text)

    with pytest.raises(ArtifactError, match=rf"tokenizer\.json: .*{why}"):
        read_tokenizer(folder)


def test_a_file_that_would_grow_a_hundredfold_is_refused_before_it_is_parsed(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"a": [' + "[]," * 2_100_000 + "0]}")

    with pytest.raises(ArtifactError, match="more than any tokenizer has"):
        read_tokenizer(folder)


def test_a_missing_or_unreadable_file_is_named(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="not UTF-8"):
        read_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: cannot be read .* \(fix: name the folder of a checkpoint"):
        read_tokenizer(folder)


def test_an_older_form_of_a_tokenizer_is_named_with_what_makes_the_newer_one(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    with pytest.raises(ArtifactError, match=r'only vocab\.json \(fix: python -c ".*AutoTokenizer.*save_pretrained'):
        read_tokenizer(folder)


def test_a_tokenizer_the_library_refuses_is_our_error(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": {"type": "Nothing"}}')

    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        read_tokenizer(folder).encode("hi")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"added_tokens": ["<e>"]}, "added_tokens is no list of tokens"),
        ({"added_tokens": [{"id": "x", "content": "<e>"}]}, "added_tokens is no list of tokens"),
        ({"model": {"type": "BPE", "vocab": {"a": None}}}, "its vocab is no mapping"),
        ({"model": {"type": "BPE", "vocab": [1, 2]}}, "its vocab is no mapping"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": 5}}, "pretokenizers is no list of steps"),
        ({"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": 5}]}}, "SpecialToken names no token"),
    ],
)
def test_a_tokenizer_that_is_written_as_none_is_refused(folder: Path, change: dict[str, Any], why: str) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(ArtifactError, match=rf"tokenizer\.json: {why}"):
        read_tokenizer(folder)


def test_half_a_character_in_a_template_is_a_question_mark(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text('{"chat_template": "a\\ud800b"}')
    files = read_tokenizer(folder)
    assert (files.template, files.template_digest) == ("a?b", digest_bytes(b"a?b"))


def test_what_was_cut_and_filled_up_when_a_tokenizer_was_saved_is_counted_whole(folder: Path) -> None:
    fast = read_tokenizer(folder).fast
    whole = [fast.encode(text).ids for text in (WORDS, "a")]
    fast.enable_truncation(4)
    fast.enable_padding(length=16)
    fast.save(str(folder / "tokenizer.json"))

    files = read_tokenizer(folder)

    assert [files.encode(WORDS), files.encode("a")] == whole


@pytest.mark.parametrize(
    "config",
    [
        {"added_tokens_decoder": {"5000": {"content": "<|tool|>", "special": True, "normalized": False}, "x": 3}},
        {"additional_special_tokens": ["<|tool|>", 5, {"content": None}]},
        {"extra_special_tokens": [{"content": "<|tool|>", "lstrip": False}]},
        {"mask_token": "<|tool|>", "cls_token": "\ud800"},
    ],
)
def test_a_token_that_only_the_settings_name_is_one(folder: Path, config: dict[str, Any]) -> None:
    plain = read_tokenizer(folder)
    assert len(plain.encode("<|tool|>")) > 1
    (folder / "tokenizer_config.json").write_text(json.dumps(plain.config | config))

    named = read_tokenizer(folder)

    assert len(named.encode("<|tool|>")) == 1
    assert named.encode(WORDS) == plain.encode(WORDS)


def test_special_tokens_are_text_where_the_settings_say_so(folder: Path) -> None:
    plain = read_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(plain.config | {"split_special_tokens": True}))

    assert len(plain.encode("<|im_end|>")) == 1
    assert len(read_tokenizer(folder).encode("<|im_end|>")) > 1


def test_a_vocabulary_of_scores_is_numbered_in_its_order(folder: Path) -> None:
    told = {"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -3.5], ["</s>", -9.1]], "unk_id": 0}}
    (folder / "tokenizer.json").write_text(json.dumps(told))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))

    assert read_tokenizer(folder).vocabulary == {"<unk>": 0, "a": 1, "</s>": 2}
    assert read_tokenizer(folder).id_of("eos_token") == 2
