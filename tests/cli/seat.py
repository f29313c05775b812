"""A reviewer's seat for tests: the real screen over a real workspace, keys pressed one after the other."""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot

from tests.patience import PATIENCE
from tunekeeper.cli.reviewscreen import ReviewScreen
from tunekeeper.config.project import ModelConfig
from tunekeeper.workspace import Workspace

CELL = 12.2
"""Width of a character in an exported screen."""


class Seat:
    """Presses keys and waits until the screen has done what they ask."""

    def __init__(self, screen: ReviewScreen, pilot: Pilot[None]) -> None:
        self.screen, self.pilot = screen, pilot

    async def press(self, *keys: str) -> None:
        """Press keys, each after the step of the one before."""
        for key in keys:
            await self.pilot.press(key)
            await self.until(lambda: not self.screen.moving)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        """Type a text into whatever has the focus."""
        names = {" ": "space", "\n": "enter"}
        await self.pilot.press(*(names.get(c, c) for c in text))
        await self.pilot.pause()

    async def until(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Wait until `condition` holds; AssertionError when it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"it did not happen in time; the screen says {self.shown()[-400:]!r}"
            await self.pilot.pause(0.005)

    def shown(self) -> str:
        """Everything on the screen as text, line by line."""
        svg = re.sub(r"<style>.*?</style>", "", self.screen.export_screenshot(title="-"), flags=re.DOTALL)
        rows: dict[float, str] = {}
        for x, y, words in re.findall(r'<text class="[^"]*-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', svg, re.DOTALL):
            before = rows.get(float(y), "")
            rows[float(y)] = before.ljust(round(float(x) / CELL)) + html.unescape(words).replace("\xa0", " ")
        return "\n".join(row.rstrip() for _, row in sorted(rows.items()) if row.strip())


def sit(
    ws: Workspace,
    config: ModelConfig,
    steps: Callable[[Seat], Awaitable[None]],
    *,
    by: str = "ana",
    size: tuple[int, int] = (120, 36),
    kinds: tuple[str, ...] = (),
) -> None:
    """Open the screen, do `steps`, close it."""

    async def main() -> None:
        screen = ReviewScreen(ws, config, by=by, kinds=kinds)
        try:
            async with screen.run_test(size=size) as pilot:
                seat = Seat(screen, pilot)
                await seat.until(lambda: not screen.moving)
                await pilot.pause()
                await steps(seat)
        finally:
            screen.hands.shutdown()

    asyncio.run(main())
