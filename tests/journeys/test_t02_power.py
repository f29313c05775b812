"""T02: the power is cut under databases, published routes and spool: nothing acknowledged is lost or half there."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.rig import SECONDS, WHOLE, figure, say
from tests.store.log.powercut import cut_once, numbered
from tests.store.powercut import RecordingOs, Tape, recorded, sqlite_library
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.rollout.moves import promote, publish_newest, rollback, set_route
from tunekeeper.store import published
from tunekeeper.store.ledgers.outbox import Message, append_message
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.store.transactions import append_audit
from tunekeeper.workspace import Workspace, create_workspace, open_workspace

SEED = 2
MODEL = "desk"
STEPS, IMAGES = 15, 40
pytestmark = pytest.mark.timeout(SECONDS)


@dataclass(slots=True)
class Known:
    """What an outsider knows: what was asked for, by the generation or number it would get."""

    weights: dict[int, dict[str, int]] = field(default_factory=dict)
    moved: set[int] = field(default_factory=set)
    messages: int = 0


def live(ws: Workspace, tape: Tape, rng: random.Random) -> Known:
    """Some moves of traffic and some messages; each is told to an outsider as soon as its call has returned."""
    known, now, shared = Known(), "a", False
    for _ in range(STEPS):
        number, other = published.published_generation(ws.root) or 0, "b" if now == "a" else "a"
        kind = rng.choice(("promote", "share", "back", "tell", "tell"))
        if kind == "tell":
            with ws.state.write(by="test") as tx:
                append_message(tx, Message(id=f"m{known.messages}", kind="alert", subject="x" * rng.randrange(3000)))
                append_audit(tx, ledger="test", id=f"m{known.messages}", rev=0)
            known.messages += 1
            tape.note("done", ("message", known.messages))
            continue
        if kind == "share":
            known.weights[number + 1] = {now: 9000, other: 1000}
            move = set_route(ws, MODEL, known.weights[number + 1], by="test")
            shared = True
        else:
            now = now if kind == "back" and shared else other  # a rollback leaves the challenger, where there is one
            known.weights[number + 1], shared = {now: 10000}, False
            known.moved.add(number + 1)
            step = promote if kind == "promote" else _back
            move = step(ws, MODEL, now, by="test", reason="x")
        assert move.route_version == number + 1
        tape.note("done", ("route", move.route_version))
    return known


def _back(ws: Workspace, model: str, slot: str, *, by: str, reason: str) -> Any:
    return rollback(ws, model, to=slot, by=by, reason=reason)


def check(image: Path, known: Known, done: list[Any]) -> bool:
    """What must be in an image; returns whether it holds less than what was asked for until the end."""
    with closing(sqlite3.connect(image / "control.db")) as control:
        newest = _moves(control, image, known, max((n for what, n in done if what == "route"), default=min(known.weights) - 1))
    with closing(sqlite3.connect(image / "state.db")) as state:
        assert rows(state, "pragma integrity_check") == ["ok"]
        messages = set(rows(state, "select id from state_outbox"))
        assert messages == set(rows(state, "select id from state_audit where ledger = 'test'")), "a step is half there"
        assert len(messages) >= max((n for what, n in done if what == "message"), default=0)
    return newest < max(known.weights) or len(messages) < known.messages


def _moves(control: sqlite3.Connection, image: Path, known: Known, told: int) -> int:
    """Look at the moves of traffic of an image; `told`: the last one that was acknowledged. Returns the last one committed."""
    assert rows(control, "pragma integrity_check") == ["ok"]
    newest = int(rows(control, "select value from sequences where name = 'generation'")[0])
    assert newest >= told, "a move that was acknowledged is lost"
    routes = {
        body["generation"]: {share["slot"]: sum(high - low for low, high in share["ranges"]) for share in body["shares"]}
        for body in map(json.loads, rows(control, "select body from routes"))
    }
    mine = {number: weights for number, weights in known.weights.items() if number <= newest}
    assert {number: weights for number, weights in routes.items() if number in known.weights} == mine
    moves = {json.loads(text)["generation"] for text in rows(control, "select body from promotions")}
    assert moves & known.moved == known.moved & mine.keys(), "a step is half there"
    obeyed = published.published_generation(image)
    assert obeyed is not None
    assert told <= obeyed <= newest, "obeyed is what was acknowledged, or what is committed"
    route = published.load(image / "routes" / str(obeyed), obeyed).routes[MODEL]
    assert obeyed not in known.weights or {share.slot: share.weight for share in route.shares} == known.weights[obeyed]
    return newest


def rows(connection: sqlite3.Connection, query: str) -> list[Any]:
    """The first column of what a query finds."""
    return [row[0] for row in connection.execute(query)]


@pytest.fixture
def sqlite() -> Any:
    """The library under `sqlite3`, its functions callable."""
    library = sqlite_library()
    if library is None:
        pytest.skip("this Python hides its SQLite: no VFS can be put before it")
    return library


def one_life(folder: Path, library: Any, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> tuple[Tape, Known]:
    """A workspace with a route, and what happened on its disk during some steps."""
    ws = create_workspace(folder)
    with ws.control.write(by="test") as tx:
        for name in "ab":
            save_slot(tx, Slot(id=name, model=MODEL, version=f"v{name}", endpoint="http://x/v1", observed="ready", gated=True))
    promote(ws, MODEL, "a", by="test", reason="first")
    tape = Tape(folder)
    with recorded(tape, library), monkeypatch.context() as patched:
        patched.setattr(published, "os", RecordingOs(tape))
        known = live(ws, tape, rng)
    return tape, known


def test_a_power_cut_under_the_databases_and_the_routes_loses_no_acknowledged_step(
    tmp_path: Path, sqlite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, behind = figure(200, 5000), 0
    for life in range(seeds // IMAGES):
        rng = random.Random(SEED * 10_000 + life)
        tape, known = one_life(tmp_path / "data", sqlite, rng, monkeypatch)
        for number in range(IMAGES):
            image = tmp_path / "image"
            moment = rng.randrange(len(tape.notes) + 1)
            tape.image(image, moment, rng)
            behind += check(image, known, tape.done(moment))
            if number == 0:
                found = open_workspace(image)
                newest = publish_newest(found)
                assert published.PublishedReader(image).current().generation == newest
                assert found.control.damage() == found.state.damage() == []
            shutil.rmtree(image)
        shutil.rmtree(tmp_path / "data")
    say("T02", SEED, cuts=seeds, behind_the_end=behind)  # a step that is lost or half done has failed `check`
    assert behind > seeds / 2, "most cuts come before the last step, else they show nothing"


def test_the_same_cuts_do_lose_what_no_sync_covers(tmp_path: Path, sqlite: Any) -> None:
    """What the test above would show of a store that does not sync."""
    path = tmp_path / "data" / "some.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("create table kept (number integer)")
        connection.execute("pragma journal_mode=wal")
    tape, rng, lost = Tape(path.parent), random.Random(SEED), 0
    with recorded(tape, sqlite), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma synchronous=off")
        for number in range(20):
            connection.execute("insert into kept values (?)", (number,))
            tape.note("done", number)
    for number in range(10):
        moment = rng.randrange(len(tape.notes) // 2, len(tape.notes))
        tape.image(tmp_path / str(number), moment, rng)
        with closing(sqlite3.connect(tmp_path / str(number) / "some.db")) as found:
            lost += len(rows(found, "select number from kept")) < len(tape.done(moment))
    assert lost > 5


@pytest.mark.skipif(not WHOLE, reason="tests/store/log/test_powercut.py does it with 200 seeds in each run")
def test_five_thousand_power_cuts_under_the_spool_lose_nothing_acknowledged(tmp_path: Path) -> None:
    clock, cuts = ManualClock(), figure(200, 5000)
    record, lost, cut_off = numbered(clock), 0, 0
    for seed in range(cuts):
        ledger, found = cut_once(tmp_path / "data", tmp_path / "image", clock, record, seed)
        lost += len(ledger.acknowledged - found.keys())
        cut_off += len(ledger.written) - len(found)
        shutil.rmtree(tmp_path / "data")
        shutil.rmtree(tmp_path / "image")
    say("T02", SEED, spool_cuts=cuts, lost=lost, not_acknowledged_and_gone=cut_off)
    assert lost == 0
    assert cut_off > cuts / 4, "the images must lose what was not synced, else they show nothing"
