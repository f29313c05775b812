"""What comes from the terminal: every byte of it is taken, and what is pasted never acts as keys."""

from __future__ import annotations

import os
import selectors
import signal
from codecs import getincrementaldecoder
from collections.abc import Iterable

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

START, END = "\x1b[200~", "\x1b[201~"
"""What a terminal puts before and behind what is pasted."""
STAND_IN = "\ufdd0"
"""No character, and never one in a text: an escape character of what is pasted, on its way past the parser of keys."""


class Pasted:
    """Follows what is typed, and hides the escape characters of what is pasted: they would end it, and the rest of it be keys."""

    def __init__(self) -> None:
        self._inside = False
        self._begun = ""

    def hide(self, text: str) -> str:
        """The next piece of what comes, escape characters between START and END hidden. What may be the beginning of END waits
        for the next piece."""
        return "".join(self._within(c) if self._inside else self._outside(c) for c in text)

    def _outside(self, c: str) -> str:
        self._begun = (self._begun + c)[-len(START) :]
        if self._begun == START:
            self._inside, self._begun = True, ""
        return c

    def _within(self, c: str) -> str:
        if END.startswith(self._begun + c):
            self._begun += c
            if self._begun != END:
                return ""
            self._inside, self._begun = False, ""
            return END
        given, self._begun = self._begun + c, ""
        if c == END[0]:
            given, self._begun = given[:-1], c
        return given.replace(END[0], STAND_IN)


class Keyboard(LinuxDriver):
    """The terminal as the review screen reads it: a byte that is no UTF-8 is a sign like any other, and its end is a hang-up."""

    def run_input_thread(self) -> None:
        """Pass on what is typed and pasted until the screen ends."""
        parser, pasted, decode = XTermParser(), Pasted(), getincrementaldecoder("utf-8")("replace").decode
        with selectors.SelectSelector() as ready:
            ready.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if ready.select(0.1):
                    if not (piece := self._read()):
                        return os.kill(os.getpid(), signal.SIGHUP)
                    if text := pasted.hide(decode(piece)):  # nothing at all would tell the parser that no more comes
                        self._pass_on(parser.feed(text))
                self._pass_on(parser.tick())
        return None

    def _read(self) -> bytes:
        try:
            return os.read(self.fileno, 4096)
        except OSError:  # the terminal is gone
            return b""

    def _pass_on(self, found: Iterable[Message]) -> None:
        for event in found:
            if isinstance(event, events.Paste):
                event = events.Paste(event.text.replace(STAND_IN, END[0]))
            self.process_message(event)
