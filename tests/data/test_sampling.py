from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.conversations import Conversation
from tunekeeper.data.examples import make_example
from tunekeeper.data.sampling import choose, contradicted, known_shingles, novelty

START = datetime(2026, 1, 5, tzinfo=UTC)


def inference(place: int, question: str = "hello", answer: str = "fine", **fields: Any) -> Inference:
    request = {"messages": [{"role": "user", "content": question}]}
    response = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
    at = START + timedelta(minutes=place)
    return Inference(request_id=f"req_{place:05}", timestamp=at, model_id="desk", request=request, response=response, **fields)


def drawn(found: list[Inference], n: int, **options: Any) -> list[Any]:
    return choose(found, n, random.Random(1), **options)


def test_rare_segments_topics_and_lengths_come_early() -> None:
    usual = [inference(i, answer=json.dumps({"category": "bug"}), segments={"plan": "free"}) for i in range(500)]
    rare = [
        inference(900, answer=json.dumps({"category": "bug"}), segments={"plan": "pro"}),
        inference(901, answer=json.dumps({"category": "fraud"}), segments={"plan": "free"}),
        inference(902, answer=json.dumps({"category": "bug", "why": "x" * 900}), segments={"plan": "free"}),
    ]
    chosen = drawn([*usual, *rare], 8)
    assert {i.request_id for i in rare} <= {c.inference.request_id for c in chosen}
    assert len({c.inference.request_id for c in chosen}) == 8


def test_no_stratum_gets_more_than_its_turn_while_others_are_left() -> None:
    sizes = {"a": 1000, "b": 50, "c": 10, "d": 3}
    found = [inference(i, segments={"s": name}) for i, name in enumerate(name for name, n in sizes.items() for _ in range(n))]
    counted = Counter(c.inference.segments["s"] for c in drawn(found, 40))
    assert counted["d"] == 3
    assert counted["c"] == 10
    assert abs(counted["a"] - counted["b"]) <= 1


def test_a_segment_with_a_value_for_nearly_everybody_does_not_hide_what_is_rare_in_another() -> None:
    usual = [inference(i, segments={"tenant": f"t{i}", "plan": "free"}) for i in range(400)]
    rare = inference(900, segments={"tenant": "t900", "plan": "enterprise"})
    chosen = drawn([*usual, rare], 8)
    assert rare in [c.inference for c in chosen]
    assert any("segment plan=enterprise, tenant=t900" in reason for c in chosen for reason in c.reasons)


def test_a_json_answer_that_names_no_category_goes_by_its_first_text_or_else_by_its_question() -> None:
    nested = [inference(i, f"invoice {i}", json.dumps({"order": {"id": i}, "n": i})) for i in range(4)]
    told = inference(8, answer=json.dumps({"n": 1, "status": "late"}))
    topics = {c.inference.request_id: c.reasons[-1] for c in drawn([*nested, told, *(inference(20 + i) for i in range(40))], 45)}
    assert all("topic invoice" in topics[each.request_id] for each in nested)
    assert "topic late" in topics[told.request_id]


def test_the_length_of_an_answer_is_said_in_words() -> None:
    said = [c.reasons[-1] for c in drawn([inference(1, answer="y"), inference(2, answer="no")], 2)]
    assert sorted(each.rpartition("length ")[2] for each in said) == ["1 character", "2 to 3 characters"]


def test_low_confidence_is_looked_at_first_and_said() -> None:
    found = [inference(i, confidence=0.3 + i / 1000 if i % 10 == 0 else 0.9 + i / 10_000) for i in range(200)]
    chosen = drawn(found, 10)
    low = [c for c in chosen if c.why == "low_confidence"]
    assert len(low) == 5, "a fifth of all, half of the sample"
    assert [c.inference.confidence for c in low] == pytest.approx([0.3, 0.31, 0.32, 0.33, 0.34])
    assert low[0].reasons[0] == "its confidence of 0.30 is among the lowest fifth"


