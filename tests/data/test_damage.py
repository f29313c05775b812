from __future__ import annotations

import time

import pytest

from tests.data.planted_faults import MOJIBAKE, NO_TEMPLATES, REAL_LETTERS, TEMPLATES
from tunekeeper.data.damage import mojibake, template_leak


def test_characters_that_were_damaged_are_found_whatever_encoding_did_it() -> None:
    assert [text for text in MOJIBAKE if not mojibake(text)] == []
    assert len(MOJIBAKE) == 52


def test_letters_that_only_look_damaged_are_left_alone() -> None:
    assert [text for text in REAL_LETTERS if mojibake(text)] == []
    assert len(REAL_LETTERS) == 45


def test_pieces_of_every_usual_template_are_found_in_prompts_and_answers() -> None:
    assert [text for text in TEMPLATES if not template_leak("What is it?", text)] == []
    spoken = ("Assistant: billing", "billing\n\nHuman: and now?", "Human: hi\n\nAssistant: hello", "ASSISTANT: hello")
    assert [text for text in TEMPLATES if text not in spoken and not template_leak(text, "billing")] == []
    assert len(TEMPLATES) == 58


def test_code_and_signs_that_only_resemble_a_template_are_left_alone() -> None:
    assert [text for text in NO_TEMPLATES if template_leak(text, "billing") or template_leak("What is it?", text)] == []
    assert len(NO_TEMPLATES) == 46


@pytest.mark.parametrize(
    "answer", ["Hello %CUSTOMER_NAME%, hi.", "Guten Tag ${vorname}, alles klar.", "Dear [[first_name]], yes."]
)
def test_a_blank_in_the_marks_of_letters_is_found(answer: str) -> None:
    assert template_leak("Is it open?", answer)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("How do I print a value?", "In Jinja you write {{ value }}."),
        ("Write a template for a letter.", "Dear {{ customer_name }}, thank you."),
        ("Which token ends a turn?", "Llama 2 marks it with `[/INST]`."),
        ("Where is it?", "In ${HOME}, or %APPDATA% on Windows."),
    ],
)
def test_who_talks_about_templates_leaks_none(prompt: str, answer: str) -> None:
    assert template_leak(prompt, answer) == ""


def test_a_speaker_that_the_question_names_is_asked_for() -> None:
    assert template_leak("Write a dialogue.", "Assistant: yes")
    assert template_leak("Write a dialogue of a user and an assistant.", "Assistant: yes") == ""


@pytest.mark.parametrize("text", ["\n", "USER: ", "</s> ", "<s>", "a?", "Ã¼"[:1], "```\n", "{{", "\nuser\n", "&amp;", "[", "<|"])
def test_no_text_makes_the_look_explode(text: str) -> None:
    long = text * (400_000 // len(text))
    begun = time.process_time()
    mojibake(long)
    template_leak(long, long)
    assert time.process_time() - begun < 10
