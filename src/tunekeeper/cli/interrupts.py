"""Ctrl-C: one line and exit code 130 at any moment, also while modules are imported and while Python ends.

Imports next to nothing, not even `signal` and `typing`: until `at_once` has run, Ctrl-C ends in a traceback of Python's own.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found,unused-ignore]
import os
import sys

CODE = 130


def at_once() -> None:
    """From here on Ctrl-C ends the process where it is: nothing is under way that would have to be put in order. Leaves alone
    what the parent set, e.g. `nohup`."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _end)


def as_exception() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again, as commands expect it; only where `at_once` was called."""
    if _signal.getsignal(_signal.SIGINT) is not _end:
        return
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    sys.unraisablehook = _unraisable


def sigterm_too() -> None:
    """From here on SIGTERM is what Ctrl-C is: what the command started ends with it, and what it began is put away."""
    _signal.signal(_signal.SIGTERM, _as_ctrl_c)


def _as_ctrl_c(number: int, frame: object) -> None:
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_IGN:  # in the background of a script, where Ctrl-C means another
        raise KeyboardInterrupt
    _signal.raise_signal(_signal.SIGINT)


def _end(number: int, frame: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(CODE)


def _unraisable(failed: sys.UnraisableHookArgs) -> None:
    """A KeyboardInterrupt that came up where nothing can be raised (imports clear their locks in such places) is not lost."""
    if failed.exc_type is KeyboardInterrupt:
        _end(_signal.SIGINT, None)
    sys.__unraisablehook__(failed)
