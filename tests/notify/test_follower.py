"""From lines in the spool to what a sink was given: each finished request, whatever happens in between."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tunekeeper.core.clock import ManualClock, SystemClock
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.ids import request_id
from tunekeeper.notify import follower as followers
from tunekeeper.notify.follower import Follower, away, follow, load_place, place_path
from tunekeeper.notify.posting import Away
from tunekeeper.notify.records import Record
from tunekeeper.notify.sinkconfig import SinkConfig
from tunekeeper.notify.sinks import make_sink
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact

SLACK = 5.0


class Given:
    """A sink that keeps what it was given, or is away."""

    def __init__(self) -> None:
        self.away: Away | None = None
        self.sends: list[list[Record]] = []

    def send(self, records: Sequence[Record]) -> None:
        if self.away is not None:
            raise self.away
        self.sends.append(list(records))

    @property
    def ids(self) -> list[str]:
        return [record["request_id"] for records in self.sends for record in records]


class Bench:
    """A log, a follower of it and its sink."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.clock = ManualClock()
        self.spool = Spool(root, "gateway-0", self.clock)
        self.sink = Given()
        self.options = options
        self._numbers = itertools.count()
        self.again()

    def again(self) -> None:
        """A new follower, as after a restart; its first look is behind it."""
        self.follower = Follower("given", self.sink, Log(self.root, self.clock), slack=SLACK, **self.options)
        self.follower.once()

    def opened(self, **fields: Any) -> dict[str, Any]:
        n = next(self._numbers)
        made = request_id(self.clock.utc(), b"k" * 32, lambda size: n.to_bytes(size, "big"))
        record = {"request_id": made, "timestamp": self.clock.utc(), "model_id": "desk", **fields}
        self.spool.opened(record)
        self.spool.flush()
        return record

    def ended(self, record: dict[str, Any] | None = None, **fields: Any) -> str:
        record = {**(record or self.opened()), **fields}
        self.spool.ended(record)
        self.spool.flush()
        return str(record["request_id"])

    def pushed(self) -> list[str]:
        """Ids in the order they came, after time enough for all that is there."""
        for _ in range(3):
            self.clock.advance(SLACK)
            while self.follower.once():
                pass
        return self.sink.ids

    def compact(self) -> None:
        self.spool.seal()
        with segments.maintenance(self.root):
            compact(self.root)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "data")


def test_every_finished_request_is_pushed_once_hot_or_compacted(bench: Bench) -> None:
    first = bench.ended()
    bench.clock.advance(0.5)
    second = bench.ended(status="error", error="upstream_refused")
    assert bench.pushed() == [first, second]
    third = bench.ended()
    bench.compact()
    fourth = bench.ended()
    assert bench.pushed() == [first, second, third, fourth]
    assert bench.pushed() == [first, second, third, fourth]
    place = load_place(bench.root, "given")
    assert place is not None
    assert (place.pushed, place.error) == (4, None)


def test_what_is_accepted_before_a_sink_is_configured_is_not_pushed(tmp_path: Path) -> None:
    clock = ManualClock()
    spool = Spool(tmp_path, "gateway-0", clock)
    spool.ended({"request_id": "old", "timestamp": clock.utc() - timedelta(seconds=1), "model_id": "desk"})
    spool.close()
    sink = Given()
    follower = Follower("given", sink, Log(tmp_path, clock), slack=SLACK)
    for _ in range(4):
        follower.once()
        clock.advance(SLACK)
    assert sink.ids == []


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_long_request_is_pushed_when_it_ends_and_those_after_it_do_not_wait(
    bench: Bench, compacted: bool, restarted: bool
) -> None:
    long = bench.opened()
    bench.clock.advance(1.0)
    short = bench.ended()
    assert bench.pushed() == [short]
    if compacted:
        bench.compact()
    bench.clock.advance(500.0)
    later = bench.ended()
    assert bench.pushed() == [short, later]
    if restarted:
        bench.again()
    bench.ended(long)
    if compacted:
        bench.compact()
    assert bench.pushed() == [short, later, long["request_id"]]


