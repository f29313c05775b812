from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tunekeeper.store.moments import written_moment


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
