from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from tunekeeper.demo.phrases import RENAMED
from tunekeeper.demo.suite import CASES, restate, rewrite_suite, truth
from tunekeeper.demo.world import WORLD_1, WORLD_2

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"


def test_the_truth_of_a_ticket_is_what_the_changed_world_says() -> None:
    rng = random.Random(5)
    for world in (WORLD_1, WORLD_2):
        tickets = world.tickets(rng)
        for _ in range(300):
            ticket = next(tickets)
            assert truth(ticket.text) == WORLD_2.judge(ticket).answer, ticket.text


def test_a_text_that_is_no_ticket_is_refused() -> None:
    with pytest.raises(ValueError, match="no issue"):
        truth("what a lovely day")


def test_the_suite_is_rewritten_once(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "suites", tmp_path / "suites")
    before = [json.loads(line) for line in (tmp_path / CASES).read_text().splitlines()]
    changed = rewrite_suite(tmp_path)
    after = [json.loads(line) for line in (tmp_path / CASES).read_text().splitlines()]
    assert changed == sum(a != b for a, b in zip(before, after, strict=True))
    assert 0 < changed < len(before)
    assert not any(RENAMED[0] in case["messages"][-1]["content"] for case in after)
    assert [case["id"] for case in after] == [case["id"] for case in before]
    assert rewrite_suite(tmp_path) == 0
    assert all(restate(case) == case for case in after)
