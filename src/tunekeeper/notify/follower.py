"""The follower: a low-priority child that pushes every finished inference to the sinks of `log.sinks`, each once at least.

`python -m tunekeeper.notify.follower --root ROOT --base DIR --sinks JSON [--interval 1.0]`; ends on SIGTERM, or when its
supervisor has been gone for ten minutes. It only reads the log: a sink that is away is waited for, and nobody else waits.
`run/sinks/NAME.json` holds how far each sink is; what arrived just before the follower was killed comes again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec

from tunekeeper.core.clock import Clock, SystemClock
from tunekeeper.core.errors import OK, Busy, TunekeeperError
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.notify.notifier import NotSent
from tunekeeper.notify.posting import Away
from tunekeeper.notify.records import record_of
from tunekeeper.notify.sinkconfig import SinkConfig
from tunekeeper.notify.sinks import Sink, make_sink
from tunekeeper.store.flocks import UNSUPERVISED_SECONDS, Supervision
from tunekeeper.store.log import Log, segments

SLACK = 5.0
"""Real seconds after which a request that was accepted stands in the spool, opened or ended: nothing newer is looked at. A
gateway notes it in the same turn of its loop; under `power` it may have to wait for a sync."""
PAGE, PAGE_BODIES = 500, 50
"""Records that are read at once, without and with bodies."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Real seconds that a sink which is away is left alone; each pause is twice as long as the one before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """How far a sink is, and how it goes."""

    front: datetime
    """Every finished request accepted before this moment (UTC, workspace time) was pushed."""
    late: tuple[str, ...] = ()
    """Ids of requests accepted before it that had not ended by then: they are pushed when they do."""
    pushed: int = 0
    """Records pushed so far."""
    error: str | None = None
    """Why it does not take them; None when it does."""
    since: datetime | None = None
    """From when on it does not."""


class Follower:
    """One sink and the place that it has reached in the log."""

    def __init__(self, name: str, sink: Sink, log: Log, *, bodies: bool = False, slack: float = SLACK) -> None:
        """`name`: of its place. `bodies`: whether they go along. `slack`: see SLACK."""
        self.name = name
        self._sink = sink
        self._log = log
        self._bodies = bodies
        self._slack = slack
        self._looks: deque[tuple[float, datetime]] = deque()
        self._settled: datetime | None = None
        self._path = place_path(log.root, name)
        self.place = load_place(log.root, name)
        self.pauses = 0

    def once(self) -> int:
        """One pass: push the next page of what has finished; returns how many records went. Begins at the moment of its first
        pass. Raises NotSent with the place unchanged, apart from what it says."""
        clock = self._log.clock
        place = self.place or self._keep(Place(front=clock.utc()))
        if place.front > clock.utc():  # the clock was set back: what is accepted now lies before the place
            place = self._keep(replace(place, front=clock.utc()))
            self._looks.clear()
            self._settled = None
        until = self._horizon(clock, place)
        if until is None:
            return 0
        unended = self._log.unended()  # before the records: what is in neither does not exist
        if unended is None:
            return 0
        fresh, until = self._fresh(place.front, until)
        found = [*self._late(place), *fresh]
        if found:
            self._push(place, found)
        missing = tuple(sorted(unended - {each.request_id for each in found}))
        now = replace(place, front=until, late=missing, pushed=place.pushed + len(found), error=None, since=None)
        if found or missing != place.late or place.error is not None:
            self._keep(now)
        self.place, self.pauses = now, 0
        return len(found)

    def _horizon(self, clock: Clock, place: Place) -> datetime | None:
        """What the clock showed `slack` real seconds ago; None when nothing new lies before it."""
        real, now = clock.real(), clock.utc()
        self._looks.append((real, now))
        while self._looks and real - self._looks[0][0] >= self._slack:
            self._settled = self._looks.popleft()[1]
        return self._settled if self._settled is not None and self._settled > place.front else None

    def _late(self, place: Place) -> list[Inference]:
        if not place.late:
            return []
        found: list[Inference] = self._log.find(request_ids=place.late, until=place.front, purpose=None, bodies=self._bodies)
        return found

    def _fresh(self, since: datetime, until: datetime) -> tuple[list[Inference], datetime]:
        """A page of records accepted in `[since, until)`, and up to where it goes: a moment is never cut in two."""
        limit = PAGE_BODIES if self._bodies else PAGE
        while True:
            found = self._log.find(since=since, until=until, purpose=None, bodies=self._bodies, limit=limit)
            if len(found) < limit:
                return found, until
            last = found[-1].timestamp
            whole = [each for each in found if each.timestamp < last]
            if whole:
                return whole, last
            limit *= 2

    def _push(self, place: Place, found: Sequence[Inference]) -> None:
        try:
            self._sink.send([record_of(each, bodies=self._bodies) for each in found])
        except NotSent as error:
            if error.message != place.error:
                self._keep(replace(place, error=error.message, since=place.since or self._log.clock.utc()))
            raise

    def pause(self, error: NotSent) -> float:
        """Real seconds to leave the sink alone after this failure, at most `LONGEST_PAUSE`."""
        self.pauses += 1
        asked = error.retry_after if isinstance(error, Away) and error.retry_after is not None else 0.0
        return min(max(FIRST_PAUSE * 2.0 ** min(self.pauses - 1, 10), asked), LONGEST_PAUSE)

    def _keep(self, place: Place) -> Place:
        self.place = place
        self._path.parent.mkdir(parents=True, exist_ok=True)
        hidden = self._path.with_suffix(".new")
        hidden.write_bytes(msgspec.json.encode(place))
        hidden.replace(self._path)
        return place

    def save(self) -> None:
        """Note the place as it is."""
        if self.place is not None:
            self._keep(self.place)


def place_path(root: Path, name: str) -> Path:
    """Where the place of the sink `name` is noted."""
    return root / "run" / "sinks" / f"{name}.json"


def load_place(root: Path, name: str) -> Place | None:
    """How far the sink `name` is; None when that was never noted, or cannot be read."""
    try:
        found: Place = msgspec.json.decode(place_path(root, name).read_bytes(), type=Place)
    except (OSError, msgspec.DecodeError):
        return None
    return found


def away(root: Path, names: Sequence[str]) -> dict[str, str]:
    """Sink → why it does not take records and since when, for those of `names` that do not."""
    places = {name: load_place(root, name) for name in names}
    return {
        name: f"{place.error}, since {place.since:%Y-%m-%d %H:%M}"
        for name, place in places.items()
        if place is not None and place.error is not None and place.since is not None
    }


def follow(follower: Follower, interval: float, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Pass after pass until `stop` is set, `interval` real seconds apart while nothing waits. A sink that is away is told of
    once, and once more when it is back. BrokenPipeError ends it: nobody reads the standard output any more."""
    told: str | None = None
    while not stop.is_set():
        try:
            went = follower.once()
        except NotSent as error:
            if told is None:
                say(f"sink {follower.name} takes no records, goes on from where it was when it does: {error.message}")
            told = error.message
            stop.wait(follower.pause(error))
            continue
        except (OSError, ValueError, TunekeeperError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            say(f"sink {follower.name}: {error}")
            stop.wait(LONGEST_PAUSE / 2)
            continue
        if told is not None and went:
            say(f"sink {follower.name} takes records again")
            told = None
        if not went:
            stop.wait(interval)
    follower.save()


def _thread(follower: Follower, interval: float, stop: threading.Event, failed: list[str]) -> threading.Thread:
    def run() -> None:
        try:
            follow(follower, interval, stop, _say)
        except BrokenPipeError:
            failed.append("nobody reads the standard output any more")
            stop.set()
        except Exception as error:  # noqa: BLE001  # a fault of ours ends the process, which is started again, not one sink in silence
            failed.append(f"sink {follower.name}: {type(error).__name__}: {error}")
            stop.set()

    return threading.Thread(target=run, name=f"sink-{follower.name}", daemon=True)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"follower: {text}\n".encode())


