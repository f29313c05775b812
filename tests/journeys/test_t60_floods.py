"""T60: one key floods, keys are guessed by the thousand, labels are made up: the others are served, and nothing grows with it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.rig import MODEL, SECONDS, Entry, Ledger, Rig, Wire, ask, at, figure, rig, say, watched, within
from tests.outside.conftest import call, until
from tunekeeper.core.ids import new_id
from tunekeeper.core.nouns.serving import ApiKey
from tunekeeper.gateway.auth import hash_key, new_key
from tunekeeper.store.ledgers.keys import save_key
from tunekeeper.store.published import barrier
from tunekeeper.store.publishing import publish_newest
from tunekeeper.workspace import open_workspace

SEED = 60
RATE = 60
"""Requests a minute that the flooding key may make."""
pytestmark = pytest.mark.timeout(SECONDS)


def bearer(key: str) -> str:
    """What `ask` takes for `host`, with a key behind it."""
    return f"x\r\nauthorization: Bearer {key}"


def key(run: Rig, *words: str) -> str:
    """A fresh key."""
    made = call("key", "create", *words, "--data", run.data, "--json")
    assert made.code == 0, made.err
    return str(made.json["key"])


async def calm(run: Rig, ledger: Ledger, secret: str, n: int) -> list[float]:
    """One client after another's answer, `n` times; how many seconds each took."""
    wire, found = Wire(run.url), []
    for _ in range(n):
        entry = await ask(wire, ledger.open(), host=bearer(secret))
        assert (entry.status, entry.whole) == (200, True), entry
        found.append(entry.seconds)
        await asyncio.sleep(0.005)
    wire.close()
    return found


async def flood(run: Rig, ledger: Ledger, secret: str, over: asyncio.Event) -> None:
    """Ask, and ask again, whatever is said."""
    wire = Wire(run.url)
    while not over.is_set():
        await ask(wire, ledger.open(), host=bearer(secret))
    wire.close()


async def beside(run: Rig, good: Ledger, bad: Ledger, keys: tuple[str, str], n: int) -> tuple[list[float], list[float]]:
    """Seconds of a calm client's requests alone, and beside a flood on ten connections."""
    await calm(run, good, keys[0], 20)
    alone = await calm(run, good, keys[0], n)
    over = asyncio.Event()
    flooding = [asyncio.create_task(flood(run, bad, keys[1], over)) for _ in range(10)]
    meanwhile = await calm(run, good, keys[0], n)
    over.set()
    await asyncio.gather(*flooding)
    return alone, meanwhile


def test_a_flood_on_one_key_costs_the_others_nothing_but_a_moment(tmp_path: Path) -> None:
    n = figure(60, 3000)
    with rig(tmp_path, answer="fine") as run:
        keys = key(run), key(run, "--rate", str(RATE), "--concurrent", "4")
        good, bad = Ledger("good"), Ledger("bad")
        began = time.monotonic()
        alone, meanwhile = asyncio.run(beside(run, good, bad, keys, n))
        minutes = int((time.monotonic() - began) / 60) + 1
        admitted = {entry.id for entry in bad.answered}
        refused = [entry for entry in bad.entries.values() if entry.status == 429]
        more = at(meanwhile, 0.99) / at(alone, 0.99) - 1
        say("T60", SEED, flood=len(bad.entries), admitted=len(admitted), p99_alone_ms=at(alone, 0.99) * 1e3, p99_more=more)
        assert good.errors() == {}
        assert len(admitted) + len(refused) == len(bad.entries), bad.errors()
        assert 0 < len(admitted) <= RATE * (minutes + 1)
        assert len(refused) > n
        assert all(int(entry.heads["retry-after"]) > 0 and b'"code":"rate_limited"' in entry.text for entry in refused)
        assert within(at(meanwhile, 0.5), at(alone, 0.5) + 0.5)
        logged = {row["client_request_id"] for row in run.records()}
        assert logged == set(good.entries) | admitted, "what is refused fills no disk"
        assert run.a.seen()["requests"] == len(logged)


