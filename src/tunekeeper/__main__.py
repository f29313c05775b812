"""`python -m tunekeeper` and the `tunekeeper` script."""

from __future__ import annotations

import sys

from tunekeeper.cli import interrupts


def run() -> None:
    """Run the command line and exit with its code."""
    interrupts.at_once()
    from tunekeeper.cli.app import main  # a fifth of a second

    code = main()
    interrupts.at_once()
    sys.exit(code)


if __name__ == "__main__":
    run()
