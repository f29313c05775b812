"""Previews: rendered text, masked tokens, files of messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.core.errors import ArtifactError, DataError
from tunekeeper.training.previewing import codec_of, preview, read_messages
from tunekeeper.training.rows import Row

from .conftest import BASE

ASKED = ({"role": "user", "content": "Héllo"},)


def test_a_question_is_rendered_up_to_the_prompt_for_its_answer() -> None:
    shown = preview(BASE, Row(id="r", messages=ASKED))
    assert shown.rendered == "<|im_start|>user\nHéllo<|im_end|>\n<|im_start|>assistant\n"
    assert shown.learned == 0
    assert "".join(token.text for token in shown.tokens) == shown.rendered


def test_a_character_that_several_tokens_make_stands_whole_with_the_last_of_them() -> None:
    said = {"role": "assistant", "content": "naïve 🙂 漢字 \ufffd"}
    shown = preview(BASE, Row(id="r", messages=(*ASKED, said)))
    assert "".join(token.text for token in shown.tokens if token.learned) == f"{said['content']}<|im_end|>"
    assert [token.text for token in shown.tokens if token.text in ("ï", "🙂", "漢")] == ["ï", "🙂", "漢"]
    assert any(token.text == "" for token in shown.tokens)


def test_an_answered_conversation_shows_what_is_learned() -> None:
    shown = preview(BASE, Row(id="r", messages=(*ASKED, {"role": "assistant", "content": "ok"})))
    assert shown.rendered.endswith("assistant\nok<|im_end|>\n")
    assert "".join(token.text for token in shown.tokens if token.learned) == "ok<|im_end|>"


def test_a_token_shows_how_much_it_counts() -> None:
    half = {"role": "assistant", "content": "ok", "weight": 0.5}
    shown = preview(BASE, Row(id="r", messages=(*ASKED, half, *ASKED, {"role": "assistant", "content": "so"})))
    assert {token.weight for token in shown.tokens if token.learned} == {0.5, 1.0}
    assert "".join(token.text for token in shown.tokens if token.weight == 0.5) == "ok<|im_end|>"
    assert {token.weight for token in shown.tokens if not token.learned} == {0.0}


def test_the_file_may_be_a_list_an_object_or_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    for text in (
        json.dumps(ASKED),
        json.dumps({"messages": ASKED}),
        json.dumps({"messages": ASKED}) + "\n" + json.dumps({"x": 1}),
    ):
        path.write_text(text)
        row, generate = read_messages(path)
        assert row.messages == ASKED
        assert generate is None
    path.write_text(json.dumps({"messages": ASKED, "add_generation_prompt": False}))
    assert read_messages(path)[1] is False


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", '[{"role": "robot"}]', '[{"role": "assistant", "content": "a", "weight": 2}]', '{"messages": 3}'],
)
def test_a_file_without_messages_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"m\.json"):
        read_messages(path)


def test_a_checkpoint_without_a_template_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((BASE / "tokenizer.json").read_bytes())
    with pytest.raises(ArtifactError, match="no chat template"):
        preview(tmp_path, Row(id="r", messages=ASKED))


def test_an_answer_ends_where_a_server_stops_which_the_generation_settings_may_say_alone(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((BASE / "tokenizer.json").read_bytes())
    template = "{% for m in messages %}{{ m.content }}<|im_end|>\n{% endfor %}{{ '' if add_generation_prompt else eos_token }}"
    (tmp_path / "chat_template.jinja").write_text(template)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_start|>"}))
    end = codec_of(BASE).tokenize("<|im_end|>")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [*end, 999_999]}))
    assert codec_of(tmp_path).ends == ("<|im_start|>", "<|im_end|>")
    said = (*ASKED, {"role": "assistant", "content": "ok"}, *ASKED, {"role": "assistant", "content": "so"})
    shown = preview(tmp_path, Row(id="r", messages=said))
    assert "".join(token.text for token in shown.tokens if token.learned) == "ok<|im_end|>so<|im_end|>"
    assert shown.conversations == 1
