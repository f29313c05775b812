"""What drives the cost of a model, out of what was measured."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.training.drivers import drivers, sentence

BEGAN = datetime(2026, 1, 5, tzinfo=UTC)
RUN = TrainingRun(
    id="run_1", model="m", dataset="m/d1", dataset_digest="d", recipe={}, recipe_digest="r", base="b", base_digest="b",
    state="done", seconds=1800.0, cost_usd=1.0, created=BEGAN,
)  # fmt: skip
SAID = (Opinion(by="a", verdict="good", seconds=180.0), Opinion(by="b", verdict="bad"))
ITEM = ReviewItem(id="rev_1", model="m", request_id="", why="sample", opinions=SAID)


def test_compute_people_and_pace_make_a_year() -> None:
    runs = [RUN, replace(RUN, id="run_2", created=BEGAN + timedelta(days=73)), replace(RUN, id="run_3", state="failed")]
    found = drivers(runs, [ITEM], 20.0)
    assert (found.runs, found.compute_hours, found.compute_usd) == (3, 1.5, 3.0), "what came to nothing was paid as well"
    assert (found.reviews, found.review_hours, found.review_usd) == (2, 0.05, 1.0)
    assert found.runs_a_year == pytest.approx(5.0)
    assert found.usd_a_year == pytest.approx((3.0 + 1.0) / 2 * 5)
    assert sentence(found) == (
        "so far 3 runs in 1.50 machine hours (3.0000 USD); 2 opinions of people in 0.05 hours (1.00 USD); "
        "a year at this pace: 5 versions, 10.00 USD"
    )


def test_what_nobody_knows_is_absent() -> None:
    assert sentence(drivers([], [], 20.0)) is None
    found = drivers([replace(RUN, cost_usd=None), replace(RUN, state="running")], [ITEM], None)
    assert (found.runs, found.compute_usd, found.review_usd, found.runs_a_year, found.usd_a_year) == (1, None, None, None, None)
    assert sentence(found) == "so far 1 run in 0.50 machine hours; 2 opinions of people in 0.05 hours"
    apart = [RUN, replace(RUN, created=BEGAN + timedelta(days=10))]
    assert drivers(apart, [ITEM], None).usd_a_year is None, "people are a part of it whose price is not known"
    assert drivers(apart, [], None).usd_a_year == pytest.approx(1.0 * 36.5)
