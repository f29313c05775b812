from __future__ import annotations

from pathlib import Path

from tunekeeper.config.watching import GONE_LOOKS, FileWatch, project_files


def test_a_change_is_told_once_when_the_files_have_stood_still(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    desk = tmp_path / "models" / "desk.yaml"
    (tmp_path / "tunekeeper.yaml").write_text("project: x\n")
    desk.write_text("model: desk\n")
    watch = FileWatch(lambda: project_files(tmp_path))
    assert [watch.changed() for _ in range(3)] == [False] * 3
    desk.write_text("model: desk\nlevel: 3\n")
    assert not watch.changed(), "it may still be written"
    desk.write_text("model: desk\nlevel: 2 # more\n")
    assert [watch.changed() for _ in range(3)] == [False, True, False]
    (tmp_path / "models" / "new.yaml").write_text("model: new\n")
    assert [watch.changed() for _ in range(3)] == [False, True, False]
    (tmp_path / "models" / "notes.txt").write_text("no file of ours")
    (tmp_path / ".env").write_text("TUNEKEEPER_GATEWAY_PORT=1\n")
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_a_file_that_is_away_for_a_moment_has_not_changed_and_one_that_stays_away_has(tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    file.write_text("active_slot: blue\n")
    watch = FileWatch(lambda: [file])
    aside = file.rename(tmp_path / "aside")
    assert [watch.changed() for _ in range(GONE_LOOKS - 1)] == [False] * (GONE_LOOKS - 1)
    aside.rename(file)
    assert [watch.changed() for _ in range(GONE_LOOKS)] == [False] * GONE_LOOKS
    file.unlink()
    looks = [watch.changed() for _ in range(GONE_LOOKS + 2)]
    assert looks == [False] * GONE_LOOKS + [True, False]
