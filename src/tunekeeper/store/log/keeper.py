"""The keeper: a low-priority child that compacts sealed segments, merges, applies retention and answers body-id lookups.

`python -m tunekeeper.store.log.keeper --root ROOT [--once] [--interval 1.0] [--days 90] [--body-days 90] [--max-gb 50]`; ends on
SIGTERM, or when its supervisor has been gone for ten minutes. It needs no lease and no database; `run/keeper.lock` keeps it
alone.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tunekeeper.core.clock import Clock, SystemClock
from tunekeeper.core.errors import OK, Busy, TunekeeperError
from tunekeeper.store.flocks import UNSUPERVISED_SECONDS, Supervision
from tunekeeper.store.log import belief, cap, erase, keeping, partitions, segments
from tunekeeper.store.log.belief import Belief
from tunekeeper.store.log.bodyids import Index
from tunekeeper.store.log.columns import hour_of
from tunekeeper.store.log.compact import Compacted, compact
from tunekeeper.store.log.lookups import LookupServer
from tunekeeper.store.log.merge import merge, retain
from tunekeeper.store.log.tail import Tail
from tunekeeper.store.reserve import release

LOOKUP_DAYS = 30
_BACK_OFF = 30.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MEASURED = 10.0
"""Seconds between two looks at how much disk the log takes."""
_NOTED = 600.0
"""Seconds between two notes of the moment until which the clock was believed."""


class Keeper:
    """One keeper over `root`."""

    def __init__(
        self,
        root: Path,
        clock: Clock,
        *,
        days: float | None = None,
        body_days: float | None = None,
        max_bytes: int | None = None,
    ) -> None:
        """`days`: how long records are kept, None for ever; `body_days`: how long bodies are, None as long as records.
        `max_bytes`: disk that the log may take, None: as much as there is."""
        self.root = root
        self.clock = clock
        self.days = days
        self.body_days = body_days
        self.max_bytes = max_bytes
        self._measured = -_MEASURED
        self._noted = -_NOTED
        known = belief.noted(root) or clock.utc()
        self._belief = Belief(ahead=known.timestamp() - clock.steady())
        self.tail = Tail(root)
        self.index = Index(root)

    def once(self) -> Compacted:
        """One pass: finish what an erasure left, compact, merge, drop what is past its keeping. Raises OSError (a full disk);
        nothing is lost by it."""
        with segments.maintenance(self.root):
            erase.resume(self.root)
            done = compact(self.root)
            now = self.clock.utc()
            merge(self.root, now)
            if (self.days is not None or self.body_days is not None) and self._believed():
                retain(self.root, now, self.days, self.body_days)
            self._keep_within()
        return done

    def _believed(self) -> bool:
        """Whether records may be dropped for their age."""
        now, steady, before = self.clock.utc(), self.clock.steady(), self._belief
        self._belief = found = belief.look(before, now.timestamp(), steady)
        if found.doubted is None:
            if self.clock.real() - self._noted >= _NOTED:
                self._noted = self.clock.real()
                belief.note(self.root, now)
            return True
        if found != before:
            known = datetime.fromtimestamp(found.ahead + steady, UTC)
            text = f"the clock jumped ahead from {known:%Y-%m-%d %H:%M} to {now:%Y-%m-%d %H:%M}: nothing is dropped"
            _say(f"{text} for its age for an hour; set the clock right if it is wrong")
        return False

    def _keep_within(self) -> None:
        now = self.clock.real()
        if self.max_bytes is None or now - self._measured < _MEASURED:
            return
        self._measured = now
        for gone in cap.keep_within(self.root, self.max_bytes):
            _say(f"the log is larger than max_gb allows: dropped {gone}")

    def find(self, body_id: str) -> set[str]:
        """Request ids whose answer carried `body_id` in the last 30 days, compacted or not."""
        recent = self.tail.find_body_id(body_id)  # first: what is compacted in between is found twice, never not
        oldest = hour_of(self.clock.utc() - timedelta(days=LOOKUP_DAYS))
        return recent | self.index.find(body_id, [hour for hour in reversed(self.index.hours()) if hour >= oldest])

    def model_of(self, request_id: str) -> str | None:
        """The model that a request was asked of, compacted or not; None where the log does not show it (yet)."""
        hot = self.tail.read()  # first: what is compacted in between is found twice, never not
        row = hot.row(request_id) if request_id in hot else None
        return str(row["model_id"][0]) if row else partitions.model_of(self.root, request_id)


def run(keeper: Keeper, interval: float, stop: threading.Event, supervision: Supervision) -> None:
    """Pass after pass, `interval` seconds apart, until `stop` is set or the supervisor is lost; lookups are answered meanwhile.
    A pass that fails (a full disk, a damaged file) is reported on stderr and tried again later."""
    server = LookupServer(keeper.root, keeper.find, keeper.model_of)
    server.start()
    try:
        while not stop.is_set():
            if supervision.lost():
                _say("no supervisor for too long, ends")
                return
            stop.wait(interval if _tried(keeper) else max(interval, _BACK_OFF))
    finally:
        server.stop()


def _tried(keeper: Keeper) -> bool:
    try:
        _once(keeper)
    except (OSError, ValueError) as error:
        full = isinstance(error, OSError) and error.errno in _FULL
        where = keeper.root / "log"
        _say(f"no room left under {where}: nothing is lost and it is tried again; free disk space" if full else str(error))
        return False
    return True


def _say(text: str) -> None:
    """A line on stderr. That is a file on the disk that is kept in order: where it takes none, the keeper lives on."""
    with suppress(OSError):
        print(f"keeper: {text}", file=sys.stderr, flush=True)


def _once(keeper: Keeper) -> None:
    """One pass. On a full disk it is tried again on the reserve's room: a compacted segment takes far less than it did."""
    try:
        keeper.once()
    except OSError as error:
        if error.errno not in _FULL or not release(keeper.root):
            raise
        keeper.once()


def _take_lock(root: Path) -> int:
    path = root / "run" / "keeper.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return segments.hold(path)
    except BlockingIOError as error:
        raise Busy(f"a keeper already works on {root}", fix="stop it first") from error


def _clock(root: Path) -> Clock:
    if not (root / "clock").exists():
        return SystemClock()
    from tunekeeper.store.clockfile import CompressedClock

    return CompressedClock(root)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tunekeeper.store.log.keeper", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the data directory")
    parser.add_argument("--once", action="store_true", help="one pass, then end")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between passes")
    parser.add_argument("--days", type=float, default=None, help="days that records are kept; without it, for ever")
    parser.add_argument("--body-days", type=float, default=None, help="days that bodies are kept; without it, as long as records")
    parser.add_argument("--max-gb", type=float, default=None, help="GB (10^9 bytes) of disk that the log may take")
    parser.add_argument(
        "--unsupervised-seconds", type=float, default=UNSUPERVISED_SECONDS, help="seconds after its supervisor's end that it ends"
    )
    given = parser.parse_args(arguments)
    try:
        lock = _take_lock(given.root)
    except TunekeeperError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    try:
        most = None if given.max_gb is None else int(given.max_gb * 1e9)
        keeper = Keeper(given.root, _clock(given.root), days=given.days, body_days=given.body_days, max_bytes=most)
        keeping.note(given.root, keeping.Keeping(days=given.days, body_days=given.body_days))
        if given.once:
            return OK if _tried(keeper) else 4
        os.nice(10)
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        run(keeper, given.interval, stop, Supervision(given.root, keeper.clock.real, given.unsupervised_seconds))
    finally:
        os.close(lock)
    return OK


if __name__ == "__main__":
    raise SystemExit(main())
