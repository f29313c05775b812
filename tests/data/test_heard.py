from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tunekeeper.core.nouns.data import Example, ReviewItem
from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.data.heard import origin_of, tags_of, weigh

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)


def words(*said: tuple[str, Any]) -> list[Feedback]:
    return [
        Feedback(id=f"fb_{i}", request_id="r", timestamp=AT.replace(second=i), kind=kind, value=value)  # type: ignore[arg-type]
        for i, (kind, value) in enumerate(said)
    ]


def reviewed(verdict: Any, answer: str | None = None) -> ReviewItem:
    return ReviewItem(id="i", model="desk", request_id="r", why="sample", state="done", verdict=verdict, answer=answer, by="eve")


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ([("edit", "x")], "corrected"),
        ([("thumb", "up"), ("edit", "x"), ("thumb", "down")], "corrected"),
        ([("thumb", "up")], "approved"),
        ([("thumb", "down"), ("thumb", "up")], "approved"),
        ([("thumb", "up"), ("thumb", "down")], "thumb"),
        ([("thumb", "up"), ("escalation", True), ("outcome", "failure")], "escalation"),
        ([("outcome", "failure")], "outcome"),
        ([("outcome", "failure"), ("outcome", "success")], None),
        ([("score", 0.4)], "score"),
        ([("score", 0.5)], None),
        ([("edit", "")], None),
    ],
)
def test_a_right_answer_outweighs_a_complaint_and_a_complaint_praise(said: list[tuple[str, Any]], becomes: str | None) -> None:
    found = weigh(words(*said), [])
    outcome = "corrected" if found.corrected else "approved" if found.approved else found.queue.get("r")
    assert outcome == becomes
    assert bool(found.withdrawn) is bool(found.queue)


def test_a_reviewer_outweighs_every_user() -> None:
    said = words(("edit", "x"), ("thumb", "down"))
    for verdict, answer, corrected in (
        ("good", None, True),
        ("edited", "y", True),
        ("bad", None, False),
        ("excluded", None, False),
    ):
        found = weigh(said, [reviewed(verdict, answer)])
        assert (bool(found.corrected), bool(found.rejected), found.queue) == (corrected, not corrected, {})


def test_only_wanted_kinds_and_requests_count() -> None:
    said = words(("thumb", "down"), ("escalation", True))
    assert weigh(said, [], ("thumbs",)).queue == {"r": "thumb"}
    assert weigh(said, [], ("flagged",)).queue == {}
    assert weigh(words(("thumb", "up"), ("outcome", "failure")), [], ("thumbs",)).approved == {}
    assert weigh(said, [], requests=()).queue == {}


def test_tags_are_read_from_metadata_and_segments() -> None:
    known = {"request_id": "r", "timestamp": AT, "model_id": "desk"}
    assert tags_of(Inference(**known, metadata={"tags": ["a", " b "], "tag": "c"}, segments={"tag": "d,e"})) == set("abcde")  # type: ignore[arg-type]
    assert tags_of(Inference(**known, metadata={"tags": 7})) == set()  # type: ignore[arg-type]


def test_a_row_comes_from_the_user_or_session_that_asked(row: Callable[..., Example]) -> None:
    asked = {"user_id": "u1", "said_by": "ana", "key_id": "k"}
    assert origin_of(row("q", "a", source="inference:r", **asked)) == "user u1"
    assert origin_of(row("q", "a", source="inference:r", session_id="s1")) == "session s1"
    assert origin_of(row("q", "a", source="inference:r", said_by="ana", key_id="k")) is None, "an agent corrects what many asked"
    assert origin_of(row("q", "a", source="inference:r", said_as="review", **asked)) is None
    assert origin_of(row("q", "a", **asked)) is None
