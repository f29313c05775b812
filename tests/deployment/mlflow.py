"""What the tests of the way to MLflow share: a version with its run and exam, as training and the gate leave them."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter
from tunekeeper.core.nouns.evaluation import Estimate, Exam, Verdict
from tunekeeper.core.nouns.training import TrainingRun, Version
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.runs import save_run
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.text.tokenizers import read_tokenizer
from tunekeeper.workspace import Workspace

NOW = datetime(2026, 2, 3, tzinfo=UTC)
RECIPE = {"rank": 4, "alpha": 8, "learning_rate": 2e-4, "modules": ["q_proj", "v_proj"], "packing": True, "note": None}


def make_trained(
    ws: Workspace, folder: Path, *, name: str = "v1.0-x", seed: int = 1, loss: tuple[float, ...] = (2.0, 1.0)
) -> Version:
    """A version that a run made and an exam passed; its adapter says which base it needs."""
    adapter = make_adapter(folder / f"adapter-{name}", seed, base=weights_digest(BASE))
    tokenizer = read_tokenizer(BASE)
    version = Version(
        id=f"support-desk@{name}", model="support-desk", name=name, major=1, minor=0, base=str(BASE),
        base_digest=weights_digest(BASE), tokenizer_digest=tokenizer.digest, template_digest=tokenizer.template_digest,
        adapter=ws.blobs.put_folder(adapter), dataset="support-desk/d1", run=f"run_{name}",
    )  # fmt: skip
    run = TrainingRun(
        id=f"run_{name}", model="support-desk", dataset="support-desk/d1", dataset_digest="sha256:" + "d" * 64, recipe=RECIPE,
        recipe_digest="sha256:" + "e" * 64, base=str(BASE), base_digest=version.base_digest, state="done", loss=loss,
        final_loss=loss[-1], eval_loss=(1.5,), task=(None, 0.75), seconds=12.5, rows=40, created=NOW,
    )  # fmt: skip
    with ws.state.write(by="training") as tx:
        save_version(tx, version)
        save_run(tx, run)
    make_exam(ws, version, f"exam_{name}", 0.9)
    return version


def make_exam(ws: Workspace, version: Version, id: str, accuracy: float, outcome: Any = "pass") -> Exam:
    """An exam of the version on the suite `core`."""
    verdict = Verdict(outcome=outcome, measured={"accuracy": Estimate(value=accuracy, low=0.8, high=0.95, n=120)})
    exam = Exam(
        id=id, model=version.model, version=version.id, artifact=None, artifact_digest=None, suite="core",
        suite_digest="sha256:" + "c" * 64, state="done", verdict=verdict,
    )  # fmt: skip
    with ws.state.write(by="evaluation") as tx:
        return save_exam(tx, exam)


def fields(value: Any) -> dict[str, Any]:
    """A dataclass as JSON has it."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(value), default=str))
    return found
