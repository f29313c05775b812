"""Runs a module's command line and kills its own process, with SIGKILL, at its n-th touch of files below a folder.

`dying.py FOLDER N MODULE ARGUMENT…`; touches are what Python audits: opening, renaming, removing, making folders, connecting to
SQLite. With N = 0 it lives, and says on stderr how many touches there were. The number of a touch is the same in every run over
the same files, which makes a kill "in the middle" repeatable.
"""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys

EVENTS = ("open", "os.rename", "os.mkdir", "os.truncate", "sqlite3.connect")
BARE = ("os.remove", "os.rmdir")
"""Named relative to an open folder: they count wherever they happen."""


def watch(folder: str, number: int) -> None:
    """Begin to count; die at touch `number`."""
    seen = [0]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in BARE or (event in EVENTS and arguments and folder in str(arguments[0])):
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    if not number:
        atexit.register(lambda: print(f"touches: {seen[0]}", file=sys.stderr, flush=True))


if __name__ == "__main__":
    _, where, n, module, *rest = sys.argv
    sys.argv = [module, *rest]
    watch(where, int(n))
    runpy.run_module(module, run_name="__main__")
