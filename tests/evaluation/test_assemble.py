from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.conftest import MODEL, TASK, question
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.evaluation import Case
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.rollout import Incident
from tunekeeper.evaluation import Config
from tunekeeper.evaluation.assemble import assemble
from tunekeeper.evaluation.casefile import export_cases
from tunekeeper.evaluation.results import REGRESSION
from tunekeeper.store.ledgers.datasets import save_dataset
from tunekeeper.store.ledgers.incidents import save_incident
from tunekeeper.workspace import Workspace


def freeze(ws: Workspace, numbers: range) -> str:
    rows = [
        {
            "id": f"e{i}",
            "messages": [{"role": "user", "content": question(i)}, {"role": "assistant", "content": "{}"}],
            "metadata": {"category": "new"},
        }
        for i in numbers
    ]
    manifest = ws.rows.put({"eval": [json.dumps(row).encode() + b"\n" for row in rows]})
    version = DatasetVersion(
        id=f"{MODEL}/d1", model=MODEL, number=1, digest="sha256:d", examples=9, train=0, eval=9, manifest=manifest
    )
    with ws.state.write(by="test") as tx:
        return save_dataset(tx, version).id


def test_incident_cases_and_new_rows_join_the_suite_s_own(ws: Workspace, write_suite: Callable[..., Path]) -> None:
    born = Case(id="inc_1-1", messages=({"role": "user", "content": "Broken once"},), expected="{}")
    with ws.control.write(by="test") as tx:
        save_incident(tx, Incident(id="inc_1", model=MODEL, version="v", rollout=None, reason="r", cases=(born,), state="closed"))
    dataset = freeze(ws, range(70, 90))
    suite = assemble(ws, TASK, Config(dataset_cases=6), write_suite(80), dataset)
    assert [len([c for c in suite.cases if tag in c.tags]) for tag in ("regression", "new")] == [1, 6]
    assert len(suite.cases) == 87
    fresh = [c for c in suite.cases if "new" in c.tags]
    # Questions that the suite asks already are not asked twice.
    assert all(int(c.id.rpartition("e")[2]) >= 80 for c in fresh)
    assert fresh[0].expected == "{}"
    assert suite.cases[0].messages[0] == {"role": "system", "content": TASK.system}
    assert assemble(ws, TASK, Config(dataset_cases=6), write_suite(80), dataset).digest == suite.digest


def test_targets_come_from_the_configuration_where_the_suite_states_none(ws: Workspace, write_suite: Callable[..., Path]) -> None:
    path = write_suite(5)
    stated = [(c.metric, c.at_least, c.margin) for c in assemble(ws, TASK, Config(accuracy=0.8), path).criteria]
    assert stated == [("accuracy", 0.8, None), ("format", 0.95, None), ("accuracy", None, 0.05)]
    own = assemble(ws, Model(name=MODEL), Config(), write_suite(5, "criteria: [{metric: accuracy, at_least: 0.7}]\n"))
    assert [(c.metric, c.at_least, c.margin) for c in own.criteria] == [("accuracy", 0.7, None), ("accuracy", None, 0.05)]


def test_another_model_s_suite_is_refused(ws: Workspace, write_suite: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="'support-desk', not 'billing-bot'") as refused:
        assemble(ws, Model(name="billing-bot"), Config(), write_suite(5))
    assert "models/billing-bot.yaml: evaluation: {suite: suites/billing-bot.yaml}" in str(refused.value)  # the other's stays his


def test_an_incident_case_that_was_written_to_the_file_is_asked_once_as_the_file_says(
    ws: Workspace, write_suite: Callable[..., Path]
) -> None:
    born = Case(id="inc_1-1", messages=({"role": "user", "content": "Broken once"},), expected="{}", source="inc_1:req_1")
    with ws.control.write(by="test") as tx:
        save_incident(tx, Incident(id="inc_1", model=MODEL, version="v", rollout=None, reason="r", cases=(born,), state="closed"))
    path = write_suite(4)
    assert export_cases(ws, MODEL, path.parent / "cases.jsonl") == 1
    cases = assemble(ws, TASK, Config(), path).cases
    assert [case.id for case in cases] == ["c0", "c1", "c2", "c3", "inc_1-1"]
    assert cases[-1].tags == (REGRESSION,)
