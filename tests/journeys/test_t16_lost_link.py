"""T16: the link to a model server goes down and nobody is told: the first request after it is answered, and no slot leaks."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.relay import Relay, relay
from tests.journeys.rig import SECONDS, Entry, Ledger, Rig, Wire, ask, eventually, figure, message, rig, say, within

SEED = 16
DEADLINE = 3.0
"""Seconds to the first token, in this test."""
KEPT = 20
"""Connections to the model server that the gateway has kept when the link goes down."""
pytestmark = pytest.mark.timeout(SECONDS)


async def ask_at_once(run: Rig, ledger: Ledger, n: int) -> list[Entry]:
    """`n` requests at the same time, each on its own connection."""
    wires = [Wire(run.url) for _ in range(n)]
    answered = await asyncio.gather(*(ask(wire, ledger.open(stream=number % 2 == 1)) for number, wire in enumerate(wires)))
    for wire in wires:
        wire.close()
    return list(answered)


async def leave(run: Rig, entry: Entry, rng: random.Random, go: asyncio.Semaphore) -> None:
    """Ask and hang up before there is an answer."""
    async with go:
        wire = Wire(run.url)
        await wire.send(message(entry.id, stream=entry.stream))
        await asyncio.sleep(rng.uniform(0.0, 0.05))
        wire.close(hard=rng.random() < 0.5)


async def cancel(run: Rig, ledger: Ledger, rng: random.Random, n: int) -> None:
    """`n` requests that nobody waits for, fifty at a time."""
    go = asyncio.Semaphore(50)
    await asyncio.gather(*(leave(run, ledger.open(stream=number % 2 == 1), rng, go) for number in range(n)))


async def outage(run: Rig, link: Relay, ledger: Ledger, *, forget: bool) -> tuple[Entry, Entry]:
    """The link goes down, somebody asks, it comes up, somebody asks: both entries. Answers meanwhile are kept waiting."""
    assert all(entry.status == 200 for entry in await ask_at_once(run, ledger, KEPT))
    link.down()
    (during,) = await ask_at_once(run, ledger, 1)
    link.up(forget=forget)
    (after,) = await ask_at_once(run, ledger, 1)
    return during, after


async def journey(folder: Path, cancelled: int) -> dict[str, Any]:
    """Two outages and `cancelled` cancellations; what was seen."""
    ledger, rng = Ledger(), random.Random(SEED)
    async with relay("") as link:
        with ExitStack() as stack:
            slots = {"a": {"endpoint": f"{link.url}/v1", "model": "a"}}
            timeouts = {"connect": DEADLINE, "first_token": DEADLINE, "between_tokens": DEADLINE, "total": 30.0}
            run = await asyncio.to_thread(stack.enter_context, rig(folder, slots=slots, timeouts=timeouts))
            link.target = run.a.url
            first = await outage(run, link, ledger, forget=False)
            second = await outage(run, link, ledger, forget=True)
            worker = run.worker()
            assert worker is not None
            await eventually(lambda: len(link.links) <= KEPT)
            before = worker.num_fds()
            link.down()
            await cancel(run, ledger, rng, cancelled // 2)
            link.up()
            run.a.order(delay=5.0)
            await cancel(run, ledger, rng, cancelled // 2)
            run.a.order(delay=0.0)
            await eventually(lambda: run.a.seen()["active"] == 0)
            await eventually(lambda: len(link.links) <= KEPT)
            last = await ask_at_once(run, ledger, KEPT)
            await eventually(lambda: worker.num_fds() <= before + KEPT)
            return {
                "first": first,
                "second": second,
                "last": last,
                "links": len(link.links),
                "accepted": link.accepted,
                "found": await asyncio.to_thread(run.verify),
                "asked": len(ledger.entries),
            }


def test_a_link_that_was_down_serves_the_first_request_after_it_and_no_slot_leaks(tmp_path: Path) -> None:
    cancelled = figure(1000, 5000)
    seen = asyncio.run(journey(tmp_path, cancelled))
    noticed = [seen[name][0].seconds for name in ("first", "second")]
    say("T16", SEED, cancelled=cancelled, links=seen["links"], accepted=seen["accepted"], noticed_s=max(noticed), **seen["found"])
    for name in ("first", "second"):
        during, after = seen[name]
        assert (during.status, after.status) == (504, 200), name
    assert within(max(noticed), 15.0)
    assert {entry.status for entry in seen["last"]} == {200}
    assert seen["links"] <= KEPT
    assert (seen["found"]["duplicates"], seen["found"]["open"], seen["found"]["corrupt"]) == (0, 0, 0)


@contextmanager
def far_server(delay: float) -> Iterator[tuple[str, Callable[[str], None]]]:
    """A model server in a network of its own, behind one link: its address, and what sets the link `up` or `down`.

    A link that is down takes bytes and loses them: the kernel here gets neither a reset nor an acknowledgement.
    """
    name, net = f"tk{os.getpid()}", f"10.213.{os.getpid() % 250}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    server = None
    try:
        try:
            ip("netns", "add", name)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a network of its own needs to be allowed to make one")
        ip("link", "add", name, "type", "veth", "peer", "name", "far", "netns", name)
        ip("addr", "add", f"{net}.1/30", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "addr", "add", f"{net}.2/30", "dev", "far")
        ip("-n", name, "link", "set", "far", "up")
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "tunekeeper.testing.upstream", "--host", f"{net}.2"]
        server = subprocess.Popen([*command, "--delay", str(delay)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["listening"], lambda state: ip("-n", name, "link", "set", "far", state)
    finally:
        if server is not None:
            server.terminate()
            server.communicate()
        if shutil.which("ip"):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


async def cut(run: Rig, ledger: Ledger, link: Callable[[str], None], *, waiting: bool) -> tuple[float, Entry, Entry]:
    """The link goes down while somebody waits for an answer, or before they ask: seconds until they were told, and how; it comes
    up, and the next one asks."""
    entry, wire = ledger.open(stream=False), Wire(run.url)
    asked = asyncio.create_task(ask(wire, entry))
    if waiting:
        await asyncio.sleep(0.5)
    link("down")
    began = time.monotonic()
    await asked
    noticed = time.monotonic() - began
    wire.close()
    link("up")
    (after,) = await ask_at_once(run, ledger, 1)
    return noticed, entry, after


def test_with_the_usual_deadlines_a_dead_link_is_noticed_in_ten_seconds(tmp_path: Path) -> None:
    outages = figure(1, 6)
    with far_server(delay=1.5) as (url, link), rig(tmp_path, slots={"a": {"endpoint": f"{url}/v1", "model": "a"}}) as run:
        ledger = Ledger()

        async def journey() -> list[tuple[float, Entry, Entry]]:
            assert {entry.status for entry in await ask_at_once(run, ledger, KEPT)} == {200}
            return [await cut(run, ledger, link, waiting=number % 2 == 0) for number in range(outages)]

        seen = asyncio.run(journey())
        say("T16", SEED, outages=outages, link="a real one", noticed_s=max(noticed for noticed, _, _ in seen), **run.verify())
        assert all(entry.status in (502, 504) for _, entry, _ in seen)
        assert [after.status for _, _, after in seen] == [200] * outages
        assert within(max(noticed for noticed, _, _ in seen), 25.0), "before the deadline of a first token"
