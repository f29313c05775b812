from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.serving import Route, Share, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.artifacts import save_artifact
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import Workspace, create_workspace

MODEL = "support-desk"
TASK = Model(
    name=MODEL,
    system="Triage the ticket. Answer with JSON.",
    format={"kind": "json", "fields": {"category": ["billing", "refund"]}},
)


def triage(category: str) -> str:
    return json.dumps({"category": category})


def question(i: int) -> str:
    return f"Ticket {i}: {'my bill is wrong' if i % 2 else 'send my money back'}"


def right(i: int) -> str:
    return triage("billing" if i % 2 else "refund")


def rule(n: int, wrong: int = 0) -> dict[str, Any]:
    """The fake server's answers to `n` questions, the first `wrong` of them with the other category."""
    return {"answers": {question(i): right(i + 1) if i < wrong else right(i) for i in range(n)}, "default": "?"}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    project = tmp_path / "project"
    (project / "suites").mkdir(parents=True)
    return create_workspace(project / ".tunekeeper", project=project, clock=ManualClock())


@pytest.fixture
def write_suite(ws: Workspace) -> Callable[..., Path]:
    def write(n: int = 80, criteria: str = "") -> Path:
        assert ws.project is not None
        folder = ws.project / "suites"
        rows = [
            {"id": f"c{i}", "input": question(i), "expected": json.loads(right(i)), "category": ("refund", "billing")[i % 2]}
            for i in range(n)
        ]
        (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "core.yaml").write_text(f"suite: core\nmodel: {MODEL}\nscorers: [json_fields]\n{criteria}cases: cases.jsonl\n")
        return folder / "core.yaml"

    return write


@pytest.fixture
def export(ws: Workspace) -> Callable[..., Artifact]:
    """Makes a version and its artifact, served by the fake engine from a rule."""

    def make(name: str, answers: dict[str, Any], adapter: str | None = "sha256:a", system: str | None = None) -> Artifact:
        digest = ws.blobs.put_bytes(json.dumps({**answers, "by": name}).encode())
        version = Version(
            id=f"{MODEL}@{name}",
            model=MODEL,
            name=name,
            major=1,
            minor=0,
            base="base",
            base_digest="sha256:b",
            adapter=adapter,
            system=system,
        )
        artifact = Artifact(id=f"art_{name}", model=MODEL, version=version.id, engine="fake", digest=digest)
        with ws.state.write(by="test") as tx:
            save_version(tx, version)
            return save_artifact(tx, artifact)

    return make


@pytest.fixture
def make_champion(ws: Workspace) -> Callable[[Artifact], Slot]:
    def make(artifact: Artifact) -> Slot:
        assert artifact.digest is not None
        slot = Slot(
            id="blue",
            model=MODEL,
            version=artifact.version.partition("@")[2],
            engine="fake",
            artifact=artifact.id,
            digest=artifact.digest,
            files={"model": str(ws.blobs.path(artifact.digest).relative_to(ws.root))},
            observed="ready",
            endpoint="http://127.0.0.1:9/v1",
        )
        with ws.control.write(by="test") as tx:
            saved = save_slot(tx, slot)
            shares = (Share(slot="blue", variant="champion", ranges=((0, 10_000),)),)
            save_route(tx, Route(model=MODEL, shares=shares, champion="blue", by="test"))
        return saved

    return make
