from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.errors import ArtifactError
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.lengths import Limits, limits_of
from tunekeeper.data.quality import examine
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import read_tokenizer

MakeExample = Callable[..., Example]
BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The example's base without its weights."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        shutil.copyfile(BASE / name, tmp_path / name)
    return tmp_path


def test_a_conversation_is_counted_as_the_base_reads_it(base: Path, row: MakeExample) -> None:
    limits, example = limits_of(base), row("The parcel has not arrived in Oslo.", '{"category": "shipping"}')
    files = read_tokenizer(base)
    text = render(str(files.template), example.messages, add_generation_prompt=False, special=files.special())
    assert limits.context == 1024
    assert limits.count is not None
    assert limits.count(example) == len(files.encode(text)) > len(files.encode("The parcel has not arrived in Oslo."))
    parts = ({"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"})
    plain = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
    assert limits.count(replace(example, messages=parts)) == limits.count(replace(example, messages=plain))


def test_a_row_is_too_long_by_the_true_number_of_tokens(base: Path, row: MakeExample) -> None:
    limits, example = limits_of(base), row("Qx" * 600, "yes")
    assert limits.count is not None
    tokens = limits.count(example)
    assert examine(example, Config(), context=tokens, count=limits.count) == []
    found = examine(example, Config(), context=tokens - 1, count=limits.count)
    assert [(f.kind, f.detail) for f in found] == [("too_long", f"{tokens} tokens, {tokens - 1} fit")]


def test_without_a_template_the_texts_are_counted(base: Path, row: MakeExample) -> None:
    example = row("The parcel.", "yes")
    (base / "chat_template.jinja").unlink()
    (base / "tokenizer_config.json").write_text("{}")
    limits, files = limits_of(base), read_tokenizer(base)
    assert limits.count is not None
    assert limits.count(example) == sum(len(files.encode(m["content"])) + 4 for m in example.messages)
    (base / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    broken = limits_of(base).count
    assert broken is not None
    assert broken(example) == limits.count(example)


def test_what_a_base_does_not_say_is_not_known(tmp_path: Path) -> None:
    assert limits_of(tmp_path) == Limits(context=None, count=None)
    for value, context in (
        ({"text_config": {"max_position_embeddings": 8192}}, 8192),
        ({"max_position_embeddings": True}, None),
        ({"model_type": "gpt2", "n_positions": 1024, "n_ctx": 1024}, 1024),
        ([], None),
    ):
        (tmp_path / "config.json").write_text(json.dumps(value))
        assert limits_of(tmp_path).context == context
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"config\.json: not JSON"):
        limits_of(tmp_path)


def test_a_tokenizer_that_transformers_makes_otherwise_is_counted_as_the_model_is_trained(
    base: Path, row: MakeExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    settings = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    limits, example = limits_of(base), row("The parcel has not arrived.", "We look for it.")
    assert limits.count is not None
    theirs = AutoTokenizer.from_pretrained(base).apply_chat_template(list(example.messages), return_dict=True)["input_ids"]
    assert (limits.count(example), limits.assumed) == (len(theirs), "")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert limits_of(base).assumed == ""
    (base / "tokenizer_config.json").write_text(json.dumps(settings | {"auto_map": {"AutoTokenizer": ["code.Own", None]}}))
    assert limits_of(base).assumed == (
        "counted by tokenizer.json alone: transformers is not installed (fix: pip install 'tunekeeper[train]'), "
        "which may make another tokenizer of its files"
    )


def test_a_checkpoint_without_tokenizer_json_is_counted_or_it_is_said_why_not(
    base: Path, row: MakeExample, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "tokenizer.json").unlink()
    assert limits_of(base).assumed == (
        f"estimated at 4 characters a token: {base}: transformers finds no vocabulary for its tokenizer "
        "(fix: save it with a tokenizer.json)"
    )
    (base / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    (base / "config.json").write_text(json.dumps({"model_type": "t5", "n_positions": 1024}))
    (base / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    limits = limits_of(base)
    assert limits.count is not None
    assert limits.count(row("Größe", "ok")) == len("Triage the ticket. Answer with JSON.Größeok".encode())
    monkeypatch.setitem(sys.modules, "transformers", None)
    unknown = limits_of(base)
    assert (unknown.count, unknown.context) == (None, 1024)
    assert unknown.assumed.startswith("estimated at 4 characters a token: transformers is not installed")
