"""Counts against the tokenizers library on text that is written out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tunekeeper.text.counting import completion_tokens, prompt_tokens
from tunekeeper.text.tokenizers import TokenizerFiles, read_tokenizer

CHAT = "chat.completions"
HELLO = {"messages": [{"role": "user", "content": "Where is my parcel, größe 🎉?"}]}
RENDERED = "<|im_start|>user\nWhere is my parcel, größe 🎉?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(__file__).parents[2] / "examples" / "support_desk" / "base"


@pytest.fixture(scope="module")
def files(folder: Path) -> TokenizerFiles:
    return read_tokenizer(folder)


@pytest.fixture(scope="module")
def outside(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def answers(*choices: Any) -> dict[str, Any]:
    return {"choices": list(choices)}


def said(text: Any, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}


def test_a_chat_is_counted_as_the_template_writes_it(files: TokenizerFiles, outside: Tokenizer) -> None:
    assert prompt_tokens(files, CHAT, HELLO) == len(outside.encode(RENDERED, add_special_tokens=False).ids)
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Where is my parcel, größe 🎉?"}]}]}
    assert prompt_tokens(files, CHAT, parts) == prompt_tokens(files, CHAT, HELLO)


def test_what_the_slot_puts_first_counts(files: TokenizerFiles, outside: Tokenizer) -> None:
    text = f"<|im_start|>system\nBe kind.<|im_end|>\n{RENDERED}"
    counted = prompt_tokens(files, CHAT, HELLO, own=({"role": "system", "content": "Be kind."},))
    assert counted == len(outside.encode(text, add_special_tokens=False).ids)


def test_a_system_message_that_the_slot_s_own_replaced_does_not_count(files: TokenizerFiles) -> None:
    own = ({"role": "system", "content": "Be kind."},)
    asked = {"messages": [{"role": "system", "content": "Be as formal as you can."}, *HELLO["messages"]]}
    assert prompt_tokens(files, CHAT, asked, own=own) == prompt_tokens(files, CHAT, HELLO, own=own)


def test_an_answer_has_its_end_token_only_where_it_ended(files: TokenizerFiles, outside: Tokenizer) -> None:
    plain = len(outside.encode("It is late.", add_special_tokens=False).ids)
    assert completion_tokens(files, answers(said("It is late."))) == plain + 1
    assert completion_tokens(files, answers(said("It is late.", None))) == plain
    assert completion_tokens(files, answers(said("It is late.", "length"), said("It is late."))) == 2 * plain + 1
    assert completion_tokens(files, answers({"text": "It is late.", "finish_reason": "length"})) == plain


def test_plain_prompts_and_inputs_are_counted(files: TokenizerFiles, outside: Tokenizer) -> None:
    one = len(outside.encode("Dear shop,").ids)
    assert prompt_tokens(files, "completions", {"prompt": "Dear shop,"}) == one
    assert prompt_tokens(files, "embeddings", {"input": ["Dear shop,", [1, 2, 3]]}) == one + 3


@pytest.mark.parametrize(
    "request_",
    [
        None,
        "text",
        {},
        {"messages": ["hello"]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"messages": [{"content": "no role"}]},
    ],
)
def test_what_cannot_be_counted_is_none(files: TokenizerFiles, request_: Any) -> None:
    assert prompt_tokens(files, CHAT, request_) is None or request_ == {}
    assert prompt_tokens(files, "completions", request_) is None


@pytest.mark.parametrize(
    "response",
    [
        None,
        {"choices": []},
        answers("text"),
        answers(said(None)),
        answers(said("", tool_calls=[{"function": {"name": "find"}}])),
        answers(said("Yes.", reasoning_content="Let me think.")),
        answers(said("Yes."), said(None)),
    ],
)
def test_an_answer_that_is_more_than_text_is_none(files: TokenizerFiles, response: Any) -> None:
    assert completion_tokens(files, response) is None


def test_a_folder_without_a_template_counts_no_chat(files: TokenizerFiles) -> None:
    bare = TokenizerFiles(folder=files.folder, tokenizer=files.tokenizer)
    assert prompt_tokens(bare, CHAT, HELLO) is None


def test_the_date_of_a_template_is_the_requests(files: TokenizerFiles, outside: Tokenizer) -> None:
    dated = TokenizerFiles(folder=files.folder, tokenizer=files.tokenizer, template="{{ strftime_now('%d %b %Y') }}")
    counted = prompt_tokens(dated, CHAT, HELLO, now=datetime(2026, 1, 2, tzinfo=UTC))
    assert counted == len(outside.encode("02 Jan 2026", add_special_tokens=False).ids)