def test_a_request_whose_gateway_died_is_pushed_as_interrupted(bench: Bench) -> None:
    lost = bench.opened()
    assert bench.pushed() == []
    bench.spool.close()
    assert bench.pushed() == [lost["request_id"]]
    assert bench.sink.sends[0][0]["status"] == "interrupted"


def test_a_sink_that_is_away_gets_everything_when_it_is_back_also_after_a_restart(bench: Bench) -> None:
    before = bench.ended()
    assert bench.pushed() == [before]
    bench.sink.away = Away("intake: 503 busy", retry_after=7.0)
    missed = [bench.ended() for _ in range(3)]
    with pytest.raises(Away):
        bench.pushed()
    assert [bench.follower.pause(bench.sink.away) for _ in range(8)] == [7.0, 7.0, 7.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    [told] = away(bench.root, ["given", "another"]).values()
    assert told.startswith("intake: 503 busy, since 2026-01-05")
    bench.again()
    bench.sink.away = None
    assert bench.pushed() == [before, *missed]
    assert away(bench.root, ["given"]) == {}


def test_a_backlog_goes_in_pages_and_no_moment_is_cut_in_two(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "PAGE", 4)
    asked = []
    for count in (3, 9, 1, 2):
        asked += [bench.ended() for _ in range(count)]
        bench.clock.advance(0.01)
    assert bench.pushed() == asked
    assert [len(records) for records in bench.sink.sends] == [3, 12]  # nine of one moment make the page longer


def test_a_clock_that_was_set_back_stops_nothing(bench: Bench) -> None:
    first = bench.ended()
    assert bench.pushed() == [first]
    bench.clock.start -= timedelta(hours=2)
    second = bench.ended()
    bench.follower.once()
    assert second in bench.pushed()


def test_bodies_go_along_only_where_they_are_asked_for(tmp_path: Path) -> None:
    for bodies in (False, True):
        bench = Bench(tmp_path / str(bodies), bodies=bodies)
        bench.ended(request=b'{"messages":[]}', response=b'{"choices":[]}')
        bench.pushed()
        [[record]] = bench.sink.sends
        assert ("request" in record, record.get("response")) == ((True, {"choices": []}) if bodies else (False, None))


def test_a_place_that_cannot_be_read_counts_as_none(bench: Bench) -> None:
    place_path(bench.root, "given").write_text("{")
    assert load_place(bench.root, "given") is None


def test_it_says_once_that_a_sink_is_away_and_once_that_it_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "FIRST_PAUSE", 0.001)
    clock, sink, stop = SystemClock(), Given(), threading.Event()
    spool = Spool(tmp_path, "gateway-0", clock)
    follower = Follower("given", sink, Log(tmp_path, clock), slack=0.0)
    follower.once()
    sink.away = Away("intake: 403 Forbidden")
    spool.ended({"request_id": "r1", "timestamp": clock.utc(), "model_id": "desk"})
    spool.flush()
    said: list[str] = []
    thread = threading.Thread(target=follow, args=(follower, 0.001, stop, said.append))
    thread.start()
    try:
        until(lambda: follower.pauses >= 3)
        sink.away = None
        until(lambda: len(said) >= 2)
    finally:
        stop.set()
        thread.join()
        spool.close()
    assert sink.ids == ["r1"]
    assert [line.partition(",")[0] for line in said] == ["sink given takes no records", "sink given takes records again"]
    assert said[0].endswith("intake: 403 Forbidden")


def test_only_one_follower_works_on_a_log_and_a_bad_address_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    handle = segments.hold(tmp_path / "run" / "follower.lock")
    assert handle > 0
    assert followers.main(["--root", str(tmp_path), "--base", str(tmp_path), "--sinks", "[]"]) == 4
    assert "a follower already works on" in capfd.readouterr().err
    with pytest.raises(ConfigError, match="not an address for Datadog's intake"):
        make_sink(SinkConfig(kind="datadog", url="ftp://x"), tmp_path)
