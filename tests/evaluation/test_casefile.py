from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.conftest import MODEL, TASK, rule
from tests.evaluation.test_assemble import freeze
from tunekeeper.core.errors import NotFound, UserError
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.rollout import Incident
from tunekeeper.evaluation import Config, run_exam
from tunekeeper.evaluation.casefile import checkout_suite, export_cases, init_suite
from tunekeeper.scoring import load_suite
from tunekeeper.store.ledgers.incidents import save_incident
from tunekeeper.workspace import Workspace


def test_a_first_suite_is_made_of_held_out_rows_and_never_overwritten(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "new" / "core.yaml"
    with pytest.raises(NotFound, match="no frozen dataset"):
        init_suite(ws, TASK, Config(), path)
    freeze(ws, range(60))
    assert init_suite(ws, TASK, Config(accuracy=0.85), path, most=50) == 50
    suite = load_suite(path)
    assert (suite.id, suite.model, suite.scorers) == (f"{MODEL}-core", MODEL, ("json_fields",))
    assert [(c.metric, c.at_least, c.margin) for c in suite.criteria] == [
        ("accuracy", 0.85, None),
        ("format", 0.95, None),
        ("accuracy", None, 0.05),
    ]
    assert (suite.cases[0].id, suite.cases[0].expected, suite.cases[0].category) == ("e0", "{}", "new")
    with pytest.raises(UserError, match=r"core\.yaml exists already"):
        init_suite(ws, TASK, Config(), path)


def test_incident_cases_join_a_file_once_and_keep_what_is_there(ws: Workspace, write_suite: Callable[..., Path]) -> None:
    write_suite(5)
    assert ws.project is not None
    file = ws.project / "suites" / "cases.jsonl"
    file.write_text(file.read_text().rstrip("\n"))
    assert export_cases(ws, MODEL, file) == 0
    born = Case(id="inc_1-1", messages=({"role": "user", "content": "Broken ö"},), expected="{}", source="inc_1:req_1")
    with ws.control.write(by="test") as tx:
        save_incident(tx, Incident(id="inc_1", model=MODEL, version="v", rollout=None, reason="r", cases=(born,)))
    assert export_cases(ws, MODEL, file) == 1
    assert export_cases(ws, MODEL, file) == 0
    cases = load_suite(file).cases
    assert len(cases) == 6
    assert (cases[-1].id, cases[-1].tags, cases[-1].messages[0]["content"], cases[-1].source) == (
        "inc_1-1",
        ("regression",),
        "Broken ö",
        "inc_1:req_1",
    )


def test_the_suite_of_an_exam_comes_back_as_it_was_locked(ws: Workspace, write_suite: Callable[..., Path], export: Any) -> None:
    path = write_suite(60, "criteria: [{metric: accuracy, at_least: 0.5}]\n")
    export("v1.0", rule(60))
    exam = run_exam(ws, TASK, Config(), "v1.0", path)
    write_suite(3)
    out = path.parent / "then.yaml"
    assert checkout_suite(ws, exam["exam"], out, dry_run=True) == 60
    assert not out.exists()
    assert checkout_suite(ws, exam["exam"], out) == 60
    again = run_exam(ws, TASK, Config(), "v1.0", out)
    assert (again["suite"], again["suite_digest"], again["verdict"]) == ("core", exam["suite_digest"], "pass")
    with pytest.raises(UserError, match="exists already"):
        checkout_suite(ws, exam["exam"], out)
