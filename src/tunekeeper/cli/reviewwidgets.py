"""The parts of the review screen: panels that are read, the field that is written in, dialogs, colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.theme import Theme
from textual.widgets import Input, Static

from tunekeeper.cli.reviewkeys import KEYS, Key
from tunekeeper.cli.reviewtext import markdown
from tunekeeper.cli.visible import visible

IDLE = 60.0
"""Seconds without a key after which nobody is taken to be reading."""
LOW = 18
"""Lines of a screen below which only question, answer and one line of keys are left."""
MOST_SAID = 20_000
"""Characters of a note or of a reason."""
PAGE = 12_000
"""Characters of one page of the whole conversation."""


def _theme(name: str, dark: bool, **colors: str) -> Theme:
    own = ("quiet", "code", "value", "mark", "gone", "come")
    return Theme(
        name=name,
        dark=dark,
        primary=colors["accent"],
        secondary=colors["quiet"],
        accent=colors["accent"],
        warning=colors["warning"],
        error=colors["gone"],
        success=colors["come"],
        foreground=colors["foreground"],
        background=colors["background"],
        surface=colors["surface"],
        panel=colors["panel"],
        text_alpha=1.0,
        variables={each: colors[each] for each in own}
        | {"border": colors["mark"], "scrollbar": colors["mark"], "scrollbar-background": colors["background"]},
    )


NIGHT = _theme(
    "night",
    True,
    background="#15181d",
    surface="#1b1f26",
    panel="#262c36",
    foreground="#e8e6e1",
    accent="#7fd1c7",
    quiet="#a3acb8",
    code="#b9d8a5",
    value="#f0cf8e",
    mark="#7d8794",
    gone="#f59a92",
    come="#8fdc9a",
    warning="#f5bd6a",
)
DAY = _theme(
    "day",
    False,
    background="#fbfaf7",
    surface="#f2f0ea",
    panel="#e6e2d8",
    foreground="#1f2328",
    accent="#0a5f59",
    quiet="#565e68",
    code="#2f5a1c",
    value="#704300",
    mark="#6b727b",
    gone="#a01f28",
    come="#17632a",
    warning="#7d4a00",
)


class Stopwatch:
    """Seconds that somebody really spent on an item: a pause of more than a minute between two keys counts as that minute."""

    def __init__(self, real: Callable[[], float]) -> None:
        """`real`: monotonic seconds."""
        self._real = real
        self.restart()

    def restart(self, spent: float = 0.0) -> None:
        """Begin at zero, or go on from the seconds that were `spent` before."""
        self._spent, self._last = spent, self._real()

    def touch(self) -> None:
        """A key was pressed."""
        self._spent, self._last = self.seconds(), self._real()

    def seconds(self) -> float:
        """Active seconds until now."""
        return self._spent + min(self._real() - self._last, IDLE)

    def rests(self) -> bool:
        """Whether nobody has pressed a key for so long that the time stands still."""
        return self._real() - self._last >= IDLE


SCROLLING: list[BindingType] = [
    Binding("up,k", "scroll_up", show=False),
    Binding("down,j", "scroll_down", show=False),
    Binding("pageup", "page_up", show=False),
    Binding("pagedown,space", "page_down", show=False),
    Binding("home", "scroll_home", show=False),
    Binding("end", "scroll_end", show=False),
]
"""The keys of a panel; left and right stay free for the items."""


class Part(VerticalScroll, inherit_bindings=False):
    """A panel whose text scrolls, and says how much of it lies below."""

    BINDINGS = SCROLLING

    def __init__(self, title: str, id: str) -> None:
        """`title`: ours, never a stranger's."""
        super().__init__(id=id)
        self.border_title = title
        self.text = Static(markup=False)

    def compose(self) -> ComposeResult:
        yield self.text

    def show(self, content: Content) -> None:
        """Replace the text and begin at its top."""
        self.text.update(content)
        self.scroll_home(animate=False)

    def on_resize(self) -> None:
        self._tell_more()

    def watch_virtual_size(self) -> None:
        self._tell_more()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._tell_more()

    def _tell_more(self) -> None:
        below = self.max_scroll_y - self.scroll_offset.y
        self.border_subtitle = f"↓ {below:,} more {'line' if below == 1 else 'lines'}" if below > 0 else ""


class Aside(Part):
    """A panel that Tab comes to only while there is something in it to scroll."""

    def allow_focus(self) -> bool:
        return bool(self.max_scroll_y > 0)


class Said(Static):
    """One message of a conversation, with the bar of its role."""

    def __init__(self, role: str, content: Content) -> None:
        """`role`: as the message names it, whatever that is."""
        known = role if role in ("system", "user", "assistant", "tool", "more") else "other"
        head = Content("") if known == "more" else Content.assemble((visible(role).upper(), "bold $quiet"), "\n")
        super().__init__(Content.assemble(head, content), markup=False, classes=f"said {known}")


class Talk(VerticalScroll, inherit_bindings=False):
    """The conversation: its last messages in full view, the way there by scrolling."""

    BINDINGS = SCROLLING

    async def show(self, messages: Iterable[tuple[str, Content]]) -> None:
        """Replace what is shown and go to its end, where the question stands; it stays in view on a smaller screen."""
        async with self.batch():
            await self.remove_children()
            await self.mount_all(Said(role, content) for role, content in messages)
        self.anchor()


