"""A pseudo-terminal for tests: the command in it as a person starts it, what they type, and everything that was written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading


class Terminal:
    """The command in a pseudo-terminal of its own."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.out, self._read_so_far, self._plain, self.closed = b"", 0, "", False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tunekeeper", *words],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # its own terminal: closing it hangs up
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(self.master, 65536):
                self.out += piece

    def shows(self, text: str) -> bool:
        """Whether the text was ever written, whatever colours stand between its words."""
        if len(self.out) > self._read_so_far:
            self._read_so_far = len(self.out)
            self._plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|[ ]+", b"", self.out).decode(errors="replace")
        return text.replace(" ", "") in self._plain

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def hang_up(self) -> None:
        """Close the terminal, as somebody does with its window."""
        os.close(self.slave)
        os.close(self.master)
        self.closed = True

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if not self.closed:
            os.close(self.slave)
            self.reader.join(60)
            os.close(self.master)
