"""The list of erasures: what it holds, and what a restore makes of two of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tunekeeper.store.erasures import FILE, Erasure, append, ended, held_until, load, note, undone_by

AT = datetime(2026, 1, 5, tzinfo=UTC)


def test_an_erasure_is_noted_without_the_name(tmp_path: Path) -> None:
    note(tmp_path, "ana@example.org", AT)
    note(tmp_path, "bo", AT + timedelta(days=1))
    assert b"ana" not in (tmp_path / FILE).read_bytes()
    assert [(erasure.at, len(erasure.unit), erasure.undone) for erasure in load(tmp_path)] == [
        (AT, 16, False),
        (AT + timedelta(days=1), 16, False),
    ]


def test_a_backup_may_hold_a_user_until_the_last_erasure_that_found_something(tmp_path: Path) -> None:
    note(tmp_path, "ana", AT)
    assert held_until(tmp_path, "ana") is None
    ended(tmp_path, "ana", AT + timedelta(hours=1), 3)
    ended(tmp_path, "ana", AT + timedelta(days=2), 0)
    ended(tmp_path, "bo", AT + timedelta(days=3), 1)
    assert held_until(tmp_path, "ana") == AT + timedelta(hours=1)
    assert undone_by(load(tmp_path), [], AT) == [
        Erasure(at=AT, unit=unit, undone=True, of=max(each.at for each in load(tmp_path) if each.unit == unit))
        for unit in sorted({each.unit for each in load(tmp_path)})
    ]


def test_a_line_that_a_kill_cut_short_is_passed_over(tmp_path: Path) -> None:
    assert load(tmp_path) == []
    append(tmp_path, [])
    assert not (tmp_path / FILE).exists()
    note(tmp_path, "ana", AT)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"at":"2026-01')
    assert len(load(tmp_path)) == 1


def test_the_erasure_after_a_line_that_a_full_disk_cut_short_is_known(tmp_path: Path) -> None:
    note(tmp_path, "u-1", datetime(2026, 3, 1, tzinfo=UTC))
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-9])
    note(tmp_path, "u-2", datetime(2026, 3, 2, tzinfo=UTC))
    assert [each.at.day for each in load(tmp_path)] == [2]


def test_what_the_backup_does_not_know_is_undone_until_the_user_is_erased_again() -> None:
    early, late = Erasure(at=AT, unit="a" * 16), Erasure(at=AT + timedelta(days=3), unit="b" * 16)
    restored_at = AT + timedelta(days=5)
    undone = undone_by([early, late], [early], restored_at)
    assert undone == [Erasure(at=restored_at, unit="b" * 16, undone=True, of=late.at)]
    # A backup of what was restored knows the erasure and that it is undone: restoring that one says so again.
    assert [e.unit for e in undone_by([], [early, *undone], restored_at)] == ["b" * 16]
    again = Erasure(at=AT + timedelta(days=6), unit="b" * 16)
    assert undone_by([], [early, *undone, again], restored_at) == []
    assert undone_by([early, *undone, again], [early, *undone, again], restored_at) == []


def test_a_backup_that_knows_the_erasure_which_an_older_one_undid_brings_nobody_back() -> None:
    first, second = Erasure(at=AT, unit="a" * 16), Erasure(at=AT + timedelta(days=2), unit="a" * 16)
    undone = undone_by([first, second], [], AT + timedelta(days=3))
    assert [(each.unit, each.of) for each in undone] == [("a" * 16, second.at)]
    later = AT + timedelta(days=4)
    assert undone_by(undone, [first, second], later) == []
    assert [each.of for each in undone_by(undone, [first], later)] == [second.at], "it knows only of the one before"
    assert [each.of for each in undone_by(undone, undone, later)] == [second.at]
    of_an_earlier_release = [Erasure(at=AT + timedelta(days=3), unit="a" * 16, undone=True)]
    assert len(undone_by(of_an_earlier_release, [first, second], later)) == 1
