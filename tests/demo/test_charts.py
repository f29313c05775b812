"""Charts put numbers where they belong, and words where nobody can mistake them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from tunekeeper.demo.charts import Frame, Series, bar, key, lines, missing, nice, shown, whisker


def root(markup: str) -> ET.Element:
    return ET.fromstring(markup)


def test_a_rising_line_ends_higher_and_further_right_than_it_began() -> None:
    drawn = lines([Series(label="x", points=[(0.0, 1.0), (10.0, 9.0)])], Frame(alt="a line"))
    (path,) = [e for e in root(drawn).iter() if e.tag == "polyline"]
    (x0, y0), (x1, y1) = (tuple(map(float, p.split(","))) for p in path.attrib["points"].split())
    assert (x0, x1) == (0, 100)
    assert y1 < y0  # pixels count downwards


def test_a_limit_outside_the_data_stays_inside_the_picture() -> None:
    drawn = lines(
        [Series(label="x", points=[(0.0, 0.1), (1.0, 0.2)])], Frame(alt="", unit="%", limits=[(0.5, "alarm above 50 %")])
    )
    (limit,) = [e for e in root(drawn).iter() if e.attrib.get("class") == "limit"]
    assert 0 <= float(limit.attrib["y1"]) <= 170
    assert "alarm above 50 %" in drawn


def test_one_point_and_a_flat_line_are_drawn() -> None:
    for points in ([(3.0, 5.0)], [(3.0, 5.0), (4.0, 5.0)], [(0.0, 0.0)]):
        drawn = lines([Series(label="x", points=points)], Frame(alt="", zero=False))
        assert "nan" not in drawn
        assert root(drawn).tag == "svg"


def test_nothing_measured_is_a_note_and_no_chart() -> None:
    assert lines([Series(label="x", points=[])], Frame(alt="")) == missing()


def test_words_are_escaped() -> None:
    evil = '"><script>'
    frame = Frame(alt=evil, x_labels=[(0.0, evil)], limits=[(1.0, evil)], moments=[(0.5, evil)], spans=[(0.0, 1.0, evil)])
    drawn = lines([Series(label=evil, points=[(0.0, 1.0), (1.0, 2.0)])], frame) + key(evil, "a")
    assert "<script" not in drawn


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.5, 1]), (0, 0.26, [0, 0.1, 0.2]), (-2, 3, [-2, 0, 2]), (0, 1820, [0, 500, 1000, 1500]), (7, 7, [7])],
)
def test_scales_count_in_round_numbers(low: float, high: float, wanted: list[float]) -> None:
    assert nice(low, high) == pytest.approx(wanted)


def test_an_interval_lies_around_its_point_and_is_cut_at_the_scale() -> None:
    places = [float(x) for x in re.findall(r'[x1]{1,2}="(-?[\d.]+)%"', whisker(0.5, 0.4, 1.7, kind="a"))]
    assert max(places) == 100
    assert {40.0, 50.0} <= set(places)


def test_a_bar_is_never_longer_than_its_trough() -> None:
    assert 'width="100%"' in bar(9.0, 3.0)
    assert 'width="50%"' in bar(2.0, 4.0)
    assert 'width="0%"' in bar(0.0, 0.0)


def test_shares_are_shown_as_percentages() -> None:
    assert shown(0.15, "%") == "15 %"
    assert shown(0.1, "") == "0.1"
    assert shown(250.0, "ms") == "250 ms"
