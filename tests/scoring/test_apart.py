"""A scorer that an installed package brings is asked in a process of its own, and what it does there ends nothing here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring import Scorer, judged, scorer

MODULE = """\
import os
import re

class Slow:
    def __init__(self, always: bool = False):
        self.always = always
        self.judging_seconds = 0.1 if always else 2

    def applies(self, case):
        if self.always:
            re.match("(a+)+$", "a" * 40 + "!")
        return case.expected is not None

    def score(self, answer, case):
        print("this is no judgement")
        if answer == "for ever":
            re.match("(a+)+$", "a" * 40 + "!")  # lets no other thread run meanwhile
        if answer == "the end":
            os._exit(3)
        if answer == "wrong":
            raise ValueError("what?")
        return float(answer == case.expected), f"{len(case.messages)} messages, {case.tags}"
"""
ASKED = Case(id="c1", messages=({"role": "user", "content": "?"},), expected="caf\ud800é", tags=("edge",))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The scorer `slow`, as an installer leaves it."""
    site = tmp_path_factory.mktemp("site")
    info = Path(site, "slow-1.0.dist-info")
    info.mkdir()
    (site / "slow_scorer.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tunekeeper.scorer]\nslow = slow_scorer:Slow\n")
    sys.path.insert(0, str(site))
    yield
    sys.path.remove(str(site))
    sys.modules.pop("slow_scorer", None)


@pytest.fixture
def judge(slow: None) -> Scorer:
    return scorer("slow")


def test_a_scorer_from_elsewhere_judges_as_it_would_here(judge: Scorer) -> None:
    assert judged(judge, "caf\ud800é", ASKED) == (1.0, "1 messages, ('edge',)")
    assert judged(judge, "no", ASKED) == (0.0, "1 messages, ('edge',)")
    assert judged(judge, "wrong", ASKED) == (None, "the scorer failed: ValueError: what?")
    assert judged(judge, None, ASKED) == (0.0, "no answer")
    assert judged(judge, "no", Case(id="c2", messages=())) is None


def test_one_that_ends_its_process_goes_on_with_the_next_answer(judge: Scorer) -> None:
    ended = (None, "the scorer ended its process")
    found = [judged(judge, answer, ASKED) for answer in ("the end", "no", "the end", "no")]
    assert found == [ended, (0.0, "1 messages, ('edge',)")] * 2


def test_one_that_always_hangs_is_not_asked_any_more(slow: None) -> None:
    always = scorer("slow", always=True)
    assert judged(always, "no", ASKED) == (None, "the scorer took more than 0.1 s")
    said = (None, "the scorer took more than 0.1 s, 2 times in a row: it is not asked any more")
    assert [judged(always, "no", ASKED) for _ in range(50)] == [said] * 50


def test_an_answer_that_hangs_takes_no_other_with_it(judge: Scorer) -> None:
    answers = ["no", "for ever", *["no"] * 6]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda answer: judged(judge, answer, ASKED), answers))
    assert [each[0] for each in found if each is not None] == [0.0, None, *[0.0] * 6]
