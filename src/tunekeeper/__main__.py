"""`python -m tunekeeper` and the `tunekeeper` script."""

from __future__ import annotations

import os
import sys

from tunekeeper.cli import interrupts


def run() -> None:
    """Run the command line and exit with its code."""
    interrupts.at_once()
    _fill_closed()
    from tunekeeper.cli.app import main  # a fifth of a second

    code = main()
    interrupts.at_once()
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
