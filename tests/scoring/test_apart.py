"""A scorer that an installed package brings is asked in a process of its own, and what it does there ends nothing here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.scoring import Scorer, judged, scorer
from tunekeeper.scoring.apart import Apart

MODULE = """\
import os
import re
import sys
import time

VALUES = {"nan": float("nan"), "true": True, "none": None, "two": 2, "less": -0.1, "text": "1", "half": 0.5}
print("this is no answer either")

class Made:
    def __init__(self, how: str = "", wanted: str = ""):
        if how == "sleeps":
            time.sleep(600)
        if how == "hangs":
            re.match("(a+)+$", "a" * 40 + "!")
        if how == "exits":
            sys.exit(7)
        if how == "ends":
            os._exit(0)
        if how == "raises":
            raise RuntimeError("no key\\nfor the service")
        self.judging_seconds = wanted

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
        if answer == "exit":
            sys.exit("enough")
        if answer == "interrupt":
            raise KeyboardInterrupt
        if answer == "fork":
            os.fork()
        if answer == "read":
            return 1.0, repr(sys.stdin.read())
        if answer in VALUES:
            return VALUES[answer], "so"
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
    (info / "entry_points.txt").write_text(
        "[tunekeeper.scorer]\nslow = slow_scorer:Slow\nmade = slow_scorer:Made\nleft = left_scorer:Left\n"
    )
    (site / "left_scorer.py").write_text("import sys\nsys.exit(0)\n")
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


def test_what_a_scorer_gives_that_is_no_score_is_said_to_be_none(judge: Scorer) -> None:
    found = {value: judged(judge, value, ASKED) for value in ("half", "true", "nan", "none", "two", "less", "text")}
    assert (found.pop("half"), found.pop("true")) == ((0.5, "so"), (1.0, "so"))
    assert all(each is not None and each[0] is None for each in found.values())
    assert found["nan"] == (None, "the scorer gave NaN, not a number from 0 to 1")


def test_one_that_exits_forks_or_reads_its_input_judges_all_the_same(judge: Scorer) -> None:
    said = [judged(judge, answer, ASKED) for answer in ("exit", "interrupt", "read", "fork", "half")]
    assert said[:3] == [
        (None, "the scorer failed: SystemExit: enough"),
        (None, "the scorer failed: KeyboardInterrupt"),
        (1.0, "''"),
    ]
    assert said[3:] == [(0.0, "1 messages, ('edge',)"), (0.5, "so")]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"how": "sleeps"}, "it takes more than 0.3 s to be made"),
        ({"how": "hangs"}, "it takes more than 0.3 s to be made"),
        ({"how": "ends"}, "it ends its process while it is made"),
        ({"how": "exits"}, "SystemExit: 7"),
        ({"how": "raises"}, "RuntimeError: no key for the service"),
        ({"wanted": "long"}, "ValueError: judging_seconds is 'long', not a number from 0 to 3600"),
    ],
)
def test_one_that_cannot_be_made_is_refused_in_one_line(slow: None, options: dict[str, str], why: str) -> None:
    patience = 0.3 if options.get("how") in ("sleeps", "hangs") else 60
    with pytest.raises(ConfigError, match=f"^scorer made cannot be made: {why} ") as refused:
        Apart("made", options, patience)
    assert refused.value.fix == "ask whoever wrote its package"


def test_one_that_ends_python_where_it_is_imported_is_refused_in_one_line(slow: None) -> None:
    with pytest.raises(ConfigError, match=r"^scorer left cannot be made: SystemExit: 0 "):
        scorer("left")
    with pytest.raises(ConfigError, match=r"^scorer made has no option 'hwo'; it has: how, wanted$"):
        scorer("made", hwo="sleeps")


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
