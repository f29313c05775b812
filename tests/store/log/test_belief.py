"""Which clock is believed when it says that records are old."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.log.belief import DOUBT, JUMP, Belief, look, note, noted

YEAR, WEEKEND = 365 * 86_400.0, 3 * 86_400.0


@pytest.mark.parametrize(
    ("looks", "doubted"),
    [
        ([(0, 0), (1, 1), (7200, 7200)], [False, False, False]),
        ([(JUMP, 0)], [False]),
        ([(YEAR, 0), (YEAR + 3599, 3599), (YEAR + DOUBT, DOUBT), (YEAR + DOUBT + 1, DOUBT + 1)], [True, True, False, False]),
        ([(YEAR, 0), (600, 600), (YEAR + 1200, 1200), (YEAR + 4799, 4799)], [True, False, True, True]),
        ([(YEAR, 0), (2 * YEAR + 3000, 3000), (2 * YEAR + 6599, 6599), (2 * YEAR + 6600, 6600)], [True, True, True, False]),
        ([(-YEAR, 0), (60, 60), (3660, 3660)], [False, True, False]),
        ([(WEEKEND, 0), (WEEKEND + DOUBT, DOUBT)], [True, False]),
        ([(0, 0), (WEEKEND, WEEKEND)], [False, False]),
    ],
    ids=["goes on", "a day", "a year", "set right", "set twice", "behind", "switched off", "idle or asleep"],
)
def test_a_clock_that_leaps_is_doubted_until_it_has_lasted(looks: list[tuple[float, float]], doubted: list[bool]) -> None:
    belief, found = Belief(ahead=0.0), []
    for calendar, steady in looks:
        belief = look(belief, calendar, steady)
        found.append(belief.doubted is not None)
    assert found == doubted


def test_when_it_was_believed_last_is_kept_and_damage_to_it_is_no_evidence(root: Path, clock: ManualClock) -> None:
    assert noted(root) is None
    note(root, clock.utc())
    assert noted(root) == clock.utc()
    for damage in (b"", b"yesterday", b"\xff", b"0001-01-01T00:00:00+05:30"):
        (root / "log" / "believed").write_bytes(damage)
        assert noted(root) is None
    (root / "log" / "believed").write_text("2026-01-05T10:00:00+01:00")
    assert noted(root) == datetime(2026, 1, 5, 9, tzinfo=UTC)


def test_no_room_for_the_note_ends_nothing(root: Path, clock: ManualClock) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "log").write_text("in the way")
    note(root, clock.utc())
    assert noted(root) is None
