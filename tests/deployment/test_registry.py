from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.nouns.deployment import Artifact, Parity
from tunekeeper.core.nouns.evaluation import Exam, Verdict
from tunekeeper.core.nouns.serving import Promotion, Route, Share, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.registry import entries, live
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.store.ledgers.artifacts import save_artifact
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.promotions import append_promotion
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.versions import save_version
from tunekeeper.workspace import create_workspace


def test_what_is_live_and_when_it_was_last_evaluated_is_always_answered(tmp_path: Path) -> None:
    clock = ManualClock()
    ws = create_workspace(tmp_path / "data", clock=clock)
    assert (live(ws, "desk").version, live(ws, "desk").deployments, entries(ws, "desk")) == (None, 0, [])
    with ws.state.write(by="test") as tx:
        for minor in (0, 1):
            save_version(
                tx,
                Version(id=f"desk@v1.{minor}", model="desk", name=f"v1.{minor}", major=1, minor=minor, base="b", base_digest="d"),
            )
            clock.advance(60)
        save_artifact(
            tx,
            Artifact(
                id="art_0", model="desk", version="desk@v1.0", engine="llamacpp", digest="sha256:1",
                parity=Parity(verdict="pass"), metadata={"smoke": {"prompts": 12}},
            ),
        )  # fmt: skip
        save_exam(
            tx,
            Exam(
                id="exam_1", model="desk", version="desk@v1.0", artifact="art_0", artifact_digest="sha256:1", suite="s",
                suite_digest="d", verdict=Verdict(outcome="pass"),
            ),
        )  # fmt: skip
    examined = clock.utc()
    declare_slots(ws, [Slot(id="desk-blue", model="desk", version="v1.0", endpoint="http://127.0.0.1:1/v1")])
    clock.advance(3600)
    with ws.control.write(by="test") as tx:
        shares = (Share(slot="desk-blue", variant="champion", ranges=((0, 10_000),)),)
        made = save_route(tx, Route(model="desk", champion="desk-blue", shares=shares))
        append_promotion(
            tx,
            Promotion(id="prm_1", model="desk", generation=made.generation, champion="desk-blue", version="v1.0", previous=None),
        )

    found = live(ws, "desk")
    newest, first = entries(ws, "desk")

    assert (found.version, found.verdict, found.deployments) == ("v1.0", "pass", 1)
    assert (found.evaluated_at, found.since) == (examined, examined + timedelta(hours=1))
    assert (newest.version, newest.aliases, newest.weight, newest.slot, newest.evaluated_at) == ("v1.1", (), 0, None, None)
    assert (first.aliases, first.weight, first.loaded, first.parity) == (("champion",), 10_000, True, "pass")
    assert (first.artifacts, first.digest, first.smoke) == (("art_0",), "sha256:1", {"prompts": 12})
