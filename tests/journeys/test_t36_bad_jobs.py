"""T36: a training that is killed, hangs, floods, escapes or ends without a word: a named end, nothing left, no half model."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.journeys.rig import SECONDS, figure, say, within
from tests.patience import until
from tunekeeper import jobs, training
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.jobs.folder import read_json, started
from tunekeeper.store.ledgers.runs import save_run
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.workspace import Workspace, create_workspace

SEED = 36
BEAT = 0.5
"""Seconds between two looks of whoever waits for a job."""
CAPPED = 10_000_000
pytestmark = pytest.mark.timeout(SECONDS)
FAULTS = {
    "killed": "died 3 times",
    "hangs": "took longer than 5 s",
    "floods": "xxxx",
    "escapes": "ended with status 0",
    "silent": "ended with status 0",
    "empty": "adapter",
}
"""Kind → what its end is called."""


@dataclass(slots=True)
class End:
    """How one run ended."""

    why: str
    late: float
    left: int
    log: int


def ended(ws: Workspace, kind: str, ledger: Path, megabytes: int) -> End:
    """Have a training of a kind run to its end, looked at once a beat."""
    asked = {"ledger": str(ledger), "megabytes": megabytes}
    job = jobs.ensure(ws, f"badjobs:{kind}", asked, model="desk", timeout=5.0 if kind == "hangs" else None)
    with ws.state.write(by="test") as tx:
        run = save_run(
            tx,
            TrainingRun(
                id=ws.new_id("run"), model="desk", dataset="desk/v1", dataset_digest="sha256:0", recipe={}, base="base",
                recipe_digest="sha256:0", base_digest="sha256:0", job=job.id,
            ),
        )  # fmt: skip
    end = time.monotonic() + 900
    while run.state == "running" and time.monotonic() < end:
        time.sleep(BEAT)
        run = training.collect(ws, run)
    seen = time.time()
    lines = [line.split() for line in ledger.read_text().splitlines()]
    until(lambda: not any(started(int(pid)) for pid, _ in lines if int(pid) != os.getpid()))
    assert run.state == "failed", run
    return End(
        why=run.ended or "",
        late=seen - float(lines[-1][1]),
        left=sum(started(int(pid)) is not None for pid, _ in lines),
        log=(job.work.parent / "output.log").stat().st_size,
    )


def test_a_training_that_goes_wrong_has_a_named_end_and_leaves_neither_processes_nor_half_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    ws = create_workspace(tmp_path / "data", clock=ManualClock())
    found: dict[str, End] = {}
    for kind, name in FAULTS.items():
        for number in range(figure(1, 20) if kind != "floods" else 1):
            found[kind] = ended(ws, kind, tmp_path / f"{kind}-{number}", figure(100, 10_240))
            assert name in found[kind].why, (kind, found[kind])
    with ws.state.read() as tx:
        versions = len(find_versions(tx, model="desk"))
    late = {kind: end.late for kind, end in found.items() if kind != "hangs"}
    say(
        "T36",
        SEED,
        faults=len(found),
        left=sum(end.left for end in found.values()),
        longest_log=max(end.log for end in found.values()),
        half_models=versions,
        late_s=max(late.values()),
    )
    assert versions == 0
    assert sum(end.left for end in found.values()) == 0
    assert max(end.log for end in found.values()) <= CAPPED
    assert within(max(late.values()), 20 * BEAT)


def test_what_escaped_a_job_whose_keeper_was_killed_is_ended_before_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    ws, ledger = create_workspace(tmp_path / "data", clock=ManualClock()), tmp_path / "ledger"
    job = jobs.ensure(ws, "badjobs:escaped", {"ledger": str(ledger)})
    until(lambda: ledger.exists() and len(ledger.read_text().splitlines()) >= 2)
    escaped = int(ledger.read_text().splitlines()[1].split()[0])
    keeper = read_json(job.work.parent / "wrapper.json")
    assert keeper is not None
    os.kill(int(keeper["pid"]), 9)

    cancelled = jobs.cancel(ws, job.id)

    assert cancelled.state == "cancelled"
    until(lambda: started(escaped) is None)