async def guess(run: Rig, secrets: list[str]) -> Counter[int]:
    """One request with each key."""
    found: Counter[int] = Counter()

    async def client(number: int) -> None:
        wire = Wire(run.url)
        for secret in secrets[number::4]:
            found[(await ask(wire, Entry(f"g{number}", stream=False), host=bearer(secret))).status] += 1
        wire.close()

    await asyncio.gather(*(client(number) for number in range(4)))
    return found


async def guesses(run: Rig, first: list[str], *many: list[str]) -> tuple[list[Counter[int]], float]:
    """One request with each key of each list; the statuses, and how many MB the gateway grew by after the `first` ones."""
    await guess(run, first)
    async with watched(run, probe=False) as seen:
        found = [await guess(run, secrets) for secrets in many]
    return found, seen.grown_mb


def keep_keys(run: Rig, n: int, rng: random.Random) -> list[str]:
    """`n` keys that may ask once a minute each, published together."""
    ws = open_workspace(run.data)
    secrets = [new_key(rng.randbytes) for _ in range(n)]
    with ws.control.write(by="test") as tx:
        for secret in secrets:
            made = ApiKey(
                id=new_id("key", ws.clock.utc(), rng.randbytes), hash=hash_key(secret, ws.pepper()), requests_per_minute=1
            )
            save_key(tx, made)
    barrier(ws.root, publish_newest(ws.control, ws.root, by="test"))
    return secrets


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A gateway that asks for keys."""
    with rig(tmp_path_factory.mktemp("t60"), answer="fine") as made:
        key(made)
        yield made


def test_keys_by_the_thousand_are_known_or_refused_in_bounded_memory(run: Rig) -> None:
    n, rng = figure(600, 10_000), random.Random(SEED)
    began = time.monotonic()
    real = keep_keys(run, n, rng)
    published = time.monotonic() - began
    wrong = [new_key(rng.randbytes) for _ in range(n)]
    (first, again, guessed), grown = asyncio.run(guesses(run, real[:100], real[100:], real[100:], wrong))
    say("T60", SEED, keys=n, published_s=published, rss_mb=grown, first=dict(first), again=dict(again), guessed=dict(guessed))
    assert first == {200: n - 100}
    assert set(again) <= {200, 429}
    assert guessed == {401: n}
    assert grown < 30


async def label(run: Rig, secret: str, n: int) -> Counter[int]:
    """Requests with names of their own in every place that could become a label."""
    found: Counter[int] = Counter()
    wire, numbers = Wire(run.url), itertools.count()
    for i in range(n):
        name = f"name-{i}"
        extra = f"\r\nx-tunekeeper-segment-{name}: {name}\r\nx-tunekeeper-unit: {name}\r\nx-tunekeeper-purpose: {name}"
        told = {"user": name, "metadata": {name: name, "user_id": name}}
        model = (MODEL, name, f"{MODEL}@{name}")[i % 3]
        entry = await ask(wire, Entry(f"l{next(numbers)}", stream=False), host=bearer(secret) + extra, model=model, **told)
        found[entry.status] += 1
    wire.close()
    return found


def series(run: Rig, secret: str) -> set[str]:
    """Names and labels of everything at /metrics."""
    answer = run.gateway.get("/metrics", secret)
    assert answer.status_code == 200
    return {line.rpartition(" ")[0] for line in answer.text.splitlines() if not line.startswith("#")}


def test_no_caller_can_make_a_label(run: Rig) -> None:
    n = figure(300, 9000)
    infer, look = key(run), key(run, "--scope", "metrics")
    assert asyncio.run(label(run, infer, 3)) == {200: 1, 404: 2}
    until(lambda: "tunekeeper_shadow_sent_total" in series(run, look))  # those without labels come within a second
    before = series(run, look)
    assert asyncio.run(label(run, infer, n)) == {200: n // 3, 404: n - n // 3}
    after = series(run, look)
    say("T60", names=n, series=len(after), more=len(after - before))
    assert after == before
