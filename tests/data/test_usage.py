from __future__ import annotations

import json
import random
from datetime import timedelta
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.data.usage import Asked, asked_of_examples, asked_of_log, coverage_of_usage, covered_share
from tunekeeper.workspace import Workspace

PLACES = ("Oslo", "Bergen", "Turku", "Malmo", "Aarhus", "Odense", "Gent", "Brugge", "Namur", "Delft")


def many(text: str, topic: str = "", n: int = 10) -> list[Asked]:
    return [Asked(text=text.format(PLACES[i % 10]), topic=topic) for i in range(n)]


def test_topics_without_a_case_and_new_ways_of_asking_are_what_is_missed() -> None:
    asked = [*many("The parcel to {} vanished", "parcel", 80), *many("My invoice is wrong in {}", "billing", 5)]
    asked += many("The courier dog bit the postman near {}", "parcel", 12) + many("Hello you", "parcel", 3)
    cases = [Asked(text="My parcel vanished since Monday", topic="Parcel"), Asked(text="A parcel came broken", topic="parcel")]
    found = coverage_of_usage(asked, cases)
    assert (found.requests, found.cases, found.covered, found.share) == (100, 2, 83, 0.83)
    assert [(m.kind, m.name, m.requests, m.share) for m in found.missing] == [
        ("phrasing", "bit", 12, 0.12),
        ("topic", "billing", 5, 0.05),
    ]
    assert found.missing[1].examples == tuple(f"My invoice is wrong in {place}" for place in PLACES[:3])


def test_without_topics_the_words_decide() -> None:
    found = coverage_of_usage(
        many("The printer jams in {}") + many("My screen stays black in {}"), [Asked(text="The printer jams")]
    )
    assert (found.covered, [(m.kind, m.name, m.requests) for m in found.missing]) == (10, [("phrasing", "black", 10)])


def test_a_topic_the_suite_knows_is_not_enough_and_one_it_does_not_name_is_no_fault() -> None:
    cases = [Asked(text="The printer jams", topic="")]
    assert coverage_of_usage(many("The printer jams in {}", "print"), cases).share == 1.0
    assert coverage_of_usage(many("The printer jams in {}", "print"), []).share == 0.0


def test_what_is_covered_of_rows_is_what_is_covered_of_requests(row: Any) -> None:
    rng = random.Random(3)
    words = [f"{first}{second}lum" for first in "bdfgklmnprst" for second in "aeiou"]
    rows = [row(" ".join(rng.choices(words, k=rng.randint(1, 9))), "x", category=rng.choice("abc")) for _ in range(300)]
    cases = [Asked(text=" ".join(rng.choices(words, k=5)), topic=rng.choice(["a", "B", ""])) for _ in range(12)]
    share = covered_share(rows, cases)
    assert share == coverage_of_usage(asked_of_examples(rows), cases).share
    telling = [set(case.text.split()) for case in cases]
    near = [max(len(set(e.messages[1]["content"].split()) & told) for told in telling) for e in rows]
    asked = [len(set(e.messages[1]["content"].split())) for e in rows]
    expected = sum(e.metadata["category"] != "c" and 3 * n >= of for e, n, of in zip(rows, near, asked, strict=True))
    assert share == expected / 300
    assert (covered_share(rows, []), covered_share([], cases)) == (0.0, None)


def test_nothing_asked_is_nothing_covered() -> None:
    found = coverage_of_usage([], [Asked(text="a")])
    assert (found.share, found.covered, found.missing) == (None, 0, ())


@pytest.mark.parametrize("text", ["", "42", "Hi"])
def test_a_request_without_a_telling_word_holds_nothing_new(text: str) -> None:
    assert coverage_of_usage([Asked(text=text)] * 3, [Asked(text="The printer jams")]).share == 1.0


def test_the_log_says_what_was_asked_and_the_answer_about_what(ws: Workspace, clock: ManualClock, traffic: Any) -> None:
    begun = clock.utc()
    traffic.ask("My parcel vanished", json.dumps({"category": "parcel"}))
    traffic.ask("Plain words", "a plain answer", segments={"topic": "smalltalk"})
    traffic.ask("Not for users", "x", purpose="shadow")
    clock.advance(3600)
    found = asked_of_log(ws, "desk", begun, clock.utc())
    assert {(a.text, a.topic) for a in found} == {("My parcel vanished", "parcel"), ("Plain words", "smalltalk")}
    assert asked_of_log(ws, "desk", begun - timedelta(days=2), begun) == []
