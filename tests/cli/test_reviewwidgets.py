from __future__ import annotations

import asyncio
from itertools import product

import pytest
from textual.app import App, ComposeResult
from textual.color import Color
from textual.theme import Theme

from tunekeeper.cli.reviewkeys import shown_keys
from tunekeeper.cli.reviewwidgets import DAY, NIGHT, Ask, KeyLine, Stopwatch, Whole
from tunekeeper.core.clock import ManualClock


def test_a_stopwatch_counts_a_pause_as_a_minute_at_most() -> None:
    clock = ManualClock()
    watch = Stopwatch(clock.real)
    clock.advance(40)
    watch.touch()
    assert (watch.seconds(), watch.rests()) == (40, False)
    clock.advance(3600)
    assert (watch.seconds(), watch.rests()) == (100, True)
    watch.touch()
    clock.advance(10)
    assert (watch.seconds(), watch.rests()) == (110, False)
    watch.restart()
    assert watch.seconds() == 0


def _contrast(a: str, b: str) -> float:
    """As WCAG 2 computes it: 1 to 21."""

    def light(color: str) -> float:
        parts = [c / 255 for c in Color.parse(color).rgb]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [NIGHT, DAY], ids=lambda theme: theme.name)
def test_every_text_colour_stands_out_from_every_ground(theme: Theme) -> None:
    inks = [
        theme.foreground,
        theme.accent,
        theme.warning,
        *(theme.variables[n] for n in ("quiet", "code", "value", "gone", "come")),
    ]
    grounds = [theme.background, theme.surface, theme.panel]
    weak = [(ink, ground) for ink, ground in product(inks, grounds) if _contrast(str(ink), str(ground)) < 4.5]
    assert weak == []
    assert _contrast(str(theme.foreground), str(theme.background)) >= 12
    assert _contrast(theme.variables["mark"], str(theme.surface)) >= 4


class Stage(App[None]):
    def compose(self) -> ComposeResult:
        yield KeyLine()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return NIGHT.variables


def test_the_key_line_takes_the_lines_it_needs_and_the_dialogs_answer() -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.run_test(size=(60, 20)) as pilot:
            line = stage.query_one(KeyLine)
            line.show(shown_keys("answer"))
            await pilot.pause()
            assert line.size.height == 2
            assert "a approve" in str(line.content)
            assert "q quit" in str(line.content)
            await pilot.resize_terminal(140, 20)
            await pilot.pause()
            assert line.size.height == 1
            said: list[str | None] = []
            for typed in (("2", "enter"), ("7", "enter"), ("a", "enter"), ("enter",), ("escape",)):
                await stage.push_screen(Ask("Label", ["tone", "[red]"], hint="…"), said.append)
                await pilot.press(*typed)
                await pilot.pause()
            assert said == ["[red]", "7", "a", None, None]

    asyncio.run(main())


def test_a_long_conversation_is_read_page_by_page() -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.run_test(size=(80, 24)) as pilot:
            text = "".join(f"line {i}\n" for i in range(40_000))
            page = Whole(text)
            await stage.push_screen(page)
            await pilot.press("right", "left", "left")
            assert "page 1 of" in str(page.query_one("#page-line").render())
            await pilot.press("right")
            assert "page 2 of" in str(page.query_one("#page-line").render())
            await pilot.press("escape")
            assert len(stage.screen_stack) == 1

    asyncio.run(main())
