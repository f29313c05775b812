"""`python -m tunekeeper` and the `tunekeeper` script."""

from __future__ import annotations

import sys

from tunekeeper.cli.app import main


def run() -> None:
    """Run the command line and exit with its code."""
    sys.exit(main())


if __name__ == "__main__":
    run()
