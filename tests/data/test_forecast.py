from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tunekeeper.data.forecast import Curve, Forecast, Sitting, as_text, fit, forecast, needed

SIZES = (100, 200, 400, 800)


def sittings(
    sizes: tuple[int, ...] = SIZES, *, cases: int = 400, a: float = 2.0, b: float = 0.5, c: float = 0.02
) -> list[Sitting]:
    """Exams on cases each of which is right from its own size on, along a curve: half about billing, a quarter of the rows, half
    about refunds, which nobody gets wrong."""
    hard = np.random.default_rng(1).random(cases)
    found = []
    for n in sizes:
        wrong = Curve(a=a, b=b, c=c).error(n)
        values = {f"c{i}": float(i % 2 or hard[i] > wrong) for i in range(cases)}
        categories = {f"c{i}": "refund" if i % 2 else "billing" for i in range(cases)}
        topics = {"billing": n // 4, "refund": 3 * n // 4}
        found.append(Sitting(dataset=f"desk/d{n}", size=n, topics=topics, exam=f"e{n}", values=values, categories=categories))
    return found


@pytest.mark.parametrize(("a", "b", "c"), [(2.0, 0.5, 0.02), (1.2, 0.3, 0.0), (3.0, 0.9, 0.1)])
def test_a_curve_is_found_again(a: float, b: float, c: float) -> None:
    true = Curve(a=a, b=b, c=c)
    found = fit(SIZES, [true.error(n) for n in SIZES])
    assert [found.error(n) for n in (*SIZES, 1600)] == pytest.approx([true.error(n) for n in (*SIZES, 1600)], abs=0.003)


def test_a_curve_never_rises_and_one_odd_exam_does_not_bend_it() -> None:
    rising = fit(SIZES, [0.1, 0.15, 0.2, 0.3])
    assert rising.error(800) == pytest.approx(rising.error(1600))
    sizes = (100, 150, 200, 300, 400, 600, 800, 1200)
    true = Curve(a=2.0, b=0.5, c=0.02)
    errors = [true.error(n) for n in sizes]
    odd = fit(sizes, [0.6 if n == 400 else error for n, error in zip(sizes, errors, strict=True)])
    assert odd.error(2400) == pytest.approx(true.error(2400), abs=0.03)


def test_how_many_more_are_needed_is_the_curve_the_other_way_round() -> None:
    curve = Curve(a=2.0, b=0.5, c=0.02)
    more = needed(curve, 400, 0.02)
    assert more is not None
    assert curve.error(400) - curve.error(400 + more) == pytest.approx(0.02, abs=1e-4)
    assert needed(curve, 400, 0.5) is None
    assert needed(Curve(a=0.0, b=0.5, c=0.2), 400, 0.01) is None


def test_the_interval_holds_what_more_examples_really_bring() -> None:
    found = forecast(sittings(), more=400)
    assert found.overall is not None
    true = 100 * (Curve(a=2.0, b=0.5, c=0.02).error(800) - Curve(a=2.0, b=0.5, c=0.02).error(1200)) / 2
    points = found.overall.points
    assert points.low is not None
    assert points.high is not None
    assert points.value is not None
    assert points.low <= true <= points.high
    assert 0 < points.high - points.low < 3
    assert found == forecast(sittings(), more=400), "the draws are seeded"
    assert found.next_point is not None
    assert found.next_low is not None
    assert 0 < found.next_low <= found.next_point <= (found.next_high or found.next_point)


def test_the_topic_with_most_to_gain_comes_first_and_the_text_says_what_it_would_bring() -> None:
    found = forecast(sittings(), more=400)
    assert [(gain.topic, gain.examples, gain.cases) for gain in found.topics] == [("billing", 200, 200), ("refund", 600, 200)]
    billing, refund = (gain.points.value for gain in found.topics)
    assert billing is not None
    assert billing > 1.0
    assert refund == 0.0
    assert found.overall is not None
    assert found.overall.points.value is not None
    assert billing > found.overall.points.value, "400 more of it are more than 400 mixed ones"
    assert any(line.startswith("400 more examples of `billing` would lift accuracy ") for line in as_text(found))


def test_with_less_than_three_sizes_it_is_inconclusive_and_topics_are_ranked_by_their_errors() -> None:
    found = forecast(sittings((100, 100, 800)), more=100)
    assert (found.verdict, found.overall, found.next_point) == ("inconclusive", None, None)
    assert found.why == "exams of 2 different sizes (100, 800), 3 are needed: train and examine a smaller or larger version"
    assert [(gain.topic, gain.points.value) for gain in found.topics] == [("billing", None), ("refund", None)]
    assert found.topics[0].weight > found.topics[1].weight == 0
    assert as_text(found)[0].startswith("inconclusive: exams of 2")


def missing(found: Forecast) -> str:
    assert found.verdict == "inconclusive"
    return found.why


def test_what_is_missing_is_named() -> None:
    assert missing(forecast([])).startswith("exams of 0 different sizes, 3 are needed")
    assert "19 cases that every exam asked" in missing(forecast(sittings(cases=19)))
    assert "too much alike" in missing(forecast(sittings((800, 810, 820))))


def test_where_more_data_went_with_more_errors_nothing_is_promised() -> None:
    falling = [each for n in reversed(SIZES) for each in sittings((n,))]
    rising = [
        replace(each, size=n, topics={"billing": n // 4, "refund": n}, exam=f"e{n}")
        for each, n in zip(falling, SIZES, strict=True)
    ]
    found = forecast(rising)
    assert "the error rises with the size, from 3.5% of 100 rows to 13.0% of 800" in missing(found)
    assert {gain.topic for gain in found.topics if "rises" in gain.why} == {"billing"}


@pytest.mark.parametrize("seed", range(8))
def test_exams_that_differ_by_chance_are_no_rise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    flat = sittings(a=0.0, c=0.2)
    shaken = [
        replace(each, values={case: abs(value - (rng.random() < 0.1)) for case, value in each.values.items()}) for each in flat
    ]
    assert forecast(shaken, draws=20).verdict == "estimated"


def test_three_exams_that_a_curve_goes_through_are_not_taken_for_certain() -> None:
    """Three numbers describe a curve: what is left over says nothing of how much runs differ."""
    true = [Curve(a=1.2, b=0.25, c=0.03).error(n) for n in (200, 400, 800)]
    rng = np.random.default_rng(3)
    bring = 100 * (Curve(a=1.2, b=0.25, c=0.03).error(800) - Curve(a=1.2, b=0.25, c=0.03).error(1200))
    held = 0
    for _ in range(20):
        hard = rng.random(1000)
        errors = [error + rng.normal(0, 0.01) for error in true]
        exams = [
            replace(each, values={f"c{i}": float(hard[i] > error) for i in range(1000)}, categories={})
            for each, error in zip(sittings((200, 400, 800), cases=1), errors, strict=True)
        ]
        found = forecast(exams, more=400, draws=100).overall
        assert found is not None
        held += (found.points.low or 0) <= bring <= (found.points.high or 0)
    assert held >= 17


def test_the_score_of_today_is_that_of_the_newest_version_also_where_it_is_smaller() -> None:
    newest = sittings((300,))[0]
    found = forecast([*sittings(), newest], more=100)
    assert found.overall is not None
    assert found.overall.examples == 300
    assert found.overall.value == pytest.approx(sum(newest.values.values()) / len(newest.values))


def test_what_no_data_removes_and_what_one_point_takes_have_intervals_that_hold_them() -> None:
    true = Curve(a=1.5, b=0.3, c=0.0)
    sizes = (300, 450, 700, 1000, 1500)
    one = needed(true, 1500, 0.01)
    assert one is not None
    held = told = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        hard = rng.random(300)
        exams = [
            replace(
                each,
                values={f"c{i}": float(hard[i] > true.error(each.size) + rng.normal(0, 0.01)) for i in range(300)},
                categories={},
            )
            for each in sittings(sizes, cases=1)
        ]
        found = forecast(exams, draws=100)
        held += (found.floor.low or 0.0) <= 0.0 <= (found.floor.high or 0.0)
        told += (found.next_low or 0) <= one <= (found.next_high or one)
        assert "errors that no more data removes: " in as_text(found)[1]
    assert held >= 9
    assert told >= 8


def test_where_no_number_of_examples_seems_to_bring_a_point_it_says_which_might() -> None:
    flat = forecast(sittings(a=0.0, c=0.2), more=100)
    assert (flat.next_point, flat.next_high) == (None, None)
    assert as_text(flat)[1].startswith("no number of examples like these seems to bring one point")
