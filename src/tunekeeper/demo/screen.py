"""Progress for a person: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class Screen:
    """Where the demo speaks. A bar at the bottom of a terminal; in a pipe, a line now and then."""

    def __init__(self, out: TextIO | None = None, quiet: bool = False) -> None:
        """`out`: where to write, stderr by default. `quiet`: say nothing."""
        self.out = out or sys.stderr
        self.quiet = quiet
        self.live = not quiet and self.out.isatty()
        self._progress: Any = None
        self._task: Any = None
        self._said = ("", 0.0)

    def say(self, text: str) -> None:
        """One line that stays."""
        if self.quiet:
            return
        if self._progress is not None:
            self._progress.console.print(text, highlight=False, markup=False)
        else:
            self.out.write(text + "\n")
            self.out.flush()

    @contextmanager
    def stage(self, number: int, total: int, title: str) -> Iterator[None]:
        """A stage's heading, its bar while the block runs, and how long it took."""
        begun = time.monotonic()
        self.say(f"[{number}/{total}] {title}")
        if self.live:
            self._begin(title)
        try:
            yield
        finally:
            if self._progress is not None:
                self._progress.stop()
                self._progress = self._task = None
        self.say(f"        {time.monotonic() - begun:.1f} s")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """The bar stands aside while a person is asked something."""
        if self._progress is not None:
            self._progress.stop()
        try:
            yield
        finally:
            if self._progress is not None:
                self._progress.start()

    def at(self, what: str, fraction: float | None = None) -> None:
        """What is happening now, and how much of it is done (0 to 1, None when unknown)."""
        if self.quiet:
            return
        if self._progress is not None:
            total = None if fraction is None else 1.0
            self._progress.update(self._task, description=what[:70], total=total, completed=fraction or 0.0)
            return
        text, when = self._said
        if what.split(":")[0] != text or time.monotonic() - when > 10:
            self._said = (what.split(":")[0], time.monotonic())
            self.say(f"        … {what}" + ("" if fraction is None else f" ({100 * fraction:.0f} %)"))

    def _begin(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(file=self.out)
        columns = (
            TextColumn("       "),
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task(title[:70], total=None)
        self._progress.start()
