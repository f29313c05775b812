from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tunekeeper.core.nouns.data import ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.redacting import revealed
from tunekeeper.data.sources import Correction, answer_text, corrections, served_answer
from tunekeeper.text.redaction import Redactor
from tunekeeper.text.seals import Seal, make_keys

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
ID = "req_1"


def inference(answer: Any = "served", **fields: Any) -> Inference:
    request = {"messages": [{"role": "user", "content": "Mail ana@example.com"}]}
    response = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
    return Inference(
        **{
            "request_id": ID,
            "timestamp": AT,
            "model_id": "desk",
            "version": "v1",
            "request": request,
            "response": response,
            **fields,
        }
    )


def said(value: Any, kind: Any = "edit", second: int = 0) -> Feedback:
    return Feedback(id=f"fb_{second}", request_id=ID, timestamp=AT.replace(second=second), kind=kind, value=value, by="ana")


def reviewed(verdict: Any, answer: str | None = None) -> ReviewItem:
    return ReviewItem(
        id="rev_1", model="desk", request_id=ID, why="sample", state="done", verdict=verdict, answer=answer, by="eve"
    )


def collect(*feedback: Feedback, review: ReviewItem | None = None, of: Inference | None = None) -> list[Correction]:
    return corrections([of or inference()], feedback, [review] if review else [], system="Be kind", redactor=Redactor())


def test_a_correction_carries_the_whole_provenance_and_no_personal_data() -> None:
    [found] = collect(said("right, bo@example.com"))
    assert [m["content"] for m in found.example.messages] == ["Be kind", "Mail [EMAIL]", "right, [EMAIL]"]
    assert (found.example.id, found.example.source, found.served, found.changed) == (ID, "inference:req_1", "served", True)
    assert found.example.metadata == {
        "id": ID,
        "request_id": ID,
        "created": AT.isoformat(),
        "said_as": "edit",
        "said_by": "ana",
        "said_at": AT.isoformat(),
        "version": "v1",
        "rejected": "served",
    }


@pytest.mark.parametrize(
    ("feedback", "review", "right"),
    [
        ([said("a", second=1), said("b", second=2)], None, "b"),
        ([said("late", second=2), said("early", second=1)], None, "late"),
        ([said({"category": "bug"}, kind="label")], None, '{"category": "bug"}'),
        ([said("user's")], reviewed("edited", "expert's"), "expert's"),
        ([said("user's")], reviewed("good"), "served"),
        ([], reviewed("good"), "served"),
        ([], reviewed("bad", "better"), "better"),
    ],
)
def test_the_last_word_counts_and_a_review_outweighs_feedback(
    feedback: list[Feedback], review: ReviewItem | None, right: str
) -> None:
    [found] = collect(*feedback, review=review)
    assert found.example.messages[-1]["content"] == right
    assert found.changed is (right != "served")


@pytest.mark.parametrize(
    ("feedback", "review"),
    [
        ([], None),
        ([said("down", kind="thumb")], None),
        ([said("  ")], None),
        ([said(7)], None),
        ([said("user's")], reviewed("excluded")),
        ([said("user's")], reviewed("bad")),
    ],
)
def test_without_a_right_answer_there_is_no_correction(feedback: list[Feedback], review: ReviewItem | None) -> None:
    assert collect(*feedback, review=review) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"request": None},
        {"response": None},
        {"request": {"messages": []}},
        {"request": {"messages": ["x"]}},
        {"response": {"choices": []}},
    ],
)
def test_an_inference_whose_body_was_not_kept_teaches_nothing(fields: dict[str, Any]) -> None:
    assert collect(said("right"), of=inference(**fields)) == []


def test_what_the_gateway_sealed_goes_along_and_opens_with_what_is_sealed_here() -> None:
    secret, public = make_keys()
    asked = {"messages": [{"role": "user", "content": "Mail [EMAIL:1]"}], "sealed": Seal(public).close({"[EMAIL:1]": "a@b.com"})}
    redactor = Redactor(seal=Seal(public))
    [found] = corrections([inference(request=asked)], [said("to bo@example.com")], [], system=None, redactor=redactor)
    assert [m["content"] for m in found.example.messages] == ["Mail [EMAIL:1]", "to [EMAIL:2]"]
    clear = revealed(found.example, secret)
    assert [m["content"] for m in clear.messages] == ["Mail a@b.com", "to bo@example.com"]
    [bare] = corrections([inference(request=asked)], [said("good")], [], system=None, redactor=Redactor())
    assert revealed(bare.example, secret).messages[0]["content"] == "Mail a@b.com"


