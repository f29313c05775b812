"""Whatever is killed, at whatever moment: nothing is done twice, no half-made share of traffic is seen, and answers go on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.journeys.loop import SECTION, Loop, looped
from tests.patience import PATIENCE, until
from tests.rollout.conftest import new_desk
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.data import freezing, import_files
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.gateway.keys import create_key
from tunekeeper.processes.ending import running
from tunekeeper.rollout.moves import promote
from tunekeeper.rollout.stage import latest
from tunekeeper.store.clockfile import CompressedClock
from tunekeeper.store.ledgers.artifacts import find_artifacts
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.datasets import find_datasets
from tunekeeper.store.ledgers.exams import find_exams
from tunekeeper.store.ledgers.incidents import find_incidents
from tunekeeper.store.ledgers.jobs import find_jobs
from tunekeeper.store.ledgers.outbox import find_messages
from tunekeeper.store.ledgers.promotions import find_promotions
from tunekeeper.store.ledgers.rollouts import find_rollouts
from tunekeeper.store.ledgers.routes import find_routes
from tunekeeper.store.ledgers.runs import find_runs
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.store.lock import exclusive
from tunekeeper.store.published import PublishedReader
from tunekeeper.testing.desk import MODEL, Desk, World, write_rows
from tunekeeper.workspace import compress_clock, open_workspace

__all__ = ["new_desk"]
KILLS = 8
"""Deaths that the test must have seen; the first lives are so short that each machine sees them."""
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Hurried:
    """The workspace's compressed clock, standing still until it is told to go on; every process sees the same."""

    def __init__(self, clock: CompressedClock) -> None:
        self.clock = clock
        self.utc, self.steady, self.real, self.sleep = clock.utc, clock.steady, clock.real, clock.sleep

    def advance(self, seconds: float) -> None:
        until = self.clock.steady() + seconds
        self.clock.heartbeat()
        self.clock.set_factor(seconds / 0.02)
        while self.clock.steady() < until:
            time.sleep(0.005)
        self.clock.freeze()