def _width(key: Key) -> int:
    return len(key.shown) + 1 + len(key.word) + 2


def _lines(keys: Iterable[Key], width: int) -> list[list[Key]]:
    """The keys on as many lines of `width` characters as they need."""
    lines: list[list[Key]] = [[]]
    used = 0
    for key in keys:
        if lines[-1] and used + _width(key) > width + 2:
            lines.append([])
            used = 0
        lines[-1].append(key)
        used += _width(key)
    return lines


class KeyLine(Static):
    """The bottom line: what each key does now; on narrow terminals it takes a second line."""

    def __init__(self) -> None:
        super().__init__(markup=False, id="keys")
        self._keys: tuple[Key, ...] = ()

    def show(self, keys: Sequence[Key]) -> None:
        """Show these keys."""
        self._keys = tuple(keys)
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = max(self.app.size.width - 2, 20)
        lines = _lines(self._keys, width)
        sheet = [key for key in self._keys if key.action == "sheet"]
        if len(lines) > 1 and self.app.size.height < LOW:  # there is one line: what it does not hold stands on the sheet
            lines = [_lines(self._keys, width - sum(map(_width, sheet)))[0] + sheet]
        parts: list[Content | str | tuple[str, str]] = []
        for i, line in enumerate(lines):
            parts += ["\n"] if i else []
            for j, key in enumerate(line):
                parts += ["  " if j else "", (key.shown, "bold $accent"), (f" {key.word}", "$foreground")]
        self.update(Content.assemble(*parts))


# ---- dialogs ----


class Line(Input):
    """A field of one line: of what is pasted what fits, shown as any other text is, its lines behind each other."""

    def _on_paste(self, event: events.Paste) -> None:
        event.prevent_default()
        text, room = visible(" ".join(event.text.split())), (self.max_length or MOST_SAID) - len(self.value)
        if len(text) > room:
            self.app.bell()
        super()._on_paste(events.Paste(text[:room]))


class Ask(ModalScreen[str | None]):
    """One line of text from the reviewer, with what there is to choose from. Enter gives it, Esc gives None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)")]

    def __init__(self, title: str, options: Sequence[str] = (), *, hint: str = "", most: int = MOST_SAID) -> None:
        """`options`: the first nine can be named by number. `most`: characters."""
        super().__init__()
        self._title, self._options, self._hint, self._most = title, tuple(options), hint, most

    def compose(self) -> ComposeResult:
        parts: list[Content | str | tuple[str, str]] = [(self._title, "bold")]
        for i, option in enumerate(self._options[:9], 1):
            parts += ["\n", (f" {i} ", "bold $accent"), visible(option)]
        with Vertical(classes="dialog"):
            yield Static(Content.assemble(*parts), markup=False)
            yield Line(placeholder=self._hint, max_length=self._most, select_on_focus=False)
            yield Static(
                Content.assemble(("Enter", "bold $accent"), " keeps it   ", ("Esc", "bold $accent"), " back"), markup=False
            )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A number names an option, anything else is taken as written; an empty line is no answer."""
        said = event.value.strip()
        named = int(said) if said in tuple("123456789") else 0
        self.dismiss(self._options[named - 1] if 0 < named <= len(self._options) else said or None)


class Sheet(ModalScreen[None]):
    """Every key and what it does."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter,space", "dismiss(None)")]

    def compose(self) -> ComposeResult:
        parts: list[Content | str | tuple[str, str]] = [("Keys", "bold")]
        for place, title in (("answer", "an answer"), ("pair", "two answers, blind"), ("edit", "while you edit")):
            told = [key for key in KEYS if key.places[0] == place]
            parts += ["\n\n", (title, "bold $quiet")]
            for key in told:
                parts += ["\n", (f" {key.shown:<5}", "bold $accent"), key.says]
        parts += ["\n\n", ("↑ ↓ PgUp PgDn scroll; no key is taken from a field you write in", "$quiet")]
        with VerticalScroll(classes="dialog sheet"):
            yield Static(Content.assemble(*parts), markup=False)


class Whole(ModalScreen[None]):
    """The whole conversation, however long, a page at a time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,v", "dismiss(None)"),
        Binding("left", "turn(-1)"),
        Binding("right", "turn(1)"),
    ]

    def __init__(self, text: str) -> None:
        """`text`: as it was written."""
        super().__init__()
        self._text, self._page = text, 0
        self._pages = max(1, -(-len(text) // PAGE))

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog whole"):
            yield Static(markup=False, id="page-line")
            yield Part("", "page")

    def on_mount(self) -> None:
        self.query_one(Part).focus()
        self._draw()

    def action_turn(self, by: int) -> None:
        """Go on, or back, by a page."""
        self._page = min(max(self._page + by, 0), self._pages - 1)
        self._draw()

    def _draw(self) -> None:
        start = self._page * PAGE
        self.query_one(Part).show(markdown(visible(self._text[start : start + PAGE])))
        where = f"page {self._page + 1} of {self._pages} · {len(self._text):,} characters"
        keys = ("   ← → turn · ↑ ↓ scroll · Esc back", "$quiet")
        self.query_one("#page-line", Static).update(Content.assemble((where, "bold"), keys))
