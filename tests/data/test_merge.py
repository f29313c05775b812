from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.data.small import merge
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.config import Config
from tunekeeper.data.merge import Outdated, Recent
from tunekeeper.data.sources import Correction

MakeExample = Callable[..., Example]
NOW = datetime(2026, 1, 5, tzinfo=UTC)
REFUND = "I want my money back for {}. We need a fix today."
BUG = "{} crashes when I open a file."


def answer(category: str, priority: str) -> str:
    return json.dumps({"category": category, "priority": priority})


def correction(row: MakeExample, prompt: str, right: str, served: str, id: str) -> Correction:
    rejected = {"rejected": served} if served != right else {}
    return Correction(example=row(prompt, right, id=id, source=f"inference:{id}", **rejected), served=served, at=NOW)


def recent(pattern: str, served: str, corrected: list[bool]) -> list[Recent]:
    """Requests of one pattern, newest first."""
    return [
        Recent(prompt=pattern.format(f"Gadget{i}"), served=served, corrected=c, at=NOW - timedelta(minutes=i))
        for i, c in enumerate(corrected)
    ]


def test_a_correction_takes_the_place_of_the_old_answer_to_the_same_question(row: MakeExample) -> None:
    old = [row("Where?", "here", id="o1"), row("When?", "now", id="o2")]
    found = merge(old, [correction(row, "where", "there", "here", "req_1")], [], Config(), at=NOW)
    assert (found.superseded, found.added) == (("o1",), ("req_1",))
    assert [e.id for e in found.examples] == ["o2", "req_1"]


def test_a_confirmed_answer_is_added_once_and_one_that_stands_there_already_is_not(row: MakeExample) -> None:
    said = [correction(row, "Where?", "here", "here", "r1"), correction(row, "Who?", "me", "me", "r2")]
    found = merge([row("Where?", "here", id="o1")], said, [], Config(), at=NOW)
    assert (found.superseded, found.added) == ((), ("r2",))
    assert merge(found.examples, said, [], Config(), at=NOW).examples == found.examples


def test_of_two_corrections_of_one_question_the_later_counts(row: MakeExample) -> None:
    said = [correction(row, "Who?", "me", "x", "r1"), correction(row, "Who?", "you", "x", "r2")]
    assert merge([], said, [], Config(), at=NOW).added == ("r2",)


@pytest.mark.parametrize(
    ("corrected", "outdated"),
    [
        ([True] * 6 + [False] * 40, True),
        ([False, True] * 8, True),
        ([False] * 15 + [True] * 9, False),
        ([True] + [False] * 14, False),
        ([True, True], False),
        ([False] * 20, False),
    ],
)
def test_an_old_answer_is_outdated_when_people_keep_correcting_it_on_similar_recent_requests(
    row: MakeExample, corrected: list[bool], outdated: bool
) -> None:
    rows = [row(REFUND.format("Pixel Pad"), answer("refund", "normal"), id="old")]
    found = Outdated(recent(REFUND, answer("refund", "normal"), corrected), Config())
    assert [row.id for row in rows if found.holds(row)] == (["old"] if outdated else [])


def test_rows_with_another_answer_or_another_matter_stay(row: MakeExample) -> None:
    served = answer("refund", "normal")
    rows = [
        row(REFUND.format("Pixel Pad"), '{"priority": "normal", "category": "refund"}', id="hit"),
        row(REFUND.format("Pixel Pad"), answer("refund", "urgent"), id="other answer"),
        row(BUG.format("Pixel Pad"), served, id="other matter"),
    ]
    seen = recent(REFUND, served, [True] * 10) + recent(BUG, served, [False] * 12)
    found = Outdated(seen, Config())
    assert [row.id for row in rows if found.holds(row)] == ["hit"]


def test_an_answer_that_half_of_its_newest_requests_had_corrected_is_given_up_whatever_was_asked(row: MakeExample) -> None:
    served = answer("refund", "normal")
    rows = [row("Something nobody asked lately", served, id="old"), row("Another thing", answer("bug", "low"), id="fine")]
    half, third = (Outdated(recent(REFUND, served, each * 6), Config()) for each in ([True, False], [True, False, False]))
    assert [(half.holds(row), third.holds(row)) for row in rows] == [(True, False), (False, False)]


def test_a_changed_policy_leaves_with_its_rows_and_the_rest_stays(row: MakeExample) -> None:
    old = [row(REFUND.format(f"Thing{i}"), answer("refund", "normal"), id=f"r{i}") for i in range(20)]
    old += [row(BUG.format(f"Thing{i}"), answer("bug", "normal"), id=f"b{i}") for i in range(20)]
    served, right = answer("refund", "normal"), answer("refund", "high")
    said = [correction(row, REFUND.format(f"Gadget{i}"), right, served, f"req_{i}") for i in range(12)]
    seen = recent(REFUND, served, [i < 12 for i in range(16)]) + recent(BUG, answer("bug", "normal"), [False] * 16)
    found = merge(old, said, seen, Config(), at=NOW)
    assert set(found.outdated) == {f"r{i}" for i in range(20)}
    assert (len(found.added), len(found.examples)) == (12, 32)


def test_old_terms_are_written_anew_in_old_rows_and_corrections(row: MakeExample) -> None:
    section = Config(glossary={"Nimbus Mail": "Lumen Post"})
    parts: list[Any] = [{"type": "text", "text": "nimbus mail too"}, {"type": "image_url", "image_url": {}}]
    old = [row("Nimbus Mail is down", "Restart Nimbus Mail", id="o"), row("Fine", "x", id="p")]
    found = merge(old, [correction(row, parts, "ok", "no", "r")], [], section, at=NOW)  # type: ignore[arg-type]
    assert [m["content"] for m in found.examples[0].messages[1:]] == ["Lumen Post is down", "Restart Lumen Post"]
    assert found.examples[2].messages[1]["content"][0]["text"] == "Lumen Post too"
    assert found.rewritten == ("o",)
    assert found.examples[0].metadata["rewritten"] == [
        {"at": NOW.isoformat(), "terms": {"Nimbus Mail": "Lumen Post"}, "was": old[0].fingerprint}
    ]
    assert found.examples[0].fingerprint != old[0].fingerprint
    assert found.examples[1] is old[1]


def test_a_rewrite_leaves_instructions_alone(row: MakeExample) -> None:
    section = Config(glossary={"Nimbus Mail": "Lumen Post", "triage": "sort"})
    old = [row("Nimbus Mail is down", "Restart it", id="o"), row("Fine", "x", id="p")]
    found = merge(old, [], [], section, at=NOW)
    assert [e.messages[0]["content"] for e in found.examples] == ["Triage the ticket. Answer with JSON."] * 2
    assert found.rewritten == ("o",)


def test_the_rehearsal_share_keeps_the_same_rows_every_time(row: MakeExample) -> None:
    old = [row(f"question {i}", "x", id=f"o{i}") for i in range(400)]
    half = merge(old, [], [], Config(keep_old=0.5), at=NOW)
    assert 160 < len(half.examples) < 240
    assert set(half.rested).isdisjoint(e.id for e in half.examples)
    assert merge(half.examples, [], [], Config(keep_old=0.5), at=NOW).rested == ()
    assert merge(old, [], [], Config(keep_old=0.0), at=NOW).examples == ()
