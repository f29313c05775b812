"""T24: a process outgrows its memory and is killed for it: first a model server, then the gateway itself."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.journeys.rig import MODEL, SECONDS, WHOLE, Ledger, Rig, Wire, ask, eventually, load, rig, say, within

SEED = 24
LIMIT = 300 << 20
GROUPS = Path("/sys/fs/cgroup/memory")
pytestmark = [
    pytest.mark.timeout(SECONDS),
    pytest.mark.skipif(not WHOLE, reason="fills 300 MB twice: for torture"),
]


@contextmanager
def limited(pid: int) -> Iterator[str]:
    """A process may have 300 MB and no more; yields by which means: a control group, else its address space."""
    group = GROUPS / f"tunekeeper-{os.getpid()}-{pid}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        with suppress(OSError):
            group.rmdir()
        most = psutil.Process(pid).memory_info().vms + LIMIT
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        yield "address space"
        return
    try:
        yield "control group"
    finally:
        end = time.monotonic() + 20
        while (group / "cgroup.procs").read_text() and time.monotonic() < end:
            time.sleep(0.05)
            for each in (group / "cgroup.procs").read_text().split():
                (GROUPS / "cgroup.procs").write_text(each)
        group.rmdir()


async def feed(run: Rig, ledger: Ledger) -> int:
    """Requests of 3.5 MB, which the scripted server keeps, until it is killed; then twenty more. How many it took."""
    wire, fed = Wire(run.url), 0
    while run.a.running.process.poll() is None:
        await ask(wire, ledger.open(), messages=[{"role": "user", "content": "x" * 3_500_000}])
        fed += 1
        assert fed < 400, "it was never killed"
    for number in range(20):
        await ask(wire, ledger.open(stream=number % 2 == 1))
    wire.close()
    return fed


def test_a_model_server_that_outgrows_its_memory_is_replaced_by_the_fallback(tmp_path: Path) -> None:
    ledger = Ledger()
    with rig(tmp_path, answer="word " * 20, fallback=["b"]) as run:
        with limited(run.a.running.process.pid) as means:
            if means != "control group":
                pytest.skip("no control group may be made here, and a server short of address space is not killed")
            fed = asyncio.run(feed(run, ledger))
        slots = [entry.heads.get("x-tunekeeper-slot", entry.error) for entry in ledger.entries.values()]
        found = run.verify()
        say("T24", SEED, upstream_fed=fed, by=means.replace(" ", "_"), failed=sum(ledger.errors().values()), **found)
        assert run.a.running.process.returncode == -9
        assert ledger.errors() == {}, "who was waiting when it died was answered by the other"
        assert set(slots[-20:]) == {"b"}
        assert found == {"records": len(ledger.entries), "duplicates": 0, "open": 0, "corrupt": 0}


async def hog(url: str, megabytes: int, over: asyncio.Event) -> None:
    """Send a body as large as is allowed, but for its last byte, and wait."""
    wire, size = Wire(url), megabytes << 20
    with suppress(OSError, asyncio.IncompleteReadError):
        await wire.send(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n".encode())
        for _ in range(megabytes - 1):
            await wire.send(b"x" * (1 << 20))
        await over.wait()
    wire.close(hard=True)


async def outgrow(run: Rig, ledger: Ledger) -> float:
    """Ten clients, and thirty that send 30 MB each, until the gateway's worker dies of it; seconds until another is ready."""
    over, full = asyncio.Event(), asyncio.Event()
    worker = await eventually(run.worker)
    loading = asyncio.create_task(load(run.url, ledger, over.is_set, clients=10, pause=0.01))
    await eventually(lambda: len(ledger.answered) > 50)
    with limited(worker.pid) as means:
        hogs = [asyncio.create_task(hog(run.url, 30, full)) for _ in range(30)]
        await eventually(lambda: not psutil.pid_exists(worker.pid) or worker.status() == psutil.STATUS_ZOMBIE)
        began = time.monotonic()
        full.set()
    await asyncio.gather(*hogs)
    wire, entry = Wire(run.url), ledger.open()
    while (await ask(wire, entry)).status != 200:
        entry = ledger.open()
        assert time.monotonic() < began + 60
    back = time.monotonic() - began
    wire.close()
    answered = len(ledger.answered)
    await eventually(lambda: len(ledger.answered) > answered + 50)
    over.set()
    await loading
    say("T24", SEED, own_by=means.replace(" ", "_"))
    return back


def test_a_gateway_that_outgrows_its_memory_is_back_soon_and_kept_every_answer(tmp_path: Path) -> None:
    ledger = Ledger()
    with rig(tmp_path, answer="word " * 20, limits={"body_mb": 32.0}) as run:
        back = asyncio.run(outgrow(run, ledger))
        found = run.verify()
        logged = {row["client_request_id"]: row["status"] for row in run.records()}
        lost = [entry.id for entry in ledger.answered if logged.get(entry.id) != "ok"]
        why = run.gateway.running.event("died", 60)["why"].replace(" ", "_")
        say("T24", SEED, asked=len(ledger.entries), answered=len(ledger.answered), lost=len(lost), back_s=back, why=why, **found)
        assert lost == []
        assert (found["duplicates"], found["open"], found["corrupt"]) == (0, 0, 0)
        assert within(back, 30.0), "the figure is 3 s"
        assert run.gateway.ask(MODEL).status_code == 200
