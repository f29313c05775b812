from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.conftest import MODEL, TASK, rule
from tunekeeper.core.errors import ConfigError, NotFound, UpstreamUnavailable
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.serving import Route, Share, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.evaluation import Config, run_exam
from tunekeeper.evaluation.exam import find_exam, locked_suite, results_of
from tunekeeper.store.ledgers.artifacts import save_artifact
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.scores import find_scores
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import Workspace

Export = Callable[..., Artifact]
Suite = Callable[..., Path]


def test_an_exam_of_a_good_version_passes_with_numbers_and_leaves_its_trace(
    ws: Workspace, export: Export, write_suite: Suite
) -> None:
    artifact = export("v1.0", rule(80, wrong=1))
    found = run_exam(ws, TASK, Config(), "v1.0", write_suite(80))
    assert (found["verdict"], found["cases"], found["inconclusive_because"], found["compared_with"]) == ("pass", 80, None, None)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(79 / 80)
    assert found["metrics"]["format"]["n"] == 80
    exam = find_exam(ws, found["exam"])
    assert (exam.artifact, exam.artifact_digest, exam.state) == (artifact.id, artifact.digest, "done")
    assert len(results_of(ws, exam)) == 80
    with ws.state.read() as tx:
        scores = find_scores(tx, subject=exam.id, scorer="json_fields")
    assert sum(s.value == 0 for s in scores) == 1
    assert len(scores) == 80
    lock = locked_suite(ws, exam)
    assert lock.locked is not None
    assert exam.created is not None
    assert lock.locked <= exam.created


def test_few_cases_are_inconclusive_and_a_bad_version_fails(ws: Workspace, export: Export, write_suite: Suite) -> None:
    export("v1.0", rule(80))
    few = run_exam(ws, TASK, Config(), f"{MODEL}@v1.0", write_suite(20))
    assert (few["verdict"], few["inconclusive_because"]) == ("inconclusive", "20 cases of at least 50")
    export("v1.1", rule(80, wrong=60))
    assert run_exam(ws, TASK, Config(), "v1.1", write_suite(80))["verdict"] == "fail"


def test_a_candidate_is_paired_with_the_champion(
    ws: Workspace, export: Export, write_suite: Suite, make_champion: Callable[[Artifact], Slot]
) -> None:
    make_champion(export("v1.0", rule(80)))
    export("v1.1", rule(80, wrong=16))
    criteria = "criteria: [{metric: accuracy, at_least: 0.5}]\n"
    found = run_exam(ws, TASK, Config(), "v1.1", write_suite(80, criteria))
    assert (found["verdict"], found["rules"], found["compared_with"]) == ("fail", ["GATE-01"], f"{MODEL}@v1.0")
    assert found["metrics"]["accuracy_vs_champion"]["value"] == pytest.approx(-0.2)
    live = run_exam(ws, TASK, Config(), "@champion", write_suite(80, criteria))
    assert (live["verdict"], live["version"], live["compared_with"]) == ("pass", f"{MODEL}@v1.0", None)


def test_criteria_cannot_be_changed_after_a_version_was_judged_by_others(
    ws: Workspace, export: Export, write_suite: Suite
) -> None:
    export("v1.0", rule(60, wrong=12))
    assert run_exam(ws, TASK, Config(), "v1.0", write_suite(60))["verdict"] == "fail"
    softer = write_suite(60, "criteria: [{metric: accuracy, at_least: 0.5}]\n")
    with pytest.raises(ConfigError, match=r"criteria were changed after support-desk@v1.0 was judged"):
        run_exam(ws, TASK, Config(), "v1.0", softer)
    assert run_exam(ws, TASK, Config(), "v1.0", softer, relock="the target was a typing error")["verdict"] == "pass"
    assert run_exam(ws, TASK, Config(), "v1.0", softer)["verdict"] == "pass"
    more = write_suite(64, "criteria: [{metric: accuracy, at_least: 0.5}]\n")
    assert run_exam(ws, TASK, Config(), "v1.0", more)["cases"] == 64


def test_before_the_first_champion_the_prompted_base_is_the_comparison(ws: Workspace, export: Export, write_suite: Suite) -> None:
    export("base-prompted", rule(80, wrong=50), adapter=None, system="You triage.")
    export("v1.0", rule(80, wrong=1))
    found = run_exam(ws, TASK, Config(), "v1.0", write_suite(80))
    assert (found["verdict"], found["compared_with"]) == ("pass", f"{MODEL}@base-prompted")
    assert found["metrics"]["accuracy_vs_champion"]["value"] == pytest.approx(49 / 80)


def test_unknown_versions_and_missing_artifacts_are_one_clear_line(ws: Workspace, write_suite: Suite) -> None:
    with pytest.raises(NotFound, match="no version 'v9'"):
        run_exam(ws, TASK, Config(), "v9", write_suite(60))
    with ws.state.write(by="test") as tx:
        save_version(tx, Version(id=f"{MODEL}@v2", model=MODEL, name="v2", major=2, minor=0, base="b", base_digest="sha256:b"))
    with pytest.raises(NotFound, match="no artifact to examine"):
        run_exam(ws, TASK, Config(), "v2", write_suite(60))
    with pytest.raises(NotFound, match="no route"):
        run_exam(ws, TASK, Config(), "@champion", write_suite(60))


def test_a_hosted_model_is_asked_where_its_slot_says_and_its_silence_is_reported(ws: Workspace, write_suite: Suite) -> None:
    hosted: dict[str, Any] = {"model": MODEL, "engine": "openai", "version": "hosted-1"}
    with ws.state.write(by="test") as tx:
        version = Version(
            id=f"{MODEL}@hosted-1", model=MODEL, name="hosted-1", major=1, minor=1, base="b", base_digest="sha256:b"
        )
        save_version(tx, version)
        save_artifact(tx, Artifact(id="art_h", model=MODEL, version=version.id, engine="openai", hosted="ft:x"))
    with pytest.raises(NotFound, match="no slot says where it answers"):
        run_exam(ws, TASK, Config(), "hosted-1", write_suite(60))
    with ws.control.write(by="test") as tx:
        save_slot(tx, Slot(id="h", artifact="art_h", endpoint="http://127.0.0.1:9/v1", **hosted))
        save_route(
            tx, Route(model=MODEL, shares=(Share(slot="h", variant="champion", ranges=((0, 10_000),)),), champion="h", by="test")
        )
    with pytest.raises(UpstreamUnavailable, match="8 cases in a row got no answer"):
        run_exam(ws, TASK, Config(), "hosted-1", write_suite(60))
