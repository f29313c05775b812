from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tunekeeper.store.moments import moment_of, written_moment


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-01-05T09:30:00Z", datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        (" 2026-01-05 09:30 ", datetime(2026, 1, 5, 9, 30)),
        ("05.01.2026 09:30", datetime(2026, 1, 5, 9, 30)),
        ("5.1.2026, 9:30:15", datetime(2026, 1, 5, 9, 30, 15)),
        ("31.12.2025", datetime(2025, 12, 31)),
    ],
)
def test_a_date_with_dots_has_its_day_first(text: str, meant: datetime):
    assert written_moment(text) == meant


@pytest.mark.parametrize("text", ["31.02.2026", "12.2026", "1.2.26", "01.05.2026 noon", "", "1.2.3"])
def test_what_is_no_moment_is_refused(text: str):
    with pytest.raises(ValueError):  # what it says is Python's own
        written_moment(text)


@pytest.mark.parametrize(
    "value",
    [
        *(1578218400, 1578218400.0, 1578218400000, 1578218400000000, 1578218400000000000, 20200105100000),
        *("1578218400", " 1578218400000 ", "1578218400.0", "20200105100000", "20200105T100000Z", "2020-01-05T12:00:00+02:00"),
        *("2020-01-05 10:00:00 UTC", "2020-01-05 10:00:00.000000 UTC", "2020/01/05 10:00", "2020/1/5 10:00:00"),
        *("Sun, 05 Jan 2020 10:00:00 GMT", "Sun, 5 Jan 2020 11:00:00 +0100", "Sun, 05 Jan 2020 05:00:00 -0500"),
        *("Sun Jan  5 10:00:00 2020", "Sun Jan 05 10:00:00 +0000 2020", "Sun Jan  5 10:00:00 UTC 2020"),
        *("Jan 5, 2020, 10:00 AM", "January 5, 2020 10:00 AM", "5 January 2020 10:00"),
    ],
)
def test_one_moment_in_the_ways_in_which_programs_write_it(value: object):
    assert moment_of(value) == datetime(2020, 1, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize("value", [20200105, "20200105", "2020/01/05", "Jan 5, 2020", "5 Jan 2020"])
def test_a_day_is_its_first_moment(value: object):
    assert moment_of(value) == datetime(2020, 1, 5, tzinfo=UTC)


def test_milliseconds_that_look_like_a_day_and_a_time_are_milliseconds():
    assert moment_of("1610122371530") == datetime(2021, 1, 8, 16, 12, 51, 530_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [True, None, [2020, 1, 5], "01/05/2020", "0000-00-00", "infinity", "5. Januar 2020", -1, 1e300, float("nan"), "1" * 21],
)
def test_what_could_be_two_days_or_none_is_no_moment(value: object):
    with pytest.raises(ValueError):  # what it says is Python's own
        moment_of(value)
