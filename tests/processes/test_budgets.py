"""Budgets after a start: the log says what was spent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.processes.test_plans import cli, event, version
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.serving import ApiKey, Inference
from tunekeeper.gateway import create_key
from tunekeeper.gateway.cells import FILE, FOLDER
from tunekeeper.gateway.counters import Counters
from tunekeeper.gateway.quotas import Moment, moment
from tunekeeper.processes import budgets
from tunekeeper.store.published import WorkerSlot
from tunekeeper.workspace import Workspace, create_workspace

PRICED = """\
models:
  desk:
    slots: {{a: {{endpoint: "{upstream}/v1", model: m, price_in: 100000, price_out: 100000}}}}
    route: {{a: 10000}}
"""


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock(datetime(2026, 2, 10, 12, tzinfo=UTC)))


@pytest.fixture
def upstream() -> Iterator[str]:
    command = [sys.executable, "-m", "tunekeeper.testing.upstream", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["listening"])
        process.terminate()


def asked(ws: Workspace, number: int, at: str, key_id: str | None, cost: float, purpose: str = "user") -> Inference:
    return Inference(
        request_id=f"req_{number:026d}",
        timestamp=datetime.fromisoformat(at + "+00:00"),
        model_id="desk",
        key_id=key_id,
        cost_usd=cost,
        purpose=purpose,  # type: ignore[arg-type]
        status="ok",
    )


def spent(ws: Workspace, key_id: str, period: int, now: Moment) -> int:
    counters = Counters(ws.root, "reader", tuple)
    try:
        return counters.used(key_id, period, now).spent
    finally:
        counters.close()


def test_each_key_starts_with_what_its_period_cost_so_far(ws: Workspace) -> None:
    stamps = (
        ("2026-01-31T23:00:00", 7.0),
        ("2026-02-01T00:00:00", 0.25),
        ("2026-02-09T23:59:59", 0.5),
        ("2026-02-10T08:00:00", 0.125),
    )
    records = [
        asked(ws, 10 * number + place, at, key_id, cost)
        for number, (at, cost) in enumerate(stamps)
        for place, key_id in enumerate(("key_day", "key_month", "key_free", None))
    ]
    records.append(asked(ws, 99, "2026-02-10T09:00:00", "key_day", 4.0, "shadow"))
    ws.log.append_import(records)
    day = ApiKey(id="key_day", hash="a", budget_usd=1.0, budget_period="day")
    month = ApiKey(id="key_month", hash="b", budget_usd=1.0)
    assert budgets.rebuild(ws, (day, month)) == 2
    now = moment(ws.clock.real(), ws.clock.utc())
    assert spent(ws, "key_day", now.period("day"), now) == 125_000_000
    assert spent(ws, "key_month", now.period("month"), now) == 875_000_000
    assert spent(ws, "key_free", now.period("month"), now) == 0


def test_a_start_with_a_wrong_clock_adds_up_the_period_that_the_log_ended_in_too(ws: Workspace) -> None:
    stamps = (("2026-02-10T08:00:00", 0.125), ("2026-02-11T09:00:00", 0.5))
    ws.log.append_import([asked(ws, number, at, "key_day", cost) for number, (at, cost) in enumerate(stamps)])
    key = ApiKey(id="key_day", hash="a", budget_usd=1.0, budget_period="day")
    assert budgets.rebuild(ws, (key,)) == 1
    now = moment(ws.clock.real(), ws.clock.utc())
    assert spent(ws, "key_day", now.period("day"), now) == 125_000_000, "what was spent later is no part of this day"
    assert spent(ws, "key_day", now.period("day") + 1, now) == 500_000_000


def test_nothing_is_rebuilt_while_a_worker_counts_or_where_no_key_has_a_budget(ws: Workspace) -> None:
    create_key(ws, requests_per_minute=5)
    assert budgets.restore(ws.root) is None
    assert not (ws.root / FOLDER).exists()
    create_key(ws, budget_usd=1.0)
    worker = WorkerSlot(ws.root, "w1")
    assert budgets.restore(ws.root) is None
    assert not (ws.root / FOLDER).exists()
    worker.close()
    assert budgets.restore(ws.root) is None
    assert (ws.root / FOLDER / FILE).exists()


def test_counters_of_an_earlier_release_go_when_nobody_holds_them(ws: Workspace) -> None:
    old = ws.root / FOLDER / "counters-2"
    old.parent.mkdir()
    old.write_bytes(bytes(64))
    worker = WorkerSlot(ws.root, "w1")
    assert (budgets.restore(ws.root), old.exists()) == (None, True)
    worker.close()
    assert (budgets.restore(ws.root), old.exists()) == (None, False)


def test_a_log_that_cannot_be_read_is_said_and_the_old_counts_go_on(ws: Workspace) -> None:
    create_key(ws, budget_usd=1.0)
    assert budgets.restore(ws.root) is None
    before = (ws.root / FOLDER / FILE).stat().st_ino
    (ws.root / FOLDER / f"{FILE}.new").mkdir()
    why = budgets.restore(ws.root)
    assert why is not None
    assert FILE in why
    assert (ws.root / FOLDER / FILE).stat().st_ino == before


def test_adding_up_that_began_early_counts_when_it_went_well_and_is_done_again_when_not(ws: Workspace) -> None:
    assert budgets.begin(ws.root) is None, "no key has a budget"
    create_key(ws, budget_usd=1.0)
    begun = budgets.begin(ws.root)
    assert begun is not None
    assert budgets.restore(ws.root, begun) is None
    first = (ws.root / FOLDER / FILE).stat().st_ino
    blocked = ws.root / FOLDER / f"{FILE}.new"
    blocked.mkdir()
    begun = budgets.begin(ws.root)
    assert begun is not None
    assert begun.wait(60) != 0
    blocked.rmdir()
    assert budgets.restore(ws.root, begun) is None
    assert (ws.root / FOLDER / FILE).stat().st_ino != first


def test_adding_up_that_nobody_waits_for_any_more_is_ended(ws: Workspace) -> None:
    create_key(ws, budget_usd=1.0)
    begun = budgets.begin(ws.root)
    assert begun is not None
    budgets.drop(begun)
    assert begun.returncode is not None
    budgets.drop(None)


def test_a_spent_budget_is_still_spent_when_everything_was_stopped_and_the_counters_are_lost(
    tmp_path: Path, upstream: str
) -> None:
    file, data = tmp_path / "gateway.yaml", tmp_path / "data"
    file.write_text(PRICED.format(upstream=upstream))
    with cli("key", "create", "--budget", "0.5", "--data", str(data), "--json") as made:
        assert made.stdout is not None
        key = json.loads(made.stdout.read())["key"]
    command = ("serve", "--config", str(file), "--data", str(data), "--port", "0", "--workers", "2")
    with cli(*command) as served:
        url = event(served, "ready")["url"]
        statuses = [version(url, key)[0] for _ in range(6)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    shutil.rmtree(data / FOLDER)
    with cli(*command) as served:
        assert version(event(served, "ready")["url"], key)[0] == 429
