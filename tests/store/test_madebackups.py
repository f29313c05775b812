from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tunekeeper.store.madebackups import FILE, Holding, carry_over, load, made_until, note

T0 = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def test_backups_until_a_moment_are_named_with_whether_they_are_still_there(tmp_path: Path) -> None:
    there, gone, later = tmp_path / "a.tar.zst", tmp_path / "b.tar.zst", tmp_path / "c.tar.zst"
    there.touch()
    for number, file in enumerate((there, gone, later)):
        note(tmp_path, file, T0 + number * DAY)
    assert made_until(tmp_path, T0 + DAY) == [
        Holding(file=str(there), at=T0, found=True),
        Holding(file=str(gone), at=T0 + DAY, found=False),
    ]
    assert made_until(tmp_path, None) == []


def test_a_line_that_a_kill_cut_short_spoils_neither_itself_nor_the_next(tmp_path: Path) -> None:
    note(tmp_path, tmp_path / "a.tar.zst", T0)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"at":"2026-01')
    note(tmp_path, tmp_path / "b.tar.zst", T0)
    assert [Path(each.file).name for each in load(tmp_path)] == ["a.tar.zst", "b.tar.zst"]


def test_a_restored_directory_knows_the_backups_of_both(tmp_path: Path) -> None:
    before, restored = tmp_path / "before", tmp_path / "restored"
    for folder in (before, restored):
        folder.mkdir()
        note(folder, tmp_path / "a.tar.zst", T0)
    note(before, tmp_path / "b.tar.zst", T0 + DAY)
    for _ in range(2):
        carry_over(before, restored)
        assert [Path(each.file).name for each in load(restored)] == ["a.tar.zst", "b.tar.zst"]
