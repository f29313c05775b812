"""Masking: the loss counts the assistant's answers and their ends, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.errors import DataError
from tunekeeper.training.encode import Codec, encode, segments
from tunekeeper.training.previewing import codec_of
from tunekeeper.training.rows import Row

BASE = Path(__file__).parents[2] / "examples" / "support_desk" / "base"
SYSTEM = {"role": "system", "content": "Be brief."}


def dialogue(*turns: tuple[str, str], **extra: Any) -> Row:
    return Row(id="r", messages=(SYSTEM, *({"role": role, "content": text} for role, text in turns)), **extra)


def test_only_the_answer_and_its_end_are_learned() -> None:
    codec = codec_of(BASE)
    row = dialogue(("user", "Hi"), ("assistant", '{"category": "bug"}'))
    assert segments(codec, row) == [
        ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", False),
        ('{"category": "bug"}<|im_end|>', True),
    ]
    found = encode(codec, row)
    assert len(found.ids) == len(found.learned)
    assert sum(found.learned) == len(codec.tokenize('{"category": "bug"}<|im_end|>'))
    assert found.ids[-1] == codec.tokenize("<|im_end|>")[0]


def test_the_prompt_has_the_ids_a_server_makes_of_it() -> None:
    codec = codec_of(BASE)
    row = dialogue(("user", "My card é was declined"), ("assistant", " leading space"))
    found = encode(codec, row)
    prompt = codec.render(list(row.messages[:-1]), [], True)
    asked = [id for id, learned in zip(found.ids, found.learned, strict=True) if not learned]
    assert asked == codec.tokenize(prompt)


def test_every_answer_of_a_dialogue_is_learned_except_those_of_weight_zero() -> None:
    codec = codec_of(BASE)
    row = dialogue(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    assert [text for text, learned in segments(codec, row) if learned] == ["one<|im_end|>", "two<|im_end|>"]
    assert "".join(text for text, _ in segments(codec, row)) + "\n" == codec.render(list(row.messages), [], False)
    silent = Row(id="r", messages=(*row.messages[:2], {**row.messages[2], "weight": 0}, *row.messages[3:]))
    assert [text for text, learned in segments(codec, silent) if learned] == ["two<|im_end|>"]


def test_a_row_whose_answers_all_have_weight_zero_is_refused() -> None:
    row = Row(id="r7", messages=({"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}))
    with pytest.raises(DataError, match="r7"):
        encode(codec_of(BASE), row)


def test_a_row_that_the_template_refuses_is_named_with_what_it_says() -> None:
    def render(messages: Any, tools: Any, prompt: bool) -> str:
        raise RuntimeError("System role\nnot supported")

    codec = Codec(render=render, tokenize=lambda text: [], ends=())
    with pytest.raises(DataError, match="row r: the base's chat template refuses it: System role not supported"):
        encode(codec, dialogue(("user", "a"), ("assistant", "b")))


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    def shouting(messages: list[dict[str, Any]], tools: list[dict[str, Any]], prompt: bool) -> str:
        text = "".join(message["content"] for message in messages)
        return text if prompt else text.upper()

    codec = Codec(render=shouting, tokenize=lambda text: list(text.encode()), ends=())
    with pytest.raises(DataError, match="rewrites"):
        encode(codec, dialogue(("user", "q"), ("assistant", "a")))
