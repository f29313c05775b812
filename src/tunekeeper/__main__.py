"""`python -m tunekeeper` and the `tunekeeper` script."""

from __future__ import annotations

import gc
import os
import sys

from tunekeeper.cli import interrupts


def run() -> None:
    """Run the command line and exit with its code."""
    interrupts.at_once()
    gc.disable()  # until the command begins: of what is imported nothing is garbage, and looking takes a tenth of that time
    _fill_closed()
    from tunekeeper.cli.app import main  # a fifth of a second

    code = main()
    interrupts.at_once()
    _leave(code)


def _leave(code: int) -> None:
    """Exit as Python does, less that everything in memory is taken apart first: of a command that held a million rows that is a
    tenth of its time. Where a thread is still at work, or nobody takes what was printed, Python does it all."""
    import atexit

    if "threading" not in sys.modules or sys.modules["threading"].active_count() == 1:
        try:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            sys.exit(code)
        os._exit(code)
    sys.exit(code)


def _fill_closed() -> None:
    """Where this was begun with standard output or error closed, they lead nowhere: else a database would get their numbers, and
    what is printed to an error output that is not there comes out at the other."""
    number = os.open(os.devnull, os.O_RDWR)
    while number < 3:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process


if __name__ == "__main__":
    run()