def test_what_the_dataset_does_not_know_is_new() -> None:
    rows = [
        make_example(
            Conversation(
                messages=(
                    {"role": "user", "content": f"my parcel number {i} has not arrived yet"},
                    {"role": "assistant", "content": "ok"},
                ),
                metadata={},
            ),
            source="file:x",
        )
        for i in range(20)
    ]
    known = known_shingles(rows)
    assert novelty("my parcel number 3 has not arrived yet", known) == 0.0
    assert novelty("please cancel the subscription of our whole team", known) == 1.0
    assert novelty("", known) is None
    found = [inference(i, f"my parcel number {i} has not arrived yet") for i in range(20)]
    found += [inference(50, "please cancel the subscription of our whole team")]
    chosen = drawn(found, 2, known=known, dataset="desk/d3")
    assert [c.why for c in chosen if c.inference.request_id == "req_00050"] == ["novel"]
    assert "100% of its question's word 3-grams are not in desk/d3" in [r for c in chosen for r in c.reasons]


def test_disagreement_is_the_strongest_reason() -> None:
    found = [inference(i, confidence=0.1 if i == 7 else 0.9) for i in range(40)]
    chosen = drawn(found, 2, against={"req_00007": "the shadow answered otherwise"})
    [odd] = [c for c in chosen if c.inference.request_id == "req_00007"]
    assert odd.why == "disagreement"
    assert odd.reasons[0] == "the shadow answered otherwise"
    assert "confidence" in odd.reasons[1]


def test_who_contradicts_is_found_in_shadows_and_feedback() -> None:
    served = [inference(i, answer='{"a": 1}') for i in range(6)]
    shadows = [
        inference(90, answer='{"a": 2}', purpose="shadow", parent_id="req_00000"),
        inference(91, answer='{ "a":1 }', purpose="shadow", parent_id="req_00001"),
    ]
    words: list[tuple[int, Any, Any]] = [
        (2, "thumb", "down"),
        (3, "thumb", "up"),
        (4, "edit", '{"a":1}'),
        (5, "label", '{"a": 9}'),
    ]
    feedback = [
        Feedback(id=f"fb_{place}", request_id=f"req_{place:05}", timestamp=START, kind=kind, value=value)
        for place, kind, value in words
    ]
    assert contradicted(served, shadows, feedback) == {
        "req_00000": "the shadow answered otherwise",
        "req_00002": "the user's feedback contradicts it: thumb down",
        "req_00005": "the user's feedback contradicts it: label",
    }


def test_the_same_seed_chooses_the_same_in_any_order_and_another_seed_something_else() -> None:
    found = [inference(i, segments={"s": str(i % 5)}) for i in range(200)]
    first = [c.inference.request_id for c in choose(found, 20, random.Random(7))]
    again = [c.inference.request_id for c in choose(list(reversed(found)), 20, random.Random(7))]
    other = [c.inference.request_id for c in choose(found, 20, random.Random(8))]
    assert first == again
    assert first != other


def test_a_few_more_answers_in_the_window_change_few_of_the_choices() -> None:
    found = [inference(i, f"question {i % 60}", segments={"s": str(i % 5)}) for i in range(400)]
    more = [*found[2:], *(inference(500 + i, f"another {i}", segments={"s": "1"}) for i in range(3))]
    first, later = ({c.inference.request_id for c in drawn(each, 40)} for each in (found, more))
    assert len(first & later) >= 34


def test_questions_without_a_category_are_spread_by_the_word_that_tells_their_topic() -> None:
    found = [inference(i, f"the invoice {i} looks odd") for i in range(90)] + [
        inference(100 + i, f"password {i}") for i in range(8)
    ]
    chosen = drawn(found, 10)
    assert sum("password" in c.inference.question for c in chosen) >= 4
    assert any("topic password" in reason for c in chosen for reason in c.reasons)


def test_what_is_sampled_more_often_stands_for_so_much_less() -> None:
    found = [inference(i, confidence=0.9) for i in range(100)]
    against = {f"req_{i:05}": "the shadow answered otherwise" for i in range(10)}
    chosen = drawn(found, 20, against=against)
    weights = {bool(c.why == "disagreement"): c.weight for c in chosen}
    assert Counter(c.why for c in chosen) == {"disagreement": 10, "sample": 10}
    assert weights == {True: 1.0, False: 9.0}
    assert sum(c.weight for c in chosen) == 100


def test_more_than_there_are_gives_all_and_nothing_gives_nothing() -> None:
    assert len(drawn([inference(i) for i in range(3)], 50)) == 3
    assert drawn([], 5) == []
