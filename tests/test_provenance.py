from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound
from tunekeeper.core.ids import request_id
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.deployment import Artifact, Parity
from tunekeeper.core.nouns.evaluation import Exam, Verdict
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.core.nouns.training import TrainingRun, Version
from tunekeeper.provenance import nearest, trace
from tunekeeper.store.ledgers.artifacts import save_artifact
from tunekeeper.store.ledgers.datasets import save_dataset
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.runs import save_run
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.store.log import Spool
from tunekeeper.workspace import Workspace, create_workspace

AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def row(name: str, text: str, reviewer: str) -> dict:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "{}"}]
    return {"id": name, "messages": messages, "source": "file:t.csv:1", "metadata": {"id": name, "reviewer": reviewer}}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """One version that was learned, exported, examined, and one that was only declared."""
    workspace = create_workspace(tmp_path / "data", clock=ManualClock(AT))
    rows = [row("e1", "my invoice is wrong", "ann"), row("e2", "the parcel is late", "bob"), row("e3", "invoice twice", "ann")]
    manifest = workspace.rows.put({"train": [json.dumps(each).encode() + b"\n" for each in rows]})
    with workspace.state.write(by="test") as tx:
        save_dataset(
            tx,
            DatasetVersion(
                id="desk/d1", model="desk", number=1, digest="sha256:d", examples=3, train=3, eval=0, manifest=manifest
            ),
        )
        run = TrainingRun(
            id="run_1", model="desk", dataset="desk/d1", dataset_digest="d", recipe={}, recipe_digest="r",
            base="base", base_digest="b", state="done", final_loss=0.25, seconds=52.0,
        )  # fmt: skip
        save_run(tx, run)
        made = Version(
            id="desk@v1.0",
            model="desk",
            name="v1.0",
            major=1,
            minor=0,
            base="base",
            base_digest="sha256:b",
            adapter="sha256:a",
            run="run_1",
        )
        save_version(tx, made)
        save_version(
            tx, Version(id="desk@v0.0", model="desk", name="v0.0", major=0, minor=0, base="base", base_digest="sha256:b")
        )
        parity = Parity(verdict="pass")
        save_artifact(
            tx, Artifact(id="art_1", model="desk", version="desk@v1.0", engine="llamacpp", quantization="Q4_K_M", parity=parity)
        )
        exam = Exam(
            id="exam_1", model="desk", version="desk@v1.0", artifact="art_1", artifact_digest="x", suite="core", suite_digest="s",
            cases=200, verdict=Verdict(outcome="pass"),
        )  # fmt: skip
        save_exam(tx, exam)
    return workspace


def answered(ws: Workspace, version: str, **more: Any) -> str:
    """The id of a request that `version` answered; `more`: fields that differ."""
    id = request_id(AT, ws.request_key())
    spool = Spool(ws.root, "w1", ws.clock)
    spool.ended(
        {
            "request_id": id,
            "timestamp": AT.isoformat(),
            "model_id": "desk",
            "version": version,
            "variant": "champion",
            "slot": "desk-blue",
            "status": "ok",
            "latency_ms": 12.0,
            "request": b'{"model": "desk", "messages": [{"role": "user", "content": "an invoice is wrong"}]}',
            "response": b'{"choices": [{"message": {"role": "assistant", "content": "billing"}}]}',
            **more,
        }
    )
    spool.feedback(
        {"id": "fb_1", "request_id": id, "timestamp": AT.isoformat(), "kind": "edit", "value": "shipping", "by": "ann"}
    )
    spool.flush()
    spool.close()
    return id


def test_a_request_is_followed_to_the_people_who_reviewed_its_examples(ws):
    chain = trace(ws, answered(ws, "v1.0"))
    kinds = [link.kind for link in chain]
    assert kinds == [
        "request",
        "feedback",
        "version",
        "artifact",
        "exam",
        "run",
        "dataset",
        "example",
        "example",
        "example",
        "reviewers",
    ]
    said = {link.kind: link.summary for link in reversed(chain)}
    assert "'billing'" in said["request"]
    assert said["feedback"] == "edit 'shipping' by ann"
    assert "champion in slot desk-blue" in said["version"]
    assert said["artifact"].startswith("llamacpp Q4_K_M, parity pass")
    assert said["exam"] == "core: pass, 200 cases"
    assert said["run"] == "done, loss 0.250, 52 s"
    assert said["dataset"].startswith("3 to learn from, 0 held out")
    assert said["reviewers"] == "ann (2), bob (1)"
    assert next(link.id for link in chain if link.kind == "example") == "e1"


def test_a_request_of_ours_that_no_variant_answered_says_what_it_was_for(ws):
    said = {link.kind: link.summary for link in trace(ws, answered(ws, "v1.0", variant=None, purpose="probe"))}
    assert "probe in slot desk-blue" in said["version"]
    assert "None" not in said["version"]


def test_a_version_from_outside_ends_the_chain_with_a_line(ws):
    assert [(link.kind, link.summary) for link in trace(ws, answered(ws, "gpt-x"))][-1][1].endswith("not made here")
    assert trace(ws, "desk@v0.0")[-1].summary.startswith("no training run")


@pytest.mark.parametrize(
    ("id", "first"),
    [
        ("run_1", "run"),
        ("desk/d1", "dataset"),
        ("exam_1", "exam"),
        ("desk@v1.0", "version"),
        ("v1.0", "version"),
        ("art_1", "version"),
    ],
)
def test_a_chain_begins_at_any_record(ws, id, first):
    chain = trace(ws, id)
    assert (chain[0].kind, chain[-1].kind) == (first, "reviewers")


@pytest.mark.parametrize(
    "id",
    ["nonsense", "v7", "desk@v7", "run_2", "desk/d9", "req_01KE9Z0S3XJ5N4Q8R7T6V5W4Y3ffff", "rol_1", "inc_1", "cyc_1", "exam_2"],
)
def test_what_nobody_knows_is_not_found(ws, id):
    with pytest.raises(NotFound):
        trace(ws, id)


def test_an_imported_request_is_found_by_the_id_that_another_system_gave_it(ws: Workspace) -> None:
    ws.log.append_import([Inference(request_id="chatcmpl-7", timestamp=AT, model_id="churn", version="theirs", status="ok")])
    assert [(link.kind, link.id, link.summary) for link in trace(ws, "chatcmpl-7")] == [
        ("request", "chatcmpl-7", "2026-01-05 09:00:00 churn, ok"),
        ("version", "theirs", "user: not made here"),
    ]


def test_the_nearest_rows_share_most_words():
    rows = [row("a", "red apple", "x"), row("b", "red green apple pie", "x"), row("c", "blue", "x")]
    assert [found["id"] for _, found in nearest("red apple", rows, 2)] == ["a", "b"]
    assert nearest("", [], 2) == []
