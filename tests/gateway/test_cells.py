"""The file of the counters: rows and columns are bounded, found again and given on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.gateway.test_counters import MONTH, NOW, UTC_NOW, Crew
from tunekeeper.core.errors import OurFault
from tunekeeper.gateway import cells as module
from tunekeeper.gateway.cells import COLUMNS, FILE, FOLDER, ROWS
from tunekeeper.gateway.counters import Counters
from tunekeeper.gateway.quotas import moment


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    made = Crew(tmp_path)
    yield made
    for one in made.open:
        one.close()


def test_when_all_rows_are_taken_one_that_counts_for_nobody_is_given_away(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 4)
    one, two = crew("w1"), crew("w2")
    for name in "abcd":
        one.spend(name, MONTH, NOW, 1)
    one.began("a", NOW)
    with pytest.raises(OurFault, match="counts 4 keys"):
        two.admitted("e", NOW)
    spring = moment(9_000_000.0, UTC_NOW + timedelta(days=104))
    two.spend("e", spring.period("month"), spring, 5)
    assert two.used("e", spring.period("month"), spring).spent == 5
    assert one.used("a", MONTH, NOW).running == 1, "a row with a request under way is kept"
    assert sum(name in "bcd" for name in "bcd" if one.used(name, 0, spring).spent == 0) == 3, "and a lost row is found again"


def test_columns_are_bounded_and_a_dead_workers_is_inherited(crew: Crew) -> None:
    first = crew("w0")
    first.spend("key_a", MONTH, NOW, 4)
    for number in range(1, COLUMNS - 1):
        crew(f"w{number}")
    with pytest.raises(OurFault, match="room for 31 workers"):
        Counters(crew.root, "late", lambda: crew.living)
    crew.dies("w0", first)
    late = crew("late")
    assert late.used("key_a", MONTH, NOW).spent == 4
    late.spend("key_a", MONTH, NOW, 1)
    assert late.used("key_a", MONTH, NOW).spent == 5


def test_a_file_that_is_no_counter_file_is_named_and_left_alone(tmp_path: Path, crew: Crew) -> None:
    (tmp_path / FOLDER).mkdir()
    path = tmp_path / FOLDER / FILE
    path.write_bytes(b"something else")
    with pytest.raises(OurFault, match="not a counter file"):
        crew("w1")
    assert path.read_bytes().startswith(b"something else")


def test_the_file_takes_room_only_for_workers_there_are(crew: Crew) -> None:
    crew("w1")
    used = (crew.root / FOLDER / FILE).stat().st_blocks * 512
    assert used < 3 * ROWS * 64 + 200_000
