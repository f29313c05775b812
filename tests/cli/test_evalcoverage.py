from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import BUG, REFUND, Tell, logged


@pytest.fixture
def suite(desk: Path, tell: Tell) -> Path:
    """A suite with two cases about broken things, and traffic about them, about money and about the weather."""
    import json

    path = desk / "core.yaml"
    lines = ["suite: core", "model: desk", "scorers: [exact]", "criteria:", "  - {metric: accuracy, at_least: 0.9}", "cases:"]
    lines += [f"  - {{id: c{i}, input: thing {i} is broken on the floor, expected: '{BUG}'}}" for i in (1, 2)]
    path.write_text("\n".join(lines) + "\n")
    rows = [logged(20 + i, f"give me the money back for order {i}", REFUND) for i in range(5)]
    rows += [logged(30 + i, f"will rain spoil the garden party {i}", BUG) for i in range(3)]
    (desk / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tell("log", "import", desk / "more.jsonl", "--dir", desk).code == 0
    return path


def test_a_suite_says_what_part_of_real_traffic_it_covers(desk: Path, suite: Path, tell: Tell) -> None:
    said = tell("eval", "coverage", "--model", "desk", "--suite", suite, "--dir", desk, "--json")
    found = said.json
    assert (said.code, found["requests"], found["cases"], found["covered"], found["share"]) == (0, 20, 2, 12, 0.6)
    assert [(m["kind"], m["name"], m["requests"]) for m in found["missing"]] == [
        ("topic", "refund", 5),
        ("phrasing", "garden", 3),
    ]
    assert found["missing"][0]["examples"][0].startswith("give me the money back for order")
    text = tell("eval", "coverage", "--model", "desk", "--suite", "core.yaml", "--since", "7d", "--dir", desk).out.splitlines()
    assert text[-1] == "what to do: write cases like these, with their right answers, into the cases of core.yaml"
    assert text[:2] == ["core.yaml covers 60.0% of 20 requests with 2 cases", "missing 25.0%: topic refund (5 requests)"]


@pytest.mark.parametrize(("least", "code"), [("0.6", 0), ("0.61", 1)])
def test_a_share_that_is_too_small_fails_where_one_is_asked_for(
    desk: Path, suite: Path, tell: Tell, least: str, code: int
) -> None:
    said = tell("eval", "coverage", "--model", "desk", "--suite", suite, "--at-least", least, "--dir", desk, "--json")
    assert said.code == code


def test_without_traffic_nothing_is_concluded(desk: Path, suite: Path, tell: Tell) -> None:
    said = tell("eval", "coverage", "--model", "desk", "--suite", suite, "--until", "2001-01-01", "--dir", desk)
    told, following = said.out.splitlines()
    assert (said.code, told) == (3, "no request of that time is in the log: nothing to cover")
    assert following.startswith("next: tunekeeper log ls --model desk")
    said = tell("eval", "coverage", "--model", "desk", "--suite", "none.yaml", "--dir", desk, "--json")
    assert "none.yaml" in said.json["error"]["message"]
    assert said.json["error"]["fix"].startswith("tunekeeper eval init --model desk")
