from __future__ import annotations

import asyncio
from itertools import product

import pytest
from textual.app import App, ComposeResult
from textual.color import Color
from textual.content import Content
from textual.theme import Theme

from tunekeeper.cli.reviewkeys import shown_keys
from tunekeeper.cli.reviewwidgets import DAY, NIGHT, Aside, Ask, KeyLine, Part, Stopwatch, Whole
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
    watch.restart(40)
    clock.advance(5)
    assert watch.seconds() == 45, "who comes back goes on"


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


def test_on_a_low_screen_the_one_line_of_keys_still_names_the_sheet() -> None:
    async def main() -> None:
        stage = Stage()
        async with stage.run_test(size=(40, 12)) as pilot:
            line = stage.query_one(KeyLine)
            line.show(shown_keys("answer"))
            await pilot.pause()
            assert str(line.content) == "a approve  e edit  r reject  ? keys"
            line.show(shown_keys("edit"))
            assert str(line.content) == "^S save and next  Esc stop editing"

    asyncio.run(main())


def test_a_panel_says_how_many_lines_lie_below_and_tab_comes_to_one_aside_only_then() -> None:
    class Panels(Stage):
        def compose(self) -> ComposeResult:
            yield Part("The answer", "answer")
            yield Aside("Beside it", "side")

    async def main() -> None:
        stage = Panels()
        async with stage.run_test(size=(40, 20)) as pilot:
            answer, side = stage.query_one("#answer", Part), stage.query_one("#side", Part)
            answer.show(Content("\n".join(map(str, range(answer.size.height + 3)))))
            side.show(Content("short"))
            await pilot.pause()
            assert (answer.border_subtitle, side.border_subtitle) == ("↓ 3 more lines", "")
            assert (answer.focusable, side.focusable) == (True, False)
            answer.scroll_to(y=2, animate=False)
            await pilot.pause()
            assert answer.border_subtitle == "↓ 1 more line"
            side.show(Content("long\n" * 50))
            answer.show(Content("short"))
            await pilot.pause()
            assert (answer.border_subtitle, side.focusable) == ("", True)

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
