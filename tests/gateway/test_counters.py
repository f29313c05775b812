"""The shared counters: added up over workers, kept through kill -9, bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunekeeper.gateway import counters
from tunekeeper.gateway.cells import ASKS, LOG
from tunekeeper.gateway.counters import Counters
from tunekeeper.gateway.quotas import Held, Used, moment
from tunekeeper.gateway.refusals import Refusal

UTC_NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
NOW = moment(6000.0, UTC_NOW)
MONTH = NOW.period("month")
FULL = Refusal("rate_limited", "enough")


def up_to(limit: int) -> Callable[[Used], Refusal | None]:
    """What lets `limit` requests through."""
    return lambda used: FULL if used.requests >= limit else None


def takes(worker: Counters, limit: int, key: str = "key_a") -> bool:
    """Whether one more of `limit` is let through."""
    return worker.take(key, MONTH, NOW, up_to(limit), runs=True)[0] is None


class Crew:
    """Workers of one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.living: set[str] = set()
        self.open: list[Counters] = []

    def __call__(self, name: str) -> Counters:
        self.living.add(name)
        self.open.append(Counters(self.root, name, lambda: self.living))
        return self.open[-1]

    def dies(self, name: str, counters: Counters) -> None:
        self.living.discard(name)
        self.open.remove(counters)
        counters.close()


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    made = Crew(tmp_path)
    yield made
    for one in made.open:
        one.close()


def test_workers_add_to_their_own_cells_and_read_the_sum(crew: Crew) -> None:
    one, two = crew("w1"), crew("w2")
    for worker in (one, one, two):
        worker.admitted("key_a", NOW)
        worker.began("key_a", NOW)
    two.ended("key_a", MONTH, NOW, tokens=30, spent=500)
    one.ended("key_a", MONTH, NOW, tokens=12, spent=25)
    for worker in (one, two):
        assert worker.used("key_a", MONTH, NOW) == Used(requests=3, tokens=42, spent=525, running=1)
        assert worker.used("key_b", MONTH, NOW) == Used()


def test_what_is_taken_is_counted_and_under_way_and_what_is_refused_is_neither(crew: Crew) -> None:
    one, two = crew("w1"), crew("w2")
    assert [takes(worker, 3) for worker in (one, two, one, two, one)] == [True, True, True, False, False]
    assert one.take("key_b", MONTH, NOW, up_to(1), runs=False) == (None, Used())
    assert one.take("key_b", MONTH, NOW, up_to(1), runs=False) == (FULL, Used(requests=1))
    assert two.used("key_a", MONTH, NOW) == Used(requests=3, running=3)
    one.stopped("key_a", NOW)
    assert two.used("key_a", MONTH, NOW) == Used(requests=3, running=2)
    two.stopped("key_b", NOW)
    assert two.used("key_b", MONTH, NOW) == Used(requests=1), "never less than none"


RACE = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from tunekeeper.gateway.counters import Counters
from tunekeeper.gateway.quotas import moment
from tunekeeper.gateway.refusals import Refusal
now, full = moment(6000.0, datetime(2026, 1, 5, 9, tzinfo=UTC)), Refusal("rate_limited", "enough")
worker = Counters(Path(sys.argv[1]), sys.argv[2], lambda: {"w1", "w2", "w3"})
print("up", flush=True)
sys.stdin.readline()
taken = []
for number in range(200):
    answers = [
        worker.take(f"key_{number}", 1, now, lambda used: full if used.requests >= 20 else None, runs=True)[0] for _ in range(40)
    ]
    taken.append(answers.count(None))