def _take_lock(root: Path) -> int:
    path = root / "run" / "follower.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return segments.hold(path)
    except BlockingIOError as error:
        raise Busy(f"a follower already works on {root}", fix="stop it first") from error


def _clock(root: Path) -> Clock:
    if not (root / "clock").exists():
        return SystemClock()
    from tunekeeper.store.clockfile import CompressedClock

    return CompressedClock(root)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="tunekeeper.notify.follower", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the data directory")
    parser.add_argument("--base", type=Path, required=True, help="the folder that paths of sinks start from")
    parser.add_argument("--sinks", required=True, help="the entries of `log.sinks` as JSON")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between passes while nothing waits")
    parser.add_argument("--slack", type=float, default=SLACK, help="seconds after which an accepted request stands in the spool")
    parser.add_argument(
        "--unsupervised-seconds", type=float, default=UNSUPERVISED_SECONDS, help="seconds after its supervisor's end that it ends"
    )
    given = parser.parse_args(arguments)
    try:
        lock = _take_lock(given.root)
        log = Log(given.root, _clock(given.root))
        configs = msgspec.json.decode(given.sinks.encode(), type=list[SinkConfig])
        followers = [
            Follower(each.label, make_sink(each, given.base), log, bodies=each.bodies, slack=given.slack) for each in configs
        ]
    except TunekeeperError as error:
        _say(str(error))
        return error.exit_code
    try:
        os.nice(10)
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        signal.signal(signal.SIGINT, lambda *_: stop.set())
        return _run(followers, given.interval, stop, Supervision(given.root, log.clock.real, given.unsupervised_seconds))
    finally:
        os.close(lock)


def _run(followers: Sequence[Follower], interval: float, stop: threading.Event, supervision: Supervision) -> int:
    failed: list[str] = []
    threads = [_thread(follower, interval, stop, failed) for follower in followers]
    for thread in threads:
        thread.start()
    while not stop.wait(1.0):
        if supervision.lost():
            failed.append("no supervisor for too long, ends")
            stop.set()
    for thread in threads:
        thread.join(5.0)  # one that hangs in a request is left: its records come again
    for why in failed:
        _say(why)
    return 4 if failed else OK


if __name__ == "__main__":
    sys.exit(main())
