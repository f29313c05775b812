"""What keys with a budget have spent, added up from the log before the first gateway worker starts.

While workers run they count themselves (`gateway/counters.py`); after a start of the whole the log says what was spent, whatever
happened to the counters. A child does it, so that the supervisor stays without a database.

`python -m tunekeeper.processes.budgets --root ROOT`
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.counters import FILE, FOLDER, LOG, Counters
from tunekeeper.gateway.quotas import NANO, moment, starts
from tunekeeper.store import published

if TYPE_CHECKING:
    from tunekeeper.workspace import Workspace

SECONDS = 120.0
"""Longest that adding up may delay a start."""
PERIODS: tuple[Literal["day", "month"], ...] = ("day", "month")
PURPOSES = ("user", "exam", "replay", "probe", "drill")
"""What a key pays for: all but shadow copies, which its holder did not ask for."""


def restore(root: Path) -> str | None:
    """Make the counters say what the log says, unless a worker lives and counts, or no key has a budget.

    Returns None, or why it could not be done: then what the counters said before goes on. Raises nothing for a damaged log.
    """
    if published.barrier(root, 0, 0.0)[0] or not _budgeted(root):
        return None
    command = [sys.executable, "-m", "tunekeeper.processes.budgets", "--root", str(root)]
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"the log could not be added up in {SECONDS:.0f} s"
    if ended.returncode == 0:
        return None
    said = ended.stderr.strip().splitlines()
    return said[-1].removeprefix("error: ") if said else f"exit {ended.returncode}"


def _budgeted(root: Path) -> list[ApiKey]:
    reader = published.PublishedReader(root)
    try:
        return [key for key in reader.current().keys if key.budget_usd is not None]
    except published.RouteUnavailable:
        return []  # the workers refuse everything until there is a table
    finally:
        reader.close()


def rebuild(ws: Workspace, keys: Sequence[ApiKey]) -> int:
    """Write the counters anew: for each of `keys` what its answers cost in the budget period that runs now; returns how many
    of them have spent anything. Only while no gateway worker lives: one would go on counting in the file that is replaced."""
    now = moment(ws.clock.real(), ws.clock.utc())
    fresh = f"{FILE}.new"
    (ws.root / FOLDER / fresh).unlink(missing_ok=True)
    counters = Counters(ws.root, LOG, tuple, file=fresh)
    charged = 0
    try:
        for period in PERIODS:
            wanted = {key.id for key in keys if key.budget_period == period}
            if not wanted:
                continue
            rows = ws.log.window(None, starts(period, now.utc)[0], None, ("key_id",), PURPOSES)
            for row in rows:
                key_id = row.key["key_id"]
                if key_id in wanted and row.cost_usd:
                    counters.spend(key_id, now.period(period), now, round(row.cost_usd * NANO))
                    charged += 1
    finally:
        counters.close()
    os.replace(ws.root / FOLDER / fresh, ws.root / FOLDER / FILE)
    return charged


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild the counters of a data directory; returns the exit code. Errors are one line on stderr."""
    from tunekeeper.workspace import open_workspace

    parser = argparse.ArgumentParser(prog="tunekeeper.processes.budgets")
    parser.add_argument("--root", type=Path, required=True, help="data directory")
    root = parser.parse_args(arguments).root
    try:
        rebuild(open_workspace(root), _budgeted(root))
        return 0
    except (TunekeeperError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, TunekeeperError) else 1


if __name__ == "__main__":
    sys.exit(main())
