from __future__ import annotations

import io
from pathlib import Path

import pytest

from tunekeeper.cli.app import main
from tunekeeper.core.errors import UserError
from tunekeeper.demo.run import START, demo
from tunekeeper.demo.screen import Screen
from tunekeeper.workspace import compress_clock


def test_a_second_demo_on_the_same_folder_refuses_with_one_line_naming_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".tunekeeper").mkdir()
    compress_clock(tmp_path / ".tunekeeper", start=START, factor=0.0)
    assert main(["demo", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "--resume" in lines[0]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not empty"):
        demo(tmp_path, screen=Screen(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_the_screen_says_each_stage_and_how_long_it_took() -> None:
    out = io.StringIO()
    screen = Screen(out)
    with screen.stage(2, 13, "Train"):
        screen.at("train: step 1", 0.1)
        screen.at("train: step 2", 0.2)
        screen.at("export: begins")
        with screen.asking():
            screen.say("may it?")
    lines = out.getvalue().splitlines()
    assert lines[0] == "[2/13] Train"
    assert [line.strip() for line in lines[1:4]] == ["… train: step 1 (10 %)", "… export: begins", "may it?"]
    assert lines[4].strip().endswith(" s")


def test_a_quiet_screen_says_nothing() -> None:
    out = io.StringIO()
    screen = Screen(out, quiet=True)
    with screen.stage(1, 1, "x"):
        screen.at("y")
        screen.say("z")
    assert out.getvalue() == ""
