"""The screen of `tunekeeper data review` without its keys: what stands on it, and how one step follows the other."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, TypeVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from tunekeeper.cli import reviewpanels as panels
from tunekeeper.cli.reviewinput import Keyboard
from tunekeeper.cli.reviewkeys import KEYS, Place, shown_keys
from tunekeeper.cli.reviewtext import marked
from tunekeeper.cli.reviewwidgets import DAY, LOW, NIGHT, Aside, KeyLine, Part, Stopwatch, Talk
from tunekeeper.cli.reviewwriting import Writing
from tunekeeper.cli.visible import visible
from tunekeeper.config.project import ModelConfig
from tunekeeper.core.errors import INTERRUPTED, OK, NotFound, TunekeeperError
from tunekeeper.data import review
from tunekeeper.workspace import Workspace

RENEW = 300.0
"""Real seconds after which the lock of an item that is being worked on is renewed."""
PATIENCE = 1.0
"""Real seconds after which the reviewer is told what they wait for."""
TROUBLE = (TunekeeperError, OSError)
"""What costs the reviewer a line at the bottom and nothing else."""
T = TypeVar("T")


class ReviewFrame(App[None]):
    """The screen. One item at a time is open, held for this reviewer; every verb runs in one thread, in the order of the keys."""

    CSS_PATH = "reviewscreen.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (LOW, "-low"), (32, "-tall")]
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"option({key})", show=False) for key in "123456789"),
        *(Binding(key.keys, key.action, key.word, show=False) for key in KEYS if key.action != "option"),
        Binding("ctrl+q", "end", show=False, priority=True),
    ]

    def __init__(self, ws: Workspace, config: ModelConfig, *, by: str, kinds: Sequence[str] = ()) -> None:
        """`by`: the reviewer. `kinds`: which items; empty: all."""
        super().__init__(driver_class=Keyboard)
        self.ws, self.config, self.by, self.kinds = ws, config, by, tuple(kinds)
        self.model = config.task.name
        self.hands = ThreadPoolExecutor(max_workers=1, thread_name_prefix="review")
        self.place: Place = "empty"
        self.opened: review.Opened | None = None
        self.stopwatch = Stopwatch(ws.clock.real)
        self.spent: dict[str, float] = {}
        """Item left open → seconds spent on it so far: who comes back to it goes on from there."""
        self.trail: list[str] = []
        """Items seen, in order; `at` is the one on the screen."""
        self.at = -1
        self.judged: list[str] = []
        self.moving = True
        """Whether a step is under way: keys that would begin another are not taken, so that a key pressed twice judges once."""
        self.leaving: int | None = None
        """The exit code with which the screen ends once the step that is under way is done; None: it does not end."""
        self.late: str | None = None
        """The item on the screen, once the three-minute hint was given for it."""
        self.renewed = 0.0
        """Real seconds at which the lock was taken or renewed."""
        self.warned: str | None = None
        """The item for which it was said that an edit of it waits."""
        self.passed: set[str] = set()
        """Items left open by going on."""
        self.labels: list[str] = []
        """Labels used in this queue, most used first."""
        self.unkept: dict[str, str] = {}
        """Item → its edit, where it could not be kept in the ledger."""
        self.accepted: str | None = None
        """The text whose complaints the reviewer has seen."""

    # ---- what stands on the screen ----

    def compose(self) -> ComposeResult:
        # The parts are kept by name: `query` looks at the dialog while one is open.
        self.headline, self.pace_line, self.why = (Static(markup=False, id=id) for id in ("title", "pace", "why"))
        self.empty, self.status = (Static(markup=False, id=id) for id in ("nothing", "status"))
        self.talk, self.writing, self.key_line = Talk(id="talk"), Writing(), KeyLine()
        self.answer, self.other, self.side = Part("Served answer", "answer"), Part("B", "other"), Aside("Why this one", "side")
        self.answers, self.left = Horizontal(self.answer, self.other, id="answers"), Vertical(id="left")
        with Horizontal(id="top"):
            yield self.headline
            yield self.pace_line
        yield self.why
        with Horizontal(id="main"):
            yield self.empty
            with self.left:
                yield self.talk
                yield self.answers
                yield self.writing
            yield self.side
        yield self.status
        yield self.key_line

    def on_mount(self) -> None:
        for theme in (NIGHT, DAY):
            self.register_theme(theme)
        self.theme = NIGHT.name
        self.talk.border_title = "Conversation"
        self._place("empty")
        self.set_interval(1.0, self.tick)
        self.moving = False
        self._go(self._first)
        # Closing the terminal, or `kill`: what was typed is kept and the terminal is given back, as after `q`.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.leave, 128 + number)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return NIGHT.variables

    async def on_event(self, event: events.Event) -> None:
        """Every key shows that somebody is at work."""
        if isinstance(event, events.Key | events.Paste):
            self.stopwatch.touch()
        await super().on_event(event)

    def _place(self, place: Place) -> None:
        """Show what belongs to `place` and the keys that work there."""
        self.place = place
        pair = place == "pair"
        for part, here in (
            *((self.empty, place == "empty"), (self.left, place != "empty"), (self.side, place != "empty")),
            *((self.answers, place == "answer" or pair), (self.other, pair), (self.writing, place == "edit")),
        ):
            part.set_class(not here, "hidden")
        self.answers.set_class(pair, "pair")
        self.answer.border_title = "A" if pair else "Served answer"
        self.key_line.show(shown_keys(place))

    async def _show(self, opened: review.Opened) -> None:
        """Put an item on the screen and start its time."""
        waits = self.unkept.get(opened.item.id)
        self.opened, self.accepted = opened if waits is None else dataclasses.replace(opened, draft_text=waits), None
        if opened.item.id not in self.trail:
            self.trail.append(opened.item.id)
        self.at = self.trail.index(opened.item.id)
        self._place("pair" if opened.item.kind == "pair" else "answer")
        await self.talk.show(panels.talk(opened.messages))
        self._tell()
        self.talk.focus()
        self.stopwatch.restart(self.spent.get(opened.item.id, opened.item.seconds or 0.0))
        if self.stopwatch.seconds() >= panels.LINE:
            self.late = opened.item.id
        self.renewed = self.ws.clock.real()
        self.tick()

    def _tell(self) -> None:
        """What the answer's panels and the side say about the opened item."""
        opened = self.opened
        if opened is None:
            return
        if opened.other is not None:
            self.answer.show(marked(opened.answer, opened.other))
            self.other.show(marked(opened.other, opened.answer))
        else:
            own = panels.own_text(opened)
            self.answer.border_title = f"Served answer · {own}" if own else "Served answer"
            self.answer.show(panels.answer(opened))
        self.side.show(panels.side(opened, self._options(), panels.said_before(opened)))
        self.why.update(panels.line(opened, room=2 * self.size.width - 12))

    def tick(self) -> None:
        """Once a second: the line at the top, the hint at three minutes, the lock."""
        title = Content.assemble(
            ("tunekeeper review", "bold $accent"), f"  {visible(self.model)}", ("  by ", "$quiet"), visible(self.by)
        )
        self.headline.update(title)
        opened, wide = self.opened, self.size.width >= 110
        self.pace_line.update(panels.pace(opened, self.stopwatch, wide=wide) if opened else Content(""))
        if opened is None or self.stopwatch.rests():
            return
        if self.stopwatch.seconds() >= panels.LINE and self.late != opened.item.id:
            self.late = opened.item.id
            self.say("three minutes: f flags it for a second look, s leaves it to the others", warn=True)
        if self.ws.clock.real() - self.renewed >= RENEW:
            self.renewed = self.ws.clock.real()
            self.run_worker(self._renew(opened.item.id))

    async def _renew(self, item: str) -> None:
        """Keep the lock of an item that is being worked on."""
        try:
            await self._do(review.keep, item, by=self.by)
        except TROUBLE as error:
            self.say(str(error), warn=True)

    def say(self, line: str, *, warn: bool = False) -> None:
        """One line about what just happened."""
        self.status.set_class(warn, "warn")
        self.status.update(Content(visible(" ".join(line.split()))))

    # ---- steps: one at a time ----

    def _go(self, step: Callable[[], Awaitable[None]]) -> None:
        """Begin `step` unless one is under way."""
        if not self.moving:
            self.moving = True
            self.run_worker(self._step(step))

    async def _step(self, step: Callable[[], Awaitable[None]]) -> None:
        """Whatever goes wrong costs one line on the screen, and nothing that was typed."""
        try:
            try:
                await step()
            except NotFound as gone:
                await self._open_next()
                self.say(f"{gone.message}: here is the next", warn=True)
        except TROUBLE as error:
            self.say(str(error), warn=True)
        finally:
            self.moving = False
        if self.leaving is not None:
            self.leave(self.leaving)

    def leave(self, code: int = OK) -> None:
        """End the screen with exit code `code` after the step that is under way: what was typed is kept, the item is free for
        the others."""
        self.leaving = code
        if self.moving:
            return self.say("ends as soon as this step is done")

        async def step() -> None:
            self.leaving = None
            await self._let_go()
            if self.unkept and self.warned != "quit" and code in (OK, INTERRUPTED):
                self.warned = "quit"
                return self.say("an edit could not be kept in the ledger: the same key again quits without it", warn=True)
            if code == 128 + signal.SIGHUP:  # no terminal is left that could be given back, and writing to it would never end
                asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
                os.kill(os.getpid(), signal.SIGHUP)
            return self.exit(return_code=code)

        return self._go(step)

    async def _do(self, verb: Callable[..., T], *args: Any, **named: Any) -> T:
        """What `verb` gives, done in the one thread that does verbs. The screen says so where that takes long."""
        done = asyncio.get_running_loop().run_in_executor(self.hands, partial(verb, self.ws, *args, **named))
        quick, _ = await asyncio.wait([done], timeout=PATIENCE)
        if not quick:
            self.say("one moment: the log is being read, or another program is writing; nothing is lost", warn=True)
            await asyncio.wait([done])
            self.say("")
        return done.result()

    async def _first(self) -> None:
        """The first item, and the labels that were used so far."""
        items = await self._do(review.find, self.model)
        used = Counter(remark["text"] for item in items for remark in item.remarks if remark["kind"] == "label")
        self.labels = [name for name, _ in used.most_common()]
        await self._open_next()

    async def _open_next(self) -> None:
        """The next item of the queue that was not passed over; the screen says so when there is none."""
        wanted = self._wanted()
        found = await self._do(review.open_next, self.model, **wanted, but=tuple(self.passed))
        if found is None and self.passed:
            self.passed.clear()
            self.say("that was the last one: here are those you passed over")
            found = await self._do(review.open_next, self.model, **wanted)
        await (self._show(found) if found is not None else self._nothing())

    def _wanted(self) -> dict[str, Any]:
        """Whose items are meant, and which."""
        return {"by": self.by, "kinds": self.kinds, "gold_share": self.config.sections["data"].gold_share}

    async def _open(self, item: str) -> None:
        """An item that was on the screen before. The one that is there now is freed only when that one could be had."""
        await self._keep_text()
        opened = await self._do(review.open_item, item, **self._wanted())
        if self.opened is not None and self.opened.item.id == item:
            self.spent[item] = self.stopwatch.seconds()
        else:
            await self._let_go()
        await self._show(opened)
        said = panels.said_before(opened)
        self.say(f"you said: {said} · a new judgment takes its place" if said else "")

    async def _nothing(self) -> None:
        self.opened, self.at = None, len(self.trail)
        self._place("empty")
        self.tick()
        self.empty.update(panels.nothing(self.model, len(self.judged), self.kinds))

    async def _let_go(self) -> None:
        """Keep what was typed and free the item for the others."""
        await self._keep_text()
        if self.opened is not None:
            self.spent[self.opened.item.id] = self.stopwatch.seconds()
            with contextlib.suppress(*TROUBLE):  # what is gone, or another's by now, needs no freeing
                await self._do(review.release, self.opened.item.id, by=self.by)

    # ---- what is being typed ----

    def on_writing_typed(self) -> None:
        """Keep what is being typed; later, where a step is under way."""
        if self.moving:
            self.writing.keep_soon()
        else:
            self.run_worker(self._keep_text())

    async def _keep_text(self) -> None:
        """Put the text of the field into the ledger, so that it is there whatever happens; in `unkept` while that cannot be."""
        writing, opened = self.writing, self.opened
        if self.place != "edit" or opened is None or not writing.unkept:
            return None
        answer = writing.text
        self.unkept[opened.item.id] = answer
        self.opened = dataclasses.replace(opened, draft_text=answer)
        try:
            await self._do(review.save_text, opened.item.id, answer, by=self.by)
        except TROUBLE as error:
            return self.say(f"the text is kept on the screen only: {error}", warn=True)
        self.unkept.pop(opened.item.id, None)
        return writing.kept(answer)

    def _options(self) -> list[str]:
        """Labels to choose from: those used in this queue, then the values of the first field whose values the format lists."""
        fields = self.config.task.format.get("fields", {}).values()
        listed = next((values for values in fields if values), ())
        return list(dict.fromkeys([*self.labels, *map(str, listed)]))[:9]
