"""What one process lets all gateways tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.store.gauges import FILE, MOST_SERIES, Family, load_gauges, save_gauges


def test_what_was_saved_last_is_read(tmp_path: Path) -> None:
    assert load_gauges(tmp_path) == ()
    first = Family("model_drift_score", "How far.", ("model_id", "feature"), ((("m", "input"), 0.25),))
    second = Family("model_watchdog_timestamp_seconds", "When.", series=(((), 1.5),))
    save_gauges(tmp_path, (first,))
    save_gauges(tmp_path, (first, second))
    assert load_gauges(tmp_path) == (first, second)


@pytest.mark.parametrize("text", ["", "[{", "5", '[{"name":5}]', "\\xff", '[{"name":"a","help":"b","series":[[["x"],"y"]]}]'])
def test_a_file_that_cannot_be_read_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).write_text(text)
    assert load_gauges(tmp_path) == ()


def test_what_would_break_the_text_or_grow_without_end_is_left_out(tmp_path: Path) -> None:
    many = Family("b_ratio", "x", ("l",), tuple(((str(n),), float(n)) for n in range(2 * MOST_SERIES)))
    uneven = Family("c_ratio", "x", ("l",), ((("1", "2"), 1.0),))
    save_gauges(
        tmp_path, (Family("bad name{", "x", series=(((), 1.0),)), many, uneven, Family("d_ratio", "x", series=(((), 1.0),)))
    )
    [found] = load_gauges(tmp_path)
    assert (found.name, len(found.series)) == ("b_ratio", MOST_SERIES)
