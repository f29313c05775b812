"""Where an answer is corrected: the field, beneath it what was changed so far or what speaks against saving it."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import TextArea

from tunekeeper.cli.reviewtext import Veil, changed
from tunekeeper.cli.reviewwidgets import Aside
from tunekeeper.cli.visible import visible

KEEP_EVERY = 2.0
"""Real seconds at most between typing and the text being kept."""
LONG = 40_000
"""Characters from which the change is not drawn at every key."""


class Editor(TextArea):
    """A field for text in which characters that a terminal would obey stand as signs, and mean themselves when it is read."""

    def __init__(self) -> None:
        super().__init__(soft_wrap=True, tab_behavior="focus", id="editor", highlight_cursor_line=False)
        self._veil = Veil("")

    def begin(self, text: str) -> None:
        """Put `text` into the field, the cursor at its beginning."""
        self._veil = Veil(text)
        self.load_text(self._veil.text)

    @property
    def meant(self) -> str:
        """The text as it is meant, hidden characters included."""
        return self._veil.back(self.text)

    async def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        await super()._on_paste(events.Paste(self._veil.show(event.text)))


class Writing(Vertical):
    """The field and the strip beneath it."""

    class Typed(Message):
        """There is text that was not kept for KEEP_EVERY seconds."""

    def __init__(self) -> None:
        super().__init__(id="writing")
        self._served = ""
        self._kept: str | None = None
        self._timer: Timer | None = None
        self.complaints: tuple[str, ...] = ()
        """What is shown against the text; empty while the change is shown."""

    def compose(self) -> ComposeResult:
        yield Editor()
        yield Aside("What you changed", "strip")

    def on_mount(self) -> None:
        self.query_one(Editor).border_title = "Your answer"

    def begin(self, served: str, text: str) -> None:
        """Edit `text`, which began as `served`."""
        self._served, self._kept = served, text
        editor = self.query_one(Editor)
        editor.begin(text)
        editor.focus()
        self.show_change()

    @property
    def text(self) -> str:
        """What the field holds."""
        return self.query_one(Editor).meant

    @property
    def unkept(self) -> bool:
        """Whether it holds something that was not kept yet."""
        return self.text != self._kept

    def kept(self, text: str | None) -> None:
        """`text` lies safe; None: nothing does."""
        self._kept = text

    def complain(self, found: Sequence[str], *, hard: bool) -> None:
        """Show what speaks against saving. `hard`: it cannot be saved like this."""
        self.complaints = tuple(found)
        strip = self.query_one(Aside)
        strip.border_title = "This cannot be saved" if hard else "Before you save"
        strip.add_class("warn")
        strip.show(Content.assemble(*(part for each in found for part in (("• ", "bold $warning"), visible(each), "\n"))))

    def show_change(self) -> None:
        """Show what was changed so far."""
        self.complaints = ()
        strip, text = self.query_one(Aside), self.text
        strip.border_title = "What you changed"
        strip.remove_class("warn")
        if text == self._served:
            strip.show(Content.styled("nothing yet", "italic $quiet"))
        elif len(text) + len(self._served) > LONG:
            strip.show(Content.styled(f"{len(self._served):,} characters became {len(text):,}", "$quiet"))
        else:
            strip.show(changed(self._served, text, plain=self.app.no_color, around=80))

    def on_text_area_changed(self) -> None:
        """Draw the change at once; have the text kept soon."""
        self.show_change()
        self.keep_soon()

    def keep_soon(self) -> None:
        """Have what is not kept yet kept within KEEP_EVERY seconds."""
        if self.unkept and self._timer is None:
            self._timer = self.set_timer(KEEP_EVERY, self._soon)

    def _soon(self) -> None:
        self._timer = None
        if self.unkept:
            self.post_message(self.Typed())
