"""Conversations written as one text: every usual way to mark the turns, and what is no transcript."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.rows import parse_row
from tunekeeper.data.transcripts import turns_of

ASKED, SAID = "Deckt meine Police Sturmschäden?\n\nUnd Hagel?", "Ja, ab Windstärke 8.\n\n- Hagel auch"
TOLD = {"role": "system", "content": "Be brief."}
TALK = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]
FORMS = {
    "hh": f"\n\nHuman: {ASKED}\n\nAssistant: {SAID}",
    "guanaco": f"### Human: {ASKED}### Assistant: {SAID}",
    "alpaca": "Below is an instruction that describes a task. Write a response.\n\n"
    f"### Instruction:\n{ASKED}\n\n### Response:\n{SAID}</s>",
    "vicuna": f"USER: {ASKED} ASSISTANT: {SAID}</s>",
    "chatml": f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{SAID}<|im_end|>\n",
    "llama2": f"<s>[INST] {ASKED} [/INST] {SAID} </s>",
    "llama3": f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{ASKED}<|eot_id|>"
    f"<|start_header_id|>assistant<|end_header_id|>\n\n{SAID}<|eot_id|>",
    "llama4": f"<|header_start|>user<|header_end|>\n\n{ASKED}<|eot|><|header_start|>assistant<|header_end|>\n\n{SAID}<|eot|>",
    "gemma": f"<bos><start_of_turn>user\n{ASKED}<end_of_turn>\n<start_of_turn>model\n{SAID}<end_of_turn>",
    "phi": f"<|user|>\n{ASKED}<|end|>\n<|assistant|>\n{SAID}<|end|>\n<|endoftext|>",
    "gpt-oss": f"<|start|>user<|message|>{ASKED}<|end|><|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>"
    f"<|start|>assistant<|channel|>final<|message|>{SAID}<|return|>",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_text_with_marked_turns_is_read_as_a_conversation(form: str) -> None:
    found = parse_row({"text": FORMS[form], "id": "t1"}, {})
    assert (list(found.messages), found.shape, found.metadata) == (TALK, "transcript", {"id": "t1"})


@pytest.mark.parametrize(
    "text",
    [
        f"<|im_start|>system\nBe brief.<|im_end|>\n{FORMS['chatml']}",
        f"<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n{ASKED} [/INST] {SAID} </s>",
        f"Be brief.\n{FORMS['guanaco']}",
        f"System: Be brief.{FORMS['hh']}",
    ],
)
def test_its_instructions_are_the_system_message(text: str) -> None:
    assert turns_of(text) == [TOLD, *TALK]


def test_an_input_belongs_to_its_instruction_and_a_turn_that_is_only_begun_is_none() -> None:
    text = "### Instruction:\nTranslate.\n\n### Input:\nGuten Tag\n\n### Response:\nGood day."
    assert turns_of(text) == [{"role": "user", "content": "Translate.\nGuten Tag"}, {"role": "assistant", "content": "Good day."}]
    assert turns_of("\n\nHuman: Hi\n\nAssistant:") == [{"role": "user", "content": "Hi"}]


def preference(prompt: str | None, good: str, bad: str) -> dict[str, Any]:
    return {"chosen": good, "rejected": bad} | ({"prompt": prompt} if prompt else {})


@pytest.mark.parametrize(
    "row",
    [
        preference(None, FORMS["hh"], f"\n\nHuman: {ASKED}\n\nAssistant: No idea."),
        preference(f"\n\nHuman: {ASKED}\n\nAssistant:", f" {SAID}", " No idea."),
    ],
)
def test_a_preference_may_be_two_transcripts_or_begin_with_one(row: dict[str, Any]) -> None:
    found = parse_row(row, {})
    assert [message["role"] for message in found.messages] == ["user", "assistant"]
    assert (found.messages[0]["content"], found.messages[1]["content"].strip()) == (ASKED, SAID)
    assert found.metadata["rejected"].strip() == "No idea."


@pytest.mark.parametrize("text", ["Human rights: a talk.", "He said\n\nAssistant: none", "", "[/INST] an answer alone"])
def test_a_text_in_which_nobody_is_marked_to_ask_is_no_transcript(text: str) -> None:
    assert turns_of(text) is None
    with pytest.raises(Unreadable, match="no column for 'assistant'"):
        parse_row({"text": text}, {})


def test_a_text_beside_an_answer_is_a_question_whatever_is_in_it() -> None:
    found = parse_row({"text": FORMS["chatml"], "answer": "spam"}, {})
    assert (found.shape, found.messages[-1]["content"]) == ("columns", "spam")
