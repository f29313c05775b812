"""Cases born from a person's requests leave their incident; the incident stays."""

from __future__ import annotations

from pathlib import Path

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.rollout import Incident
from tunekeeper.rollout.erase import erase_cases
from tunekeeper.store.ledgers.incidents import load_incident, save_incident
from tunekeeper.workspace import create_workspace


def test_only_the_cases_of_these_requests_go(tmp_path: Path) -> None:
    ws = create_workspace(tmp_path / "ws", clock=ManualClock())
    cases = tuple(
        Case(id=f"inc_1-{n}", messages=({"role": "user", "content": f"q{n}"},), source=f"inc_1:req_{n}") for n in range(3)
    )
    incident = Incident(
        id="inc_1", model="desk", version="v1", rollout=None, reason="worse", requests=("req_0", "req_1"), cases=cases
    )
    with ws.control.write(by="test") as tx:
        save_incident(tx, incident)
    assert erase_cases(ws, {"req_1", "req_9"}, dry_run=True).names == {"inc_1-1"}
    assert erase_cases(ws, {"req_1", "req_9"}).cases == 1
    with ws.control.read() as tx:
        after = load_incident(tx, "inc_1")
    assert (after.cases, after.reason, after.requests) == ((cases[0], cases[2]), "worse", ("req_0", "req_1"))
    assert erase_cases(ws, {"req_1"}).cases == 0
