"""The keeper process: compacts by itself, answers lookups, stays alone, ends on SIGTERM."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.clockfile import create_clock
from tunekeeper.store.flocks import Supervision
from tunekeeper.store.log import Log, Spool, partitions, segments
from tunekeeper.store.log.compact import Compacted
from tunekeeper.store.log.keeper import LOOKUP_DAYS, Keeper, run
from tunekeeper.store.log.lookups import ask
from tunekeeper.store.reserve import lay_by, reserved

Record = Callable[..., dict[str, Any]]


@contextmanager
def running(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tunekeeper.store.log.keeper", "--root", str(root), *arguments]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_keeper_compacts_answers_lookups_stays_alone_and_ends(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    old, new = record(body_id="old"), record(body_id="new")
    spool.ended(old)
    spool.flush()
    spool.seal()
    with running(root, "--interval", "0.05") as child:
        assert wait_for(lambda: bool(list((root / "log" / "metrics").rglob("*.parquet"))))
        assert wait_for(lambda: (root / "run" / "keeper.sock").exists())
        spool.ended(new)
        spool.flush()
        assert ask(root, "new", 60) == [new["request_id"]]
        second = subprocess.run(
            [sys.executable, "-m", "tunekeeper.store.log.keeper", "--root", str(root), "--once"], capture_output=True, text=True
        )
        assert second.returncode == 4
        assert second.stderr.startswith("a keeper already works on")
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    assert not (root / "run" / "keeper.sock").exists()
    assert not segments.is_held(root / "run" / "keeper.lock")
    spool.close()


def test_once_is_one_pass(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    done = subprocess.run([sys.executable, "-m", "tunekeeper.store.log.keeper", "--root", str(root), "--once"], check=False)
    assert done.returncode == 0
    assert segments.list_segments(root) == []
    assert len(Log(root, clock).find()) == 1


def test_a_lookup_finds_compacted_and_hot_answers_of_thirty_days(root: Path, clock: ManualClock, record: Record) -> None:
    keeper = Keeper(root, clock)
    spool = Spool(root, "gateway-0", clock)
    made = []
    for days in (0, 5, 20, 10):
        clock.advance(days * 86400)
        made.append(record(body_id="again"))
        spool.ended(made[-1])
        spool.flush()
        if len(made) < 4:
            spool.seal()
            keeper.once()
    assert keeper.find("again") == {r["request_id"] for r in made[1:]}
    assert timedelta(days=LOOKUP_DAYS) == timedelta(days=30)
    assert keeper.find("never") == set()
    spool.close()


def test_whose_a_request_is_is_found_hot_compacted_and_merged(root: Path, clock: ManualClock, record: Record) -> None:
    keeper, spool = Keeper(root, clock), Spool(root, "gateway-0", clock)
    made = [record(model_id=model) for model in ("desk", "desk", "other")]
    for each in made:
        spool.ended(each)
        spool.flush()
        spool.seal()
        keeper.once()
    assert [keeper.model_of(each["request_id"]) for each in made] == ["desk", "desk", "other"]
    clock.advance(2 * 3600)
    keeper.once()  # the hour is over: its files are merged
    late, open_ = record(model_id="late"), record(model_id="late")
    spool.ended(late)
    spool.flush()
    ids = [each["request_id"] for each in (*made, late, open_)]
    assert [keeper.model_of(id) for id in ids] == ["desk", "desk", "other", "late", None]
    assert keeper.model_of("abc-7") is None
    spool.close()


def test_a_pass_applies_retention(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    keeper = Keeper(root, clock, days=7)
    assert keeper.once().records == 1
    clock.advance(8 * 86400)
    keeper.once()
    assert Log(root, clock).find() == []


def test_a_clock_that_is_wrong_for_a_moment_takes_nothing_with_it(
    root: Path, clock: ManualClock, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    keeper = Keeper(root, clock, days=395, body_days=30)
    keeper.once()
    right = clock.start
    clock.start = right + timedelta(days=3650)
    keeper.once()
    clock.advance(3000)
    keeper.once()
    assert "the clock jumped ahead from " in capsys.readouterr().err
    clock.start = right - timedelta(days=400)
    keeper.once()
    clock.start = right
    clock.advance(600)
    keeper.once()
    (found,) = Log(root, clock).find()
    assert found.request is not None
    assert capsys.readouterr().err.count("\n") == 1, "ahead again, by more than a day: that is doubted as well"


def test_a_new_time_that_lasts_is_believed(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    keeper = Keeper(root, clock, days=7)
    keeper.once()
    clock.start += timedelta(days=8)
    keeper.once()
    assert len(Log(root, clock).find()) == 1
    clock.advance(3601)
    keeper.once()
    assert Log(root, clock).find() == []


def test_a_machine_that_starts_with_a_wrong_clock_drops_nothing_until_it_is_set_right(
    root: Path, clock: ManualClock, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    Keeper(root, clock, days=395, body_days=30).once()
    wrong = ManualClock(clock.utc() + timedelta(days=3650))
    late = Spool(root, "gateway-0", wrong)
    late.ended({**record(), "timestamp": wrong.utc()})  # the same clock stamps it: no evidence
    late.close()
    for _ in range(2):  # a keeper that is started again knows it still
        Keeper(root, wrong, days=395, body_days=30).once()
        told = capsys.readouterr().err
        assert told.startswith("keeper: the clock jumped ahead from 2026-01-05 09:00 to 2036-01-03 09:00: nothing is")
    clock.advance(60)
    Keeper(root, clock, days=395, body_days=30).once()
    assert capsys.readouterr().err == ""
    assert [each.request is not None for each in Log(root, clock).find()] == [True, True]


def test_a_machine_that_was_off_for_long_drops_what_is_old_after_an_hour(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    Keeper(root, clock, days=7).once()
    again = ManualClock(clock.utc() + timedelta(days=8))
    keeper = Keeper(root, again, days=7)
    for seconds, left in ((0, 1), (3599, 1), (1, 0)):
        again.advance(seconds)
        keeper.once()
        assert len(Log(root, again).find()) == left


def test_a_socket_of_a_deep_folder_works(tmp_path: Path, clock: ManualClock) -> None:
    deep = tmp_path / ("d" * 90) / ("e" * 90)
    with running(deep):
        assert wait_for(lambda: (deep / "run" / "keeper.sock").exists())
        assert ask(deep, "x", 60) == []
    assert len(str(deep)) > 108


def test_a_keeper_ends_some_time_after_its_supervisor_and_one_without_any_goes_on(tmp_path: Path) -> None:
    left, alone = tmp_path / "left", tmp_path / "alone"
    (left / "run").mkdir(parents=True)
    supervisor = segments.hold(left / "run" / "supervisor.lock")
    short = ("--interval", "0.02", "--unsupervised-seconds", "0.4")
    with running(left, *short) as child, running(alone, *short) as by_hand:
        assert wait_for(lambda: (left / "run" / "keeper.sock").exists() and (alone / "run" / "keeper.sock").exists())
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.6)
        os.close(supervisor)
        assert child.wait(60) == 0
        assert child.stderr is not None
        assert child.stderr.read() == "keeper: no supervisor for too long, ends\n"
        assert not (left / "run" / "keeper.sock").exists()
        assert by_hand.poll() is None


def _folders(root: Path) -> int:
    return sum(len(partitions.hours(root, kind)) for kind in partitions.KINDS)


def test_a_purge_that_is_killed_again_and_again_goes_on_and_leaves_exactly_what_is_kept(
    root: Path, clock: ManualClock, record: Record
) -> None:
    spool = Spool(root, "gateway-0", clock)
    made = []
    for _ in range(60):
        made.append(record())
        spool.ended(made[-1])
        said = {"request_id": made[-1]["request_id"], "timestamp": clock.utc(), "model_id": "support-desk"}
        spool.feedback({**said, "id": f"f{len(made)}", "kind": "thumb", "value": "up"})
        clock.advance(6 * 3600)
    spool.close()
    Keeper(root, clock).once()
    create_clock(root, start=clock.utc(), factor=0.0).close()
    days = ("--days", "7", "--body-days", "3")
    dying = str(Path(__file__).parent.parent / "dying.py")

    def purge(where: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
        words = ("tunekeeper.store.log.keeper", "--root", str(where), "--once", *days)
        command = [sys.executable, dying, str(where), str(kill_at), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shutil.copytree(root, root.with_name("copy"))
    touches = int(re.findall(r"touches: (\d+)", purge(root.with_name("copy"), 0).stderr)[0])
    left = [_folders(root)]
    for share in (0.4, 0.2, 0.2):
        assert purge(root, int(touches * share)).returncode == -signal.SIGKILL
        left.append(_folders(root))
    assert left == sorted(set(left), reverse=True), "each goes on where the one before was killed"
    assert left[-1] > 28 + 28 + 12, "and none was done"
    with running(root, "--once", *days) as child:
        assert child.wait(60) == 0
    found = Log(root, clock).find()
    assert [each.request_id for each in found] == [each["request_id"] for each in made[-28:]]
    assert [each.request is not None for each in found] == [False] * 16 + [True] * 12
    assert [len(partitions.hours(root, kind)) for kind in ("metrics", "feedback", "bodies")] == [28, 28, 12]
    assert len(Keeper(root, clock).index.hours()) == 28
    assert Log(root, clock).verify() == {"records": 28, "duplicates": 0, "open": 0, "corrupt": 0}


def test_a_pass_without_room_is_done_again_on_the_room_of_the_reserve(root: Path, clock: ManualClock, record: Record) -> None:
    spool = Spool(root, "gateway-0", clock)
    spool.ended(record())
    spool.close()
    stop = threading.Event()

    class Crowded(Keeper):
        passes = 0

        def once(self) -> Compacted:
            self.passes += 1
            if reserved(self.root):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            stop.set()
            return super().once()

    assert lay_by(root)
    keeper = Crowded(root, clock)
    run(keeper, 0.01, stop, Supervision(root, clock.real))
    assert keeper.passes == 2
    assert not reserved(root)
    assert len(Log(root, clock).find()) == 1
    assert segments.list_segments(root) == []


class Full(Keeper):
    """Its disk is full, and it is told to end after the first pass."""

    def run(self) -> None:
        self.stop = threading.Event()
        run(self, 0.01, self.stop, Supervision(self.root, self.clock.real))

    def once(self) -> Compacted:
        self.stop.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_pass_that_finds_no_room_is_said_in_one_line_that_tells_what_to_do(
    root: Path, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    Full(root, clock).run()
    told = f"keeper: no room left under {root / 'log'}: nothing is lost and it is tried again; free disk space\n"
    assert capsys.readouterr().err == told


def test_a_keeper_lives_on_where_the_full_disk_takes_not_even_its_word(
    root: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf(io.StringIO):
        tried = 0

        def write(self, text: str) -> int:
            self.tried += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stderr", deaf := Deaf())
    Full(root, clock).run()
    assert deaf.tried
