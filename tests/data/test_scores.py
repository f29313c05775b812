from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest

from tunekeeper.core.nouns.data import Example
from tunekeeper.data import scores
from tunekeeper.data.findings import KINDS, Finding, finding

MakeExample = Callable[..., Example]


@pytest.mark.parametrize(
    ("kinds", "synthetic", "score"),
    [
        ((), False, 1.0),
        ((), True, 0.8),
        (("refusal",), False, 0.2),
        (("refusal", "refusal"), False, 0.2),
        (("stale_vocabulary",), False, 0.7),
        (("refusal", "stale_vocabulary"), False, 0.14),
        (("empty", "near_duplicate"), False, 0.0),
        (("uncovered", "recency"), False, 1.0),
    ],
)
def test_each_kind_takes_its_part_once(kinds: tuple[str, ...], synthetic: bool, score: float) -> None:
    assert scores.row_score(kinds, synthetic=synthetic) == score


def test_every_kind_with_a_penalty_is_one_that_checks_report() -> None:
    assert set(scores.PENALTIES) | set(scores.SET_PENALTIES) <= set(KINDS)
    assert all(0 < part <= 1 for part in (*scores.PENALTIES.values(), *scores.SET_PENALTIES.values()))


def test_a_set_is_as_good_as_its_rows_less_what_the_whole_loses(row: MakeExample) -> None:
    rows = [row(f"question {i}?", "yes", id=f"r{i}") for i in range(4)]
    found = [finding("refusal", rows[0], "no"), finding("refusal", rows[0], "no"), Finding(kind="refusal", id="gone")]
    quality = scores.quality_of(rows, found, compared=True)
    assert quality is not None
    assert (quality.score, quality.clean, quality.low, quality.kinds) == (0.8, 0.75, 1, {"refusal": 1})
    worse = scores.quality_of(rows, [*found, Finding(kind="recency")], compared=True)
    assert worse is not None
    assert worse.score == 0.72
    assert scores.quality_of([], found, compared=True) is None


def test_rows_that_nobody_compared_have_no_score_but_a_bound(row: MakeExample) -> None:
    rows = [row(f"question {i}?", "yes", id=f"r{i}") for i in range(4)]
    quality = scores.quality_of(rows, [finding("refusal", rows[0], "no")], compared=False, of=9)
    assert quality is not None
    assert (quality.score, quality.at_most, quality.rows, quality.of) == (None, 0.8, 4, 9)
    told = asdict(quality)
    assert scores.sentence(told) == "unchecked, at most 0.80 (75% clean, 1 low, by 4 of its 9 rows): 1 refusal"
    assert (scores.word(told), scores.word(None), scores.word({"score": 1.0})) == ("unchecked", None, "1.00")
