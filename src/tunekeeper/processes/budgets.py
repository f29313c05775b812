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
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.cells import FILE, FOLDER, LOG
from tunekeeper.gateway.counters import Counters
from tunekeeper.gateway.quotas import NANO, moment, starts
from tunekeeper.store import published

if TYPE_CHECKING:
    from tunekeeper.workspace import Workspace

SECONDS = 120.0
"""Longest that adding up may delay a start."""
PERIODS: tuple[Literal["day", "month"], ...] = ("day", "month")
PURPOSES = ("user", "exam", "replay", "probe", "drill")
"""What a key pays for: all but shadow copies, which its holder did not ask for."""
REPLACED = ("counters", "counters-2")
"""Files of earlier releases, which counted otherwise."""


def begin(root: Path) -> subprocess.Popen[str] | None:
    """Begin to make the counters say what the log says: a child does it, while other things are started. None where a worker
    lives and counts, and where no key has a budget. Counters of earlier releases go, now that nobody holds them. Only for who
    holds the supervisor's lock: no worker may start meanwhile."""
    if published.barrier(root, 0, 0.0)[0]:
        return None
    for name in REPLACED:
        (root / FOLDER / name).unlink(missing_ok=True)
    if not _budgeted(root):
        return None
    command = [sys.executable, "-m", "tunekeeper.processes.budgets", "--root", str(root)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def restore(root: Path, begun: subprocess.Popen[str] | None = None) -> str | None:
    """Return when the counters say what the log says. `begun`: what `begin` gave before; where that came too early, or there was
    none, it is done now.

    Returns None, or why it could not be done: then what the counters said before goes on. Raises nothing for a damaged log.
    """
    if begun is not None and _failure(begun) is None:
        return None
    again = begin(root)
    return None if again is None else _failure(again)


def drop(begun: subprocess.Popen[str] | None) -> None:
    """End what `begin` gave, if it still runs: nobody waits for it any more."""
    if begun is not None:
        begun.kill()
        begun.communicate()


def _failure(child: subprocess.Popen[str]) -> str | None:
    """Wait for a child of `begin`; returns what went wrong."""
    try:
        told = child.communicate(timeout=SECONDS)[1].strip().splitlines()
    except subprocess.TimeoutExpired:
        drop(child)
        return f"the log could not be added up in {SECONDS:.0f} s"
    if child.returncode == 0:
        return None
    return told[-1].removeprefix("error: ") if told else f"exit {child.returncode}"


def _budgeted(root: Path) -> list[ApiKey]:
    reader = published.PublishedReader(root)
    try:
        return [key for key in reader.current().keys if key.budget_usd is not None]
    except published.RouteUnavailable:
        return []  # the workers refuse everything until there is a table
    finally:
        reader.close()


def rebuild(ws: Workspace, keys: Sequence[ApiKey]) -> int:
    """Write the counters anew: for each of `keys` what its answers cost in its budget period; returns how many of them have spent
    anything. Only while no gateway worker lives: one would go on counting in the file that is replaced."""
    now = moment(ws.clock.real(), ws.clock.utc())
    fresh = f"{FILE}.new"
    (ws.root / FOLDER / fresh).unlink(missing_ok=True)
    counters = Counters(ws.root, LOG, tuple, file=fresh)
    charged = set()
    try:
        for kind, (since, until) in _periods(ws.root, now.utc):
            wanted = {key.id for key in keys if key.budget_period == kind}
            number = moment(0.0, since).period(kind)
            for row in ws.log.window(None, since, until, ("key_id",), PURPOSES) if wanted else ():
                key_id = row.key["key_id"]
                if key_id in wanted and row.cost_usd:
                    counters.spend(key_id, number, now, round(row.cost_usd * NANO))
                    charged.add(key_id)
    finally:
        counters.close()
    os.replace(ws.root / FOLDER / fresh, ws.root / FOLDER / FILE)
    return len(charged)


def _periods(root: Path, utc: datetime) -> Iterator[tuple[Literal["day", "month"], tuple[datetime, datetime]]]:
    """The budget periods around `utc`, and those around the log's last hour: a machine whose clock is wrong when it starts, and
    set right a moment later, then knows these too."""
    from tunekeeper.store.log.partitions import hours

    stamps = [utc, *(datetime.fromisoformat(f"{hour}:00+00:00") for hour in hours(root, "metrics")[-1:])]
    for kind in PERIODS:
        yield from ((kind, period) for period in sorted({starts(kind, stamp) for stamp in stamps}))


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