print(*taken)
"""


def test_workers_that_race_let_through_what_the_limit_says_and_not_one_more_or_less(tmp_path: Path) -> None:
    names = ("w1", "w2", "w3")
    crew = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in names
    ]
    for one in crew:
        assert one.stdout is not None
        assert one.stdout.readline() == "up\n"
    for one in crew:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    taken = [[int(count) for count in one.communicate(timeout=60)[0].split()] for one in crew]
    assert [sum(counts) for counts in zip(*taken, strict=True)] == [20] * 200


def _marks(worker: Counters, key: str, mark: int) -> None:
    """Leave `worker` at the point where it was when it was stopped."""
    worker._view[worker._cell(key, NOW) + ASKS] = mark


def test_who_reads_while_another_does_leaves_it_one_and_waits_its_turn_for_the_last(crew: Crew) -> None:
    one, two = crew("w1"), crew("w2")
    _marks(two, "key_a", counters._ASKING)
    assert takes(one, 2), "there are enough for both"
    assert not takes(one, 2), "the last one may be taken already"
    _marks(two, "key_a", counters._QUEUED)
    assert takes(one, 2), "who waits for the lock has taken nothing"
    assert not takes(one, 2)


def test_what_a_dead_worker_was_about_to_take_is_given_to_others(crew: Crew) -> None:
    one, two = crew("w1"), crew("w2")
    _marks(two, "key_a", counters._ASKING)
    crew.living.discard("w2")
    assert [takes(one, 1), takes(one, 1)] == [True, False]


def test_what_the_log_says_was_spent_before_counts_with_what_workers_spend(crew: Crew) -> None:
    before, worker = crew(LOG), crew("w1")
    before.spend("key_a", MONTH, NOW, 40)
    worker.spend("key_a", MONTH, NOW, 2)
    for one in (before, worker):
        assert one.used("key_a", MONTH, NOW) == Used(spent=42)
        assert one.used("key_a", MONTH + 1, NOW) == Used()


def test_minutes_and_budget_periods_end_by_themselves(crew: Crew) -> None:
    worker = crew("w1")
    worker.admitted("key_a", NOW)
    worker.ended("key_a", MONTH, NOW, tokens=7, spent=5)
    next_minute, later = moment(6060.0, UTC_NOW), moment(6120.0, UTC_NOW)
    assert worker.used("key_a", MONTH, next_minute) == Used(last_requests=1, last_tokens=7, spent=5)
    assert worker.used("key_a", MONTH, later) == Used(spent=5)
    worker.admitted("key_a", later)
    assert worker.used("key_a", MONTH, later) == Used(requests=1, spent=5), "a bucket is taken over by its next minute"
    assert worker.used("key_a", MONTH + 1, NOW).spent == 0
    worker.spend("key_a", MONTH + 1, NOW, 3)
    assert worker.used("key_a", MONTH + 1, NOW).spent == 3


def test_a_clock_set_over_the_end_of_a_period_and_back_gives_no_second_budget(crew: Crew) -> None:
    before, one, two = crew(LOG), crew("w1"), crew("w2")
    for day in (700, 701):
        before.spend("key_a", day, NOW, 1)
    for day, spent in ((700, 10), (710, 20), (700, 30), (690, 40), (700, 50), (701, 60), (700, 70)):
        one.spend("key_a", day, NOW, spent)
        two.spend("key_a", day, NOW, 100 * spent)
    for worker in (one, two):
        assert worker.used("key_a", 700, NOW).spent == 101 * (10 + 30 + 50 + 70) + 1
        assert worker.used("key_a", 701, NOW).spent == 101 * 60 + 1
        assert worker.used("key_a", 702, NOW).spent == 0


def test_what_a_killed_worker_counted_stays_counted_but_for_what_it_had_under_way(tmp_path: Path, crew: Crew) -> None:
    code = (
        "import sys, time; from datetime import datetime, UTC; from pathlib import Path\n"
        "from tunekeeper.gateway.counters import Counters; from tunekeeper.gateway.quotas import moment\n"
        "now = moment(6000.0, datetime(2026, 1, 5, 9, tzinfo=UTC))\n"
        "c = Counters(Path(sys.argv[1]), 'w9', lambda: {'w9'})\n"
        "for _ in range(5): c.admitted('key_a', now); c.began('key_a', now)\n"
        "c.ended('key_a', now.period('month'), now, tokens=10, spent=77)\n"
        "print('counted', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "counted\n"
        mine = crew("w1")
        crew.living.add("w9")
        os.kill(other.pid, signal.SIGKILL)
        other.wait(60)
    whole = Used(requests=5, tokens=10, spent=77, running=4)
    assert mine.used("key_a", MONTH, NOW) == whole
    mine.forget_dead("key_a", NOW)
    assert mine.used("key_a", MONTH, NOW) == whole, "while it seems to live nothing is taken from it"
    crew.living.discard("w9")
    mine.forget_dead("key_a", NOW)
    assert mine.used("key_a", MONTH, NOW) == Used(requests=5, tokens=10, spent=77)


def test_a_worker_that_starts_again_goes_on_with_its_own_cells(crew: Crew) -> None:
    first = crew("w1")
    first.admitted("key_a", NOW)
    first.began("key_a", NOW)
    first.spend("key_a", MONTH, NOW, 9)
    crew.dies("w1", first)
    assert crew("w1").used("key_a", MONTH, NOW) == Used(requests=1, spent=9)


def test_ten_thousand_keys_are_told_apart(crew: Crew) -> None:
    one, two = crew("w1"), crew("w2")
    names = [f"key_{number}" for number in range(10_000)]
    for number, name in enumerate(names):
        (one if number % 2 else two).spend(name, MONTH, NOW, number + 1)
    assert all(one.used(name, MONTH, NOW).spent == number + 1 for number, name in enumerate(names))


@pytest.mark.parametrize("first", [100, 101])
def test_even_and_odd_minutes_are_kept_side_by_side(crew: Crew, first: int) -> None:
    worker = crew("w1")
    for step in range(3):
        now = moment((first + step) * 60.0, UTC_NOW)
        for _ in range(step + 1):
            worker.admitted("key_a", now)
        worker.ended("key_a", MONTH, now, tokens=10 * (step + 1), spent=0)
        assert worker.used("key_a", MONTH, now) == Used(step, step + 1, 10 * step, 10 * (step + 1))


def test_two_workers_never_hold_the_last_of_a_limit_both_and_what_one_gives_back_another_may_hold(crew: Crew) -> None:
    one, two = crew("w0"), crew("w1")
    held = Held(30, 7, bounded=True)

    def fits(used: Used) -> Refusal | None:
        return FULL if used.held_tokens + held.tokens > 50 else None

    assert one.hold("key_a", MONTH, NOW, held, Used(), fits) == (None, Used())
    assert two.hold("key_a", MONTH, NOW, held, Used(), fits)[0] is FULL
    assert two.used("key_a", MONTH, NOW) == Used(held_tokens=30, held_spent=7), "what was refused is not held"
    one.began("key_a", NOW)
    one.ended("key_a", MONTH, NOW, tokens=12, spent=3, held=held)
    assert two.used("key_a", MONTH, NOW) == Used(tokens=12, spent=3)
    assert two.hold("key_a", MONTH, NOW, held, Used(), fits)[0] is None
    two.admitted("key_a", NOW)
    two.refused("key_a", NOW)
    two.refused("key_a", NOW)
    assert one.used("key_a", MONTH, NOW) == Used(tokens=12, spent=3, held_tokens=30, held_spent=7)


def test_workers_that_race_hold_at_most_the_limit(tmp_path: Path) -> None:
    crews = [Counters(tmp_path, f"w{number}", lambda: ["w0", "w1", "w2"]) for number in range(3)]
    held, most = Held(10), [0, 0, 0]
    start = threading.Barrier(3)

    def work(place: int) -> None:
        start.wait()
        for _ in range(60):
            refused, _ = crews[place].hold(
                "key_a", MONTH, NOW, held, Used(), lambda used: FULL if used.held_tokens + held.tokens > 500 else None
            )
            most[place] += refused is None

    threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(most) * 10 == crews[0].used("key_a", MONTH, NOW).held_tokens
    assert 40 <= sum(most) <= 50
    for each in crews:
        each.close()
