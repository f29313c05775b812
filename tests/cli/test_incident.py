from __future__ import annotations

import pytest

from tests.rollout.conftest import CONFIG, canary, desk, new_desk, now_of
from tests.rollout.test_canary import looks, step
from tunekeeper.testing.desk import MODEL

__all__ = ["desk", "new_desk"]
ANSWERS = ("--why-missed", "no such tickets", "--what-changes", "the suite", "--retry-on", "2026-02-01")


@pytest.fixture
def gone_back(desk):
    """A canary that did harm and went back by itself."""
    canary(desk)
    step(desk)
    assert looks(desk, 24, 120, wrong={"green": 0.9}).state == "rolled_back"
    return desk


def test_incidents_are_listed_with_their_cases(tell, gone_back):
    id = now_of(gone_back).incident
    [listed] = tell("incident", "ls", "--model", MODEL, "--dir", gone_back.folder, "--json").json
    assert (listed["id"], listed["state"], listed["rollout"]) == (id, "open", "rol_1")
    told = tell("incident", "cases", id, "--dir", gone_back.folder)
    lines = told.out.splitlines()
    assert 0 < len(lines) <= CONFIG.incident_cases
    assert lines[0].startswith(f"{id}-1 [")
    assert '→ {"category": ' in lines[0]
    assert id in tell("incident", "ls", "--model", MODEL, "--dir", gone_back.folder).out
    assert id in tell("incident", "ls", "--dir", gone_back.folder).out, "those of all models"


def test_an_incident_is_closed_once_with_all_answers(tell, gone_back):
    id = now_of(gone_back).incident
    asked = ("incident", "close", id, *ANSWERS, "--dir", gone_back.folder)
    assert tell(*asked[:-4], "someday", *asked[-2:]).code == 2, "that is no date"
    told = tell(*asked)
    assert (told.code, told.out) == (0, f"closed {id}; next try 2026-02-01\n")
    again = tell(*asked)
    assert (again.code, "closed already" in again.err) == (2, True)
    assert tell("incident", "close", "inc_none", *ANSWERS, "--dir", gone_back.folder).code == 2


def test_an_unknown_incident_is_one_line(tell, desk):
    told = tell("incident", "cases", "inc_none", "--dir", desk.folder)
    assert (told.code, "inc_none" in told.err, told.err.count("\n")) == (2, True, 1)