@contextmanager
def nursery(repository: Path) -> Iterator[Callable[[Path], int]]:
    """Starts workers on a project; gives their pids."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(repository / "src"), str(repository)))}
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.journeys.loop"],
        cwd=repository,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    born: list[int] = []

    def start(project: Path) -> int:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(f"{project}\n")
        parent.stdin.flush()
        born.append(int(parent.stdout.readline()))
        return born[-1]

    try:
        yield start
    finally:
        for pid in born[-1:]:
            end(pid)
        parent.stdin.close()
        parent.wait(60)
        parent.stdout.close()


def end(pid: int) -> None:
    """SIGKILL, if it still lives."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Watcher(threading.Thread):
    """Looks at the published route all the time, as a gateway does."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.root, self.ended = root, threading.Event()
        self.seen: dict[int, dict[str, int]] = {}

    def run(self) -> None:
        reader = PublishedReader(self.root)
        while not self.ended.wait(0.005):
            table = reader.current()
            if MODEL in table.routes:
                shares = {share.slot: share.weight for share in table.routes[MODEL].shares}
                known = self.seen.setdefault(table.routes[MODEL].generation, shares)
                assert known == shares
        reader.close()


def test_a_worker_killed_at_any_moment_does_nothing_twice(
    tmp_path: Path,
    repository: Path,
    new_desk: Callable[..., Desk],
) -> None:
    rng = random.Random(20260105)
    (tmp_path / "desk" / ".tunekeeper").mkdir(parents=True)
    clock = Hurried(compress_clock(tmp_path / "desk" / ".tunekeeper", start=START, factor=0.0))
    desk = new_desk(tmp_path / "desk", seed=11, section=SECTION, cases=100, rows=220, clock=clock)
    with looped(desk) as loop, nursery(repository) as start:
        watcher = Watcher(desk.ws.root)
        watcher.start()
        first = loop.open("the first version", options={"dataset": loop.dataset()})
        kills = _live_and_die(loop, start, rng, first)
        more = _more_rows(loop)
        second = loop.open("more rows", options={"dataset": more})
        kills += _live_and_die(loop, start, rng, second)
        watcher.ended.set()
        watcher.join()
    print(f"{kills} kills")
    assert kills >= KILLS
    _everything_once(desk)
    _only_committed_shares(desk, watcher.seen)


def _more_rows(loop: Loop) -> str:
    config = loop.config()
    path = loop.desk.folder / "data" / "more.jsonl"
    write_rows(path, [World().ticket(loop.desk.rng) for _ in range(60)])
    import_files(loop.ws, config.task, config.sections["data"], [path])
    loop.desk.clock.advance(60)
    return freezing.freeze(loop.ws, config.task, config.sections["data"], by="ana").id


def _live_and_die(loop: Loop, start: Callable[[Path], int], rng: random.Random, cycle: Cycle) -> int:
    """Workers that live a random while each, until the cycle has closed; how many were killed before that.

    Lives grow longer with each death: the first are shorter than any stage, so that there are deaths on a fast machine, and in
    the end they are long enough for a stage on a slow one.
    """
    kills, end_of_patience = 0, time.monotonic() + 900
    consented = False
    while True:
        pid = start(loop.desk.folder)
        death = time.monotonic() + rng.uniform(0.05, 0.2 * 1.3**kills)
        while time.monotonic() < death:
            now = loop.cycle(cycle.id)
            if now.state != "open":
                assert now.state == "promoted", now.closed_why
                end(pid)
                return kills
            loop.supervise()
            if now.stage == "approve" and not consented:
                loop.consent(now)
                consented = True
            if now.stage == "rollout" and _running(loop):
                loop.desk.traffic(150, 0.0)
                loop.desk.clock.advance(3600)
            time.sleep(0.02)
        end(pid)
        kills += 1
        assert time.monotonic() < end_of_patience, f"{loop.cycle(cycle.id)}"


def _running(loop: Loop) -> bool:
    with loop.ws.control.read() as tx:
        found = find_rollouts(tx, model=MODEL, state="running")
    return bool(found) and (found[0].due or 0.0) > loop.ws.clock.steady()


def _everything_once(desk: Desk) -> None:
    with desk.ws.state.read() as tx:
        cycles = find_cycles(tx, model=MODEL)
        assert [each.state for each in cycles] == ["promoted", "promoted"]
        assert [len(find(tx, model=MODEL)) for find in (find_datasets, find_runs)] == [2, 2]
        assert len(find_versions(tx, model=MODEL)) == 3, "two that were trained and the prompted base"
        assert len(find_artifacts(tx, model=MODEL)) == 3
        exams = find_exams(tx, model=MODEL)
        assert len(exams) == 4, "candidate and rival, twice"
        assert all(each.state == "done" for each in exams)
        jobs = find_jobs(tx)
        assert Counter(job.kind for job in jobs) == {"exam": 4, "tunekeeper.testing.trainer:run": 2}
        assert {(job.state, job.attempt) for job in jobs} == {("done", 1)}, (
            "the death of a worker kills no job, and none runs twice"
        )
        told = [message.id for message in find_messages(tx)]
    with desk.ws.control.read() as tx:
        assert [each.state for each in find_rollouts(tx, model=MODEL)] == ["promoted", "promoted"]
        assert len(find_promotions(tx, model=MODEL)) == 2
        assert find_incidents(tx, model=MODEL) == []
        told += [message.id for message in find_messages(tx)]
    assert len(told) == len(set(told))
    for cycle in cycles:
        assert set(cycle.records) == {"data", "train", "export", "evaluate", "load", "check", "approve", "rollout"}


def _only_committed_shares(desk: Desk, seen: dict[int, dict[str, int]]) -> None:
    with desk.ws.control.read() as tx:
        history = list(reversed(find_routes(tx, model=MODEL)))
    committed = {route.generation: {share.slot: share.weight for share in route.shares} for route in history}
    assert seen.items() <= committed.items()
    green = [committed[route.generation].get(f"{MODEL}-green", 0) for route in history]
    assert green == [0, 2_000, 5_000, 10_000], "each share once, in order"
    looks = latest(desk.ws, MODEL).checks
    assert [check.action for check in looks if check.action != "hold"] == ["advance", "promote"]


@contextmanager
def up(folder: Path) -> Iterator[str]:
    """`tunekeeper up` on a project, as a process; its address."""
    command = [sys.executable, "-m", "tunekeeper", "up", "--dir", str(folder), "--port", "0", "--json"]
    with (folder / "up.out").open("wb") as out, (folder / "up.err").open("wb") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
    try:
        yield announced(folder / "up.out")
    finally:
        child.terminate()
        child.wait(60)


def announced(path: Path, seconds: float = PATIENCE) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for line in path.read_text().splitlines():
            if '"ready"' in line:
                return str(json.loads(line)["url"])
        time.sleep(0.05)
    raise AssertionError(path.with_suffix(".err").read_text())


def test_answers_and_the_way_back_need_no_worker_and_no_state(tmp_path: Path, new_desk: Callable[..., Desk]) -> None:
    desk = new_desk(tmp_path / "desk", section=SECTION)
    ws = open_workspace(desk.ws.root)
    for name, answer in (("blue", "from blue"), ("green", "from green")):
        (ws.root / f"{name}.json").write_text(json.dumps({"default": answer}))
        declare_slots(ws, [Slot(id=name, model=MODEL, version=f"v-{name}", engine="fake", files={"model": f"{name}.json"})])
        promote(ws, MODEL, name, by="test", reason=name)
    headers = {"authorization": f"Bearer {create_key(ws, name='test').key}"}
    with up(desk.folder) as url, httpx.Client(base_url=url, headers=headers, timeout=150) as users:
        until(lambda: all(slot.observed == "ready" for slot in _slots(ws)))
        until(lambda: "worker" in running(ws.root))
        until(lambda: _ask(users).status_code == 200)  # what is committed is published a moment later
        assert _asked(users) == "from green"
        worker = running(ws.root)["worker"]
        os.kill(worker, signal.SIGSTOP)
        try:
            with exclusive(ws.root / "state.db.lock"):
                assert [_asked(users) for _ in range(10)] == ["from green"] * 10
                move = _rollback(desk.folder)
                assert move["ms"] < 10_000
                assert (move["from"], move["to"]) == ("v-green", "v-blue")
                assert len(move["acknowledged_by"]) + len(move["pending"]) == 1
                assert [_asked(users) for _ in range(10)] == ["from blue"] * 10
        finally:
            _go_on(worker)
    assert running(ws.root) == {}, "SIGTERM leaves no child behind"


def _ask(users: httpx.Client) -> httpx.Response:
    return users.post("/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": "hello"}]})


def _asked(users: httpx.Client) -> str:
    answer = _ask(users)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def _rollback(folder: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "tunekeeper", "rollback", MODEL, "--dir", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def _slots(ws: object) -> list[Slot]:
    with ws.control.read() as tx:  # type: ignore[attr-defined]
        return find_slots(tx, model=MODEL)


def _go_on(worker: int) -> None:
    """Let a stopped process run again; rollback may have ended it because it held the lock."""
    try:
        os.kill(worker, signal.SIGCONT)
    except ProcessLookupError:
        return


pytestmark = pytest.mark.timeout(1200)