@pytest.mark.parametrize("own", ["private", {"a": 1}, ["x"], 7])
def test_a_client_s_own_field_of_that_name_is_taken_for_no_box(own: Any) -> None:
    secret, public = make_keys()
    asked = {"messages": [{"role": "user", "content": "hi"}], "sealed": own}
    redactor = Redactor(seal=Seal(public))
    [found] = corrections([inference(request=asked)], [said("to bo@example.com")], [], system=None, redactor=redactor)
    assert revealed(found.example, secret).messages[-1]["content"] == "to bo@example.com"
    [bare] = corrections([inference(request=asked)], [said("good")], [], system=None, redactor=Redactor())
    assert "sealed" not in bare.example.metadata


def test_the_same_json_in_another_order_is_no_change() -> None:
    [found] = collect(said('{"b": 2, "a": 1}'), of=inference('{"a": 1, "b": 2}'))
    assert not found.changed
    assert served_answer(inference(None)) is None


def test_a_praised_answer_becomes_an_example_where_nobody_said_more() -> None:
    up = said("up", kind="thumb")
    cut = inference(finish_reason="length", unit_kind="user", unit="4111111111111111", key_id="key_1")
    [found] = corrections([cut], [], [], system=None, redactor=Redactor(), approved={ID: up})
    assert (found.changed, found.example.messages[-1]["content"]) == (False, "served")
    kept = {key: found.example.metadata[key] for key in ("said_as", "said_by", "finish_reason", "user_id", "key_id")}
    assert kept == {
        "said_as": "thumb",
        "said_by": "ana",
        "finish_reason": "length",
        "user_id": "u4111111111111111",
        "key_id": "key_1",
    }
    assert found.redacted == {"email": 1}
    [found] = corrections([cut], [said("right", second=1)], [], system=None, redactor=Redactor(), approved={ID: up})
    assert found.example.messages[-1]["content"] == "right"
    assert "finish_reason" not in found.example.metadata


CALL = {"id": "call_1", "type": "function", "function": {"name": "refund", "arguments": '{"to": "ana@example.com"}'}}


def calling(content: str | None = None, calls: Any = (CALL,)) -> Inference:
    message = {"role": "assistant", "content": content, "tool_calls": list(calls) if isinstance(calls, tuple) else calls}
    request = {
        "messages": [{"role": "user", "content": "Refund me"}],
        "tools": [{"type": "function", "function": {"name": "refund"}}],
    }
    return inference(request=request, response={"choices": [{"message": message}]})


@pytest.mark.parametrize("content", [None, "One moment."])
def test_tool_calls_that_were_found_good_are_learned_as_they_were_served(content: str | None) -> None:
    praise = {ID: said(1, kind="thumb")}
    [praised] = corrections([calling(content)], [], [], system=None, redactor=Redactor(), approved=praise)
    [approved] = collect(review=reviewed("good"), of=calling(content))
    for found in (praised, approved):
        answer = found.example.messages[-1]
        assert (answer["content"], answer["tool_calls"][0]["function"]["name"]) == (content, "refund")
        assert answer["tool_calls"][0]["function"]["arguments"] == '{"to": "[EMAIL]"}'
        assert found.example.tools
        assert not found.changed


def test_a_text_that_should_have_stood_in_the_place_of_tool_calls_is_learned_without_them() -> None:
    [found] = collect(said("I cannot refund that."), of=calling())
    assert found.example.messages[-1] == {"role": "assistant", "content": "I cannot refund that."}
    assert found.changed
    assert json.loads(found.example.metadata["rejected"])[0]["function"] == {
        "name": "refund",
        "arguments": '{"to": "[EMAIL]"}',
    }


@pytest.mark.parametrize("content", [None, "One moment."])
def test_tool_calls_that_a_reviewer_corrected_are_learned_as_calls(content: str | None) -> None:
    shown = answer_text(calling(content))
    assert shown is not None
    right = shown.replace('"refund"', '"replace"').replace(r'"{\"to\": \"ana@example.com\"}"', '{"item": 7}')
    [found] = collect(review=reviewed("edited", right), of=calling(content))
    answer = found.example.messages[-1]
    assert (answer["content"], found.changed) == (content, True)
    assert [each["function"] for each in answer["tool_calls"]] == [{"name": "replace", "arguments": '{"item": 7}'}]
    assert found.example.metadata["rejected"] == Redactor().redact(shown)[0]
    [same] = collect(review=reviewed("edited", shown), of=calling(content))
    assert not same.changed


def test_json_is_no_call_where_no_tool_was_there_to_be_called() -> None:
    [found] = collect(review=reviewed("edited", '[{"function": {"name": "x"}}]'))
    assert found.example.messages[-1] == {"role": "assistant", "content": '[{"function": {"name": "x"}}]'}


@pytest.mark.parametrize("calls", ["refund", [1], [{"id": "x"}], []])
def test_what_is_no_list_of_function_calls_teaches_nothing(calls: Any) -> None:
    assert collect(review=reviewed("good"), of=calling(calls=calls)) == []
