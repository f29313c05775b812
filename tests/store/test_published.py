"""Published routes: obeyed at once by every process, proven by the barrier, refused when damaged."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.errors import Busy
from tunekeeper.core.nouns.serving import ApiKey, FallbackEntry, Route, RouteTable, Share, Slot
from tunekeeper.store.published import PublishedReader, RouteUnavailable, WorkerSlot, barrier, publish, wake

# A gateway worker without the gateway: obeys, acknowledges, and answers each line on stdin with the route it would take now.
WORKER = """
import select, sys
from pathlib import Path
from tunekeeper.store.published import PublishedReader, WorkerSlot

root = Path(sys.argv[1])
slot = WorkerSlot(root, sys.argv[2])
reader = PublishedReader(root)
slot.acknowledge(reader.current().generation)
print("ready", flush=True)
while True:
    readable, _, _ = select.select([slot.socket, sys.stdin], [], [], 5)
    if slot.socket in readable:
        slot.drain()
        slot.acknowledge(reader.current().generation)
    if sys.stdin in readable:
        if not sys.stdin.readline():
            break
        print(reader.current().routes["m"].champion, flush=True)
"""


def table(generation: int, champion: str = "blue") -> RouteTable:
    route = Route(
        model="m",
        generation=generation,
        salt="s",
        shares=(
            Share(slot=champion, variant="champion", ranges=((0, 9000),)),
            Share(slot="b", variant="challenger", ranges=((9000, 10000),)),
        ),
        champion=champion,
        fallback=(FallbackEntry(slot="b", messages=({"role": "user", "content": "é"},)),),
    )
    return RouteTable(
        generation=generation, routes={"m": route}, slots={"b": Slot(id="b", model="m")}, keys=(ApiKey(id="k", hash="h"),)
    )


@contextmanager
def worker(root: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKER, str(root), name]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def choose(child: subprocess.Popen[str]) -> str:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("?\n")
    return child.stdout.readline().strip()


def test_a_table_comes_back_as_it_was_published(tmp_path: Path) -> None:
    reader = PublishedReader(tmp_path)
    assert (reader.generation(), reader.current()) == (0, RouteTable(generation=0))
    publish(tmp_path, table(7))
    assert (reader.generation(), reader.current()) == (7, table(7))
    assert reader.current() is reader.current()
    reader.close()


def test_the_last_three_tables_are_kept(tmp_path: Path) -> None:
    for n in (1, 2, 3, 9, 10):
        publish(tmp_path, table(n))
    assert sorted(p.name for p in (tmp_path / "routes").iterdir()) == ["10", "3", "9", "generation"]
    assert (tmp_path / "routes" / "generation").stat().st_size == 4096
    assert int.from_bytes((tmp_path / "routes" / "generation").read_bytes()[:8], sys.byteorder) == 10


def test_publishing_the_same_table_again_changes_nothing(tmp_path: Path) -> None:
    publish(tmp_path, table(4))
    before = (tmp_path / "routes" / "4").stat()
    publish(tmp_path, table(4))
    assert (tmp_path / "routes" / "4").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("cut", [0, 1, 20, 37, 200, -1])
def test_a_torn_table_is_refused_and_never_replaced_by_an_older_one(tmp_path: Path, cut: int) -> None:
    publish(tmp_path, table(1))
    reader = PublishedReader(tmp_path)
    assert reader.current().generation == 1
    publish(tmp_path, table(2, "green"))
    path = tmp_path / "routes" / "2"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    for _ in range(3):
        with pytest.raises(RouteUnavailable, match="damaged"):
            reader.current()
    path.write_bytes(whole)
    assert reader.current().routes["m"].champion == "green"
    reader.close()


def test_a_table_with_any_bit_changed_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, table(1))
    path = tmp_path / "routes" / "1"
    whole = path.read_bytes()
    rng = random.Random(2)
    for _ in range(300):
        broken = bytearray(whole)
        broken[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        reader = PublishedReader(tmp_path)
        with pytest.raises(RouteUnavailable):
            reader.current()
        reader.close()


def test_a_missing_table_and_one_of_another_generation_are_refused(tmp_path: Path) -> None:
    publish(tmp_path, table(1))
    publish(tmp_path, table(2))
    reader = PublishedReader(tmp_path)
    os.rename(tmp_path / "routes" / "1", tmp_path / "routes" / "2")
    with pytest.raises(RouteUnavailable, match="holds generation 1"):
        reader.current()
    (tmp_path / "routes" / "2").unlink()
    with pytest.raises(RouteUnavailable, match="missing"):
        reader.current()
    reader.close()


def test_forty_publishes_are_obeyed_by_another_process_before_its_next_choice(tmp_path: Path) -> None:
    publish(tmp_path, table(1))
    with worker(tmp_path, "0") as child:
        for n in range(2, 42):
            publish(tmp_path, table(n, f"slot-{n}"))
            assert choose(child) == f"slot-{n}"


def test_a_worker_that_was_stopped_is_named_and_serves_the_new_route_once_it_goes_on(tmp_path: Path) -> None:
    publish(tmp_path, table(1))
    with worker(tmp_path, "0") as one, worker(tmp_path, "1") as two:
        os.kill(two.pid, signal.SIGSTOP)
        publish(tmp_path, table(2, "green"))
        assert choose(one) == "green"
        acknowledged, pending = barrier(tmp_path, 2)
        assert acknowledged == ["0"]
        assert pending == [(two.pid, "stopped")]
        os.kill(two.pid, signal.SIGCONT)
        assert choose(two) == choose(one) == "green"
        assert barrier(tmp_path, 2, 60) == (["0", "1"], [])


def test_a_worker_killed_while_the_barrier_waits_does_not_hang_it(tmp_path: Path) -> None:
    publish(tmp_path, table(1))
    with worker(tmp_path, "0") as child:
        os.kill(child.pid, signal.SIGSTOP)
        publish(tmp_path, table(2))
        naps: list[float] = []

        def sleep(seconds: float) -> None:
            naps.append(seconds)
            if len(naps) == 5:
                child.kill()
                child.wait()
            time.sleep(seconds)

        assert barrier(tmp_path, 2, 30, sleep=sleep) == ([], [])
        assert 5 <= len(naps) < 1000
    assert barrier(tmp_path, 2) == ([], [])


def test_the_barrier_waits_for_nobody_when_nobody_lives(tmp_path: Path) -> None:
    assert barrier(tmp_path, 5) == ([], [])
    slot = WorkerSlot(tmp_path, "0")
    slot.acknowledge(4)
    assert barrier(tmp_path, 4) == (["0"], [])
    ticks = iter(range(100))
    acknowledged, pending = barrier(tmp_path, 5, 3, now=lambda: float(next(ticks)), sleep=lambda _: None)
    assert (acknowledged, pending) == ([], [(os.getpid(), "obeys generation 4, no answer in 3000 ms")])
    slot.close()
    assert barrier(tmp_path, 5) == ([], [])


def test_a_slot_is_taken_once_and_starts_with_nothing_acknowledged(tmp_path: Path) -> None:
    slot = WorkerSlot(tmp_path, "0")
    slot.acknowledge(9)
    with pytest.raises(Busy, match="'0' is running"):
        WorkerSlot(tmp_path, "0")
    assert barrier(tmp_path, 9) == (["0"], [])
    slot.close()
    slot = WorkerSlot(tmp_path, "0")
    assert barrier(tmp_path, 1, 0)[1][0][0] == os.getpid()
    slot.close()


def test_a_wake_up_reaches_every_socket_and_passes_over_dead_ones(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    one, two = WorkerSlot(deep, "1"), WorkerSlot(deep, "2")
    os.close(two.socket.detach())
    assert (wake(deep), wake(deep, but="1")) == (["1"], [])
    publish(deep, table(1))
    assert one.drain() == 2
    assert one.drain() == 0
    one.close()
    two.close()


def test_looking_at_the_generation_is_cheap(tmp_path: Path) -> None:
    publish(tmp_path, replace(table(3), keys=()))
    reader = PublishedReader(tmp_path)
    assert reader.current().generation == 3
    shutil.rmtree(tmp_path / "routes")
    assert (reader.generation(), reader.current().generation) == (3, 3), "it asks memory, no file"
    reader.close()


def test_the_request_path_loads_no_database_library() -> None:
    code = "import sys, tunekeeper.store.published, tunekeeper.store.log.spool, tunekeeper.store.log.lookups; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"sqlalchemy", "duckdb", "pyarrow", "numpy"} & set(loaded) == set()
