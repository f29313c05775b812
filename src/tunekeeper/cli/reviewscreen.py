"""`tunekeeper data review`: the queue on a full screen, by keyboard alone. It shows and asks; `data.review` decides and keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from tunekeeper.cli import reviewpanels as panels
from tunekeeper.cli.reviewframe import ReviewFrame
from tunekeeper.cli.reviewkeys import KEYS
from tunekeeper.cli.reviewwidgets import DAY, NIGHT, Ask, Sheet, Whole
from tunekeeper.config.project import ModelConfig
from tunekeeper.core.errors import INTERRUPTED
from tunekeeper.data import review
from tunekeeper.workspace import Workspace

LABEL = 100
"""Characters of a label."""


def run(ws: Workspace, config: ModelConfig, *, by: str, kinds: Sequence[str] = ()) -> int:
    """Show the queue of one model to the reviewer `by` until they quit. `kinds`: only items of these. Returns the exit code."""
    screen = ReviewScreen(ws, config, by=by, kinds=kinds)
    try:
        screen.run()
    finally:
        screen.hands.shutdown()
    return screen.return_code or 0


class ReviewScreen(ReviewFrame):
    """What the keys do."""

    async def _judged(self, done: str) -> None:
        """After a judgment: say so, remember it for `u`, go on."""
        if self.opened is not None:
            self.judged.append(self.opened.item.id)
            self.unkept.pop(self.opened.item.id, None)
            self.spent.pop(self.opened.item.id, None)
        self.say(f"{done} in {panels.clock(self.stopwatch.seconds())} · u goes back to it")
        await self._open_next()

    async def _judge(self, verdict: review.Verdict, done: str) -> None:
        opened = self.opened
        if opened is None or not self._sure(opened):
            return
        await self._do(review.judge, opened.item.id, verdict, by=self.by, seconds=self.stopwatch.seconds())
        await self._judged(done)

    def _sure(self, opened: review.Opened) -> bool:
        """Whether an edit that waits may be dropped: when the reviewer was told of it and presses the key again."""
        if opened.draft_text in (None, opened.answer) or opened.item.verdict is not None or self.warned == opened.item.id:
            return True
        self.warned = opened.item.id
        self.say("an edit of yours waits here: e goes on with it · the same key again drops it", warn=True)
        return False

    async def _prefer(self, choice: review.Choice, done: str) -> None:
        if self.opened is not None:
            await self._do(review.prefer, self.opened.item.id, choice, by=self.by, seconds=self.stopwatch.seconds())
            await self._judged(done)

    # ---- what the keys do ----

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A key works where the table of keys says so."""
        places = [key.places for key in KEYS if key.action == action]
        return not places or any(self.place in each for each in places)

    def action_approve(self) -> None:
        self._go(lambda: self._judge("good", "approved"))

    def action_reject(self) -> None:
        self._go(lambda: self._judge("bad", "rejected"))

    def action_exclude(self) -> None:
        self._go(lambda: self._judge("excluded", "excluded"))

    def action_first(self) -> None:
        self._go(lambda: self._prefer("a", "A it is"))

    def action_second(self) -> None:
        self._go(lambda: self._prefer("b", "B it is"))

    def action_tie(self) -> None:
        self._go(lambda: self._prefer("tie", "a tie"))

    def action_skip(self) -> None:
        async def step() -> None:
            if self.opened is not None and self._sure(self.opened):
                await self._do(review.skip, self.opened.item.id, by=self.by)
                self.say("skipped: it stays for the others, and comes back to you later")
                await self._open_next()

        self._go(step)

    def action_next(self) -> None:
        async def step() -> None:
            if self.at < len(self.trail) - 1:
                return await self._open(self.trail[self.at + 1])
            if self.opened is not None:
                await self._let_go()
                self.passed.add(self.opened.item.id)
                self.say("passed over: it stays open")
            return await self._open_next()

        self._go(step)

    def action_previous(self) -> None:
        if self.at > 0:
            self._go(lambda: self._open(self.trail[self.at - 1]))
        else:
            self.say("this is the first one you opened")

    def action_again(self) -> None:
        async def step() -> None:
            item = self.judged[-1] if self.judged else await self._do(review.last_judged, self.model, by=self.by)
            if item is None:
                return self.say("you have judged none yet")
            return await self._open(item)

        self._go(step)

    def action_edit(self) -> None:
        if self.opened is not None and not self.moving:
            begun = self.unkept.get(self.opened.item.id, self.opened.draft_text)
            self._place("edit")
            self.say("")
            self.writing.begin(self.opened.answer, self.opened.answer if begun is None else begun)
            if self.opened.item.id in self.unkept:
                self.writing.kept(None)
                self.writing.keep_soon()

    def action_leave(self) -> None:
        writing = self.writing
        if writing.complaints:
            self.say("back to the text")
            return writing.show_change()

        async def step() -> None:
            await self._keep_text()
            self._place("answer")
            self._tell()
            self.talk.focus()

        return self._go(step)

    def action_save(self) -> None:
        self._go(self._save)

    async def _save(self) -> None:
        """Judge the item by the text in the field, unless something speaks against it that the reviewer has not seen yet."""
        if self.opened is None:
            return None
        writing, task = self.writing, self.config.task
        answer = writing.text
        if answer == self.opened.answer:
            return self.say("you changed nothing: Esc, then a approves it as it is", warn=True)
        found = await self._do(review.complaints, task, answer, section=self.config.sections["data"])
        hard = not answer.strip() or bool(review.breach(task, answer))
        if hard or (found and self.accepted != answer):
            self.accepted = answer
            writing.complain(found, hard=hard)
            way = (
                f"{task.name} takes no such answer: mend it, or Esc twice leaves it"
                if hard
                else "^S again saves it anyway · Esc goes back"
            )
            return self.say(way, warn=True)
        await self._do(review.judge, self.opened.item.id, "edited", answer=answer, by=self.by, seconds=self.stopwatch.seconds())
        return await self._judged("edited")

    def action_flag(self) -> None:
        self._ask(review.flag, "flagged", Ask("Flag it: why?", hint="a reason for whoever looks next"))

    def action_note(self) -> None:
        self._ask(review.note, "noted", Ask("Note", hint="what should be known about it"))

    def action_label(self) -> None:
        self._ask(review.label, "labelled", Ask("Label", self._options(), hint="a label, or its number", most=LABEL))

    def action_option(self, number: int) -> None:
        options = self._options()
        if number > len(options):
            return self.say(f"there is no label {number}: l makes one")
        name = options[number - 1]
        taken = self.opened is not None and name in panels.labels(self.opened)
        return self._go(
            lambda: self._remark(review.unlabel if taken else review.label, name, "taken off" if taken else "labelled")
        )

    def _ask(self, verb: Callable[..., Any], done: str, dialog: Ask) -> None:
        """The dialog, then `verb` with its line; not while an item is about to give way to the next."""
        if self.moving or self.opened is None:
            return

        def said(line: str | None) -> None:
            if line is not None:
                self._go(lambda: self._remark(verb, line, done))

        self.push_screen(dialog, said)

    async def _remark(self, verb: Callable[..., Any], line: str, done: str) -> None:
        if self.opened is None:
            return
        item = await self._do(verb, self.opened.item.id, line, by=self.by)
        mine = tuple(remark for remark in item.remarks if remark["by"] == self.by)
        self.opened = dataclasses.replace(self.opened, item=dataclasses.replace(self.opened.item, remarks=mine))
        self.labels = [*self.labels, *(name for name in panels.labels(self.opened) if name not in self.labels)]
        self._tell()
        self.say(f"{done}: {line}")

    def action_whole(self) -> None:
        if self.opened is not None:
            self.push_screen(Whole(panels.everything(self.opened)))

    def action_sheet(self) -> None:
        self.push_screen(Sheet())

    def action_shade(self) -> None:
        self.theme = DAY.name if self.theme == NIGHT.name else NIGHT.name

    def action_switch(self) -> None:
        self.screen.focus_next()

    def action_help_quit(self) -> None:
        """Ctrl+C, where no selected text is to be copied."""
        self.leave(INTERRUPTED)

    async def action_quit(self) -> None:
        self.leave()

    def action_end(self) -> None:
        """Also from within a field."""
        self.leave()
