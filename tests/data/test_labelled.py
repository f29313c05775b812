from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.data.conversations import Unreadable
from tunekeeper.data.rows import is_flat, parse_row


def annotated(*answers: Any, **more: Any) -> dict[str, Any]:
    """An annotation of Label Studio with these results."""
    kinds = {"text": "textarea", "choices": "choices"}
    result = [{"from_name": name, "to_name": "t", "type": kinds[kind], "value": {kind: value}} for name, kind, value in answers]
    return {"id": 1, "completed_by": {"id": 4, "email": "ana@example.com"}, "updated_at": "2026-03-02", "result": result, **more}


def task(*annotations: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"id": 17, "project": 3, "data": {"prompt": "Wo ist mein Paket?", **data}, "annotations": list(annotations)}


def test_a_task_of_label_studio_is_what_was_shown_and_what_somebody_wrote() -> None:
    made = parse_row(task(annotated(("answer", "text", ["In Köln."]), ("category", "choices", ["delivery"]))), {})
    assert [(m["role"], m["content"]) for m in made.messages] == [("user", "Wo ist mein Paket?"), ("assistant", "In Köln.")]
    assert made.shape == "label-studio"
    told = {"id": "17", "said_by": "ana@example.com", "said_at": "2026-03-02", "category": "delivery"}
    assert {key: made.metadata[key] for key in told} == told


def test_of_several_annotations_the_ground_truth_counts_then_the_last_that_was_not_cancelled() -> None:
    first, last = annotated(("answer", "text", ["A"])), annotated(("answer", "text", ["B"]))
    cancelled = annotated(("answer", "text", ["C"]), was_cancelled=True)
    assert parse_row(task(first, last, cancelled), {}).messages[-1]["content"] == "B"
    assert parse_row(task({**first, "ground_truth": True}, last), {}).messages[-1]["content"] == "A"
    with pytest.raises(Unreadable, match="nobody annotated"):
        parse_row(task(cancelled), {})


def test_messages_that_were_shown_are_the_question_and_a_mapping_names_other_fields() -> None:
    shown = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}]
    row = {"id": 1, "data": {"messages": shown}, "annotations": [annotated(("response", "text", ["See", "you"]))]}
    assert [m["content"] for m in parse_row(row, {}).messages] == ["Hi", "Hello", "Bye", "See\nyou"]
    told = task(annotated(("notes", "text", ["Kurz."])))
    assert parse_row(told, {"assistant": "notes"}).messages[-1]["content"] == "Kurz."
    with pytest.raises(Unreadable, match="no column for 'assistant'"):
        parse_row(told, {})
    assert not is_flat(told, {})


def test_a_record_of_argilla_is_its_fields_and_the_first_response() -> None:
    row = {
        "id": "r1",
        "status": "completed",
        "fields": {"question": "¿Cuánto cuesta?"},
        "metadata": {"topic": "prices"},
        "suggestions": {"answer": {"value": "5 €", "agent": "m"}},
        "responses": {"answer": [{"value": "6 €", "user_id": "u1"}, {"value": "7 €", "user_id": "u2"}]},
    }
    made = parse_row(row, {})
    assert [m["content"] for m in made.messages] == ["¿Cuánto cuesta?", "6 €"]
    assert (made.shape, made.metadata["id"], made.metadata["said_by"], made.metadata["category"]) == (
        "argilla",
        "r1",
        "u1",
        "prices",
    )
    with pytest.raises(Unreadable, match="suggestions are not taken"):
        parse_row({**row, "responses": {}}, {})
    with pytest.raises(Unreadable, match="discarded"):
        parse_row({**row, "status": "discarded"}, {})


def test_a_task_of_prodigy_is_learned_when_it_was_accepted_and_the_option_is_the_answer() -> None:
    options = [{"id": "s", "text": "Shipping"}, {"id": "l", "text": "Login"}]
    told = {"text": "Late!", "_input_hash": 1, "_task_hash": 2, "answer": "accept"}
    assert parse_row({**told, "options": options, "accept": ["s"]}, {}).messages[-1]["content"] == "Shipping"
    assert parse_row({**told, "label": "SHIPPING"}, {}).messages[-1]["content"] == "SHIPPING"
    for row, why in (({**told, "answer": "reject"}, "'reject'"), ({**told, "options": options, "accept": []}, "none was chosen")):
        with pytest.raises(Unreadable, match=why):
            parse_row(row, {})


def test_the_label_of_doccano_is_a_text_and_a_row_without_one_is_left_out() -> None:
    made = parse_row({"id": 1, "text": "How?", "label": ["So."], "Comments": []}, {})
    assert (made.messages[-1]["content"], made.shape) == ("So.", "doccano")
    assert parse_row({"id": 1, "data": "How?", "label": ["a", "b"]}, {}).messages[-1]["content"] == "a\nb"
    with pytest.raises(Unreadable, match="nobody labelled"):
        parse_row({"id": 1, "text": "How?", "label": []}, {})
