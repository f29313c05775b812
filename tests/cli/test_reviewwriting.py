from __future__ import annotations

import asyncio
import os

import pytest
from textual import events
from textual.app import App, ComposeResult

from tests.cli.seat import Seat
from tunekeeper.cli.reviewwidgets import NIGHT
from tunekeeper.cli.reviewwriting import LONG, Aside, Editor, Writing


class Stage(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.typed = 0

    def compose(self) -> ComposeResult:
        yield Writing()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return NIGHT.variables

    def on_writing_typed(self) -> None:
        self.typed += 1


def test_hidden_characters_stand_as_signs_and_come_back_and_pasted_ones_do_too() -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.run_test(size=(80, 24)) as pilot:
            writing, editor = stage.query_one(Writing), stage.query_one(Editor)
            served = "a\x1b[2J\u202eb\x85c\td"
            writing.begin(served, served)
            assert writing.text == served
            assert not {"\x1b", "\u202e", "\x85"} & set(editor.text)
            assert not writing.unkept
            stage.post_message(events.Paste("\x1b]0;x\x07"))
            await pilot.pause()
            assert writing.text == "\x1b]0;x\x07" + served
            assert not {"\x1b", "\x07"} & set(editor.text)
            assert writing.unkept
            writing.kept(writing.text)
            assert not writing.unkept

    asyncio.run(main())


def test_typing_has_the_text_kept_within_two_seconds_and_once() -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.run_test(size=(80, 24)) as pilot:
            writing = stage.query_one(Writing)
            writing.begin("served", "served")
            await pilot.press("x", "y")
            assert stage.typed == 0
            for _ in range(6000):
                if stage.typed:
                    break
                await pilot.pause(0.01)
            assert stage.typed == 1

    asyncio.run(main())


def test_the_strip_shows_the_change_or_what_speaks_against_it() -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.run_test(size=(80, 24)):
            writing, strip = stage.query_one(Writing), stage.query_one(Aside)
            writing.begin("the cat", "the cat")
            assert "nothing yet" in str(strip.text.content)
            writing.query_one(Editor).load_text("the dog")
            writing.show_change()
            assert "catdog" in str(strip.text.content)
            writing.complain(["[red]bad"], hard=True)
            assert strip.border_title == "This cannot be saved"
            assert "[red]bad" in str(strip.text.content)
            writing.begin("x" * LONG, "y" * 10)
            assert "40,000 characters became 10" in str(strip.text.content)

    asyncio.run(main())


def test_without_colours_the_change_is_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def main() -> None:
        stage = Stage()
        async with stage.run_test(size=(80, 24)) as pilot:
            stage.query_one(Writing).begin("the cat", "the dog")
            await pilot.pause()
            assert "the [-cat-]{+dog+}" in Seat(stage, pilot).shown()  # type: ignore[arg-type]

    asyncio.run(main())
    assert os.environ.get("NO_COLOR") in (None, "1")
