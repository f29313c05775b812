"""From the room of a disk to what is given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekeeper.store.space import MARGIN, RESERVE, Level, Space, level_of, measure

MB = 1 << 20
GB = 1 << 30


def disk(used: float, total: int = 64 * MB) -> Space:
    return Space(total=total, free=int(total * (1 - used)))


@pytest.mark.parametrize(
    ("used", "level"),
    [
        (0.0, Level.OK),
        (0.799, Level.OK),
        (0.80, Level.LOW),
        (0.899, Level.LOW),
        (0.90, Level.NO_BODIES),
        (0.949, Level.NO_BODIES),
        (0.95, Level.NO_SHADOW),
        (1.0, Level.NO_SHADOW),
    ],
)
def test_each_level_begins_at_its_share(used: float, level: Level) -> None:
    assert level_of(disk(used)) is level


@pytest.mark.parametrize(("total", "used"), [(1000 * GB, 0.99), (100 * GB, 0.94), (20 * GB, 0.70)])
def test_a_large_disk_with_gigabytes_left_or_a_half_empty_one_is_not_short(total: int, used: float) -> None:
    assert level_of(disk(used, total)) is Level.OK


def test_a_level_ends_only_some_way_below_where_it_began() -> None:
    assert level_of(disk(0.89), Level.NO_BODIES) is Level.NO_BODIES
    assert level_of(disk(0.87), Level.NO_BODIES) is Level.LOW
    assert level_of(disk(0.79), Level.LOW) is Level.LOW
    assert level_of(disk(0.77), Level.LOW) is Level.OK
    assert level_of(disk(0.94), Level.FULL) is Level.NO_SHADOW


def test_the_room_of_a_reserve_that_was_given_up_is_nobody_elses() -> None:
    given = Space(total=64 * MB, free=RESERVE)
    assert level_of(given, reserved=False) is Level.FULL
    assert level_of(given, reserved=True) is Level.NO_BODIES
    assert level_of(Space(total=64 * MB, free=RESERVE + MARGIN), reserved=False) is Level.NO_BODIES


def test_levels_are_named_as_answers_say_them() -> None:
    assert [level.word for level in Level] == ["ok", "low", "no_bodies", "no_shadow", "full"]


def test_the_room_of_a_real_folder_is_measured(tmp_path: Path) -> None:
    space = measure(tmp_path)
    assert 0 <= space.free <= space.total
    assert 0.0 <= space.used <= 1.0
    with pytest.raises(OSError, match="nowhere"):
        measure(tmp_path / "nowhere")
