from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import make_file, make_transcript, trained
from tunekeeper.core.errors import GateFailed, UserError
from tunekeeper.core.nouns.deployment import Artifact
from tunekeeper.core.nouns.evaluation import Exam, Verdict
from tunekeeper.core.nouns.serving import Route, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.deployment.config import Config
from tunekeeper.deployment.ollamapackage import Package, make_package
from tunekeeper.deployment.ollamaslots import arm, naming, push_version
from tunekeeper.deployment.slots import reload, unload
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.weights import Served
from tunekeeper.engines.ollama import OllamaServer
from tunekeeper.store.ledgers.artifacts import find_artifacts, load_artifact, save_artifact
from tunekeeper.store.ledgers.exams import save_exam
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.slots import load_slot, save_slot
from tunekeeper.testing.ollama import OllamaDouble, serving
from tunekeeper.workspace import Workspace, create_workspace

VERSION = Version(id="desk@v1.0-x", model="desk", name="v1.0-x", major=1, minor=0, base="b", base_digest="d")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("gguf")
    references = read_transcript(make_transcript(folder / "t.jsonl"))
    return make_package("desk:v1.0-x", Served(model=make_file(folder / "m.gguf")), references=references)


def armed(ws: Workspace, package: Package, double: OllamaDouble) -> Slot:
    artifact = Artifact(id="art_1", model="desk", version=VERSION.id, engine="llamacpp", digest=package.digest)
    with ws.state.write(by="test") as tx:
        if not find_artifacts(tx, model="desk"):
            save_artifact(tx, artifact)
    pushed = push_version(ws, OllamaServer(double.url), package)
    return arm(ws, Config(price_in=0.1), VERSION, artifact, endpoint=pushed.endpoint, name=pushed.name, seen=pushed.verified)


def use(ws: Workspace, slot: str) -> None:
    with ws.control.write(by="test") as tx:
        save_route(tx, Route(model="desk", champion=slot))


def test_a_pushed_version_waits_in_the_standby_slot_and_is_found_again(ws: Workspace, package: Package) -> None:
    with ws.control.write(by="test") as tx:
        save_slot(tx, Slot(id="desk-blue", model="desk"))
    use(ws, "desk-blue")
    with serving(trained) as double:
        slot = armed(ws, package, double)
        assert (slot.id, slot.engine, slot.upstream_model, slot.endpoint) == (
            "desk-green",
            "ollama",
            package.name,
            double.url + "/v1",
        )
        assert (slot.observed, slot.gated, slot.version, slot.price_in, slot.files) == ("ready", False, "v1.0-x", 0.1, {})
        assert armed(ws, package, double) == slot
        with ws.state.read() as tx:
            live = load_artifact(tx, "art_1").metadata["live"]
        assert (live["verdict"], live["name"]) == ("pass", package.name)
        assert naming(ws, package.name) == ([slot], False)


def test_it_is_gated_when_an_exam_of_this_very_file_passed(ws: Workspace, package: Package) -> None:
    def sat(name: str, digest: str, outcome: Any) -> None:
        exam = Exam(
            id=name, model="desk", version=VERSION.id, artifact="art_1", suite="s", suite_digest="d", artifact_digest=digest,
            verdict=Verdict(outcome=outcome),
        )  # fmt: skip
        with ws.state.write(by="test") as tx:
            save_exam(tx, exam)

    sat("e1", "sha256:other", "pass")
    sat("e2", package.digest, "fail")
    with serving(trained) as double:
        assert armed(ws, package, double).gated is False
        sat("e3", package.digest, "pass")
        assert armed(ws, package, double).gated is True


def test_an_idle_slot_gives_its_memory_back_and_takes_it_again(ws: Workspace, package: Package) -> None:
    with serving(trained) as double:
        slot = armed(ws, package, double)
        assert double.loaded == {package.name: float("inf")}
        gone = unload(ws, slot.id)
        assert (gone.wanted, gone.observed, double.loaded, list(double.models)) == ("unloaded", "stopped", {}, [package.name])
        back = reload(ws, slot.id)
        assert (back.wanted, back.observed, double.loaded) == ("loaded", "ready", {package.name: float("inf")})
    assert unload(ws, slot.id).observed == "stopped"  # nobody answers there any more: it is unloaded all the same
    assert reload(ws, slot.id).observed == "ready"
    use(ws, slot.id)
    with pytest.raises(UserError, match="is in use"):
        unload(ws, slot.id)


def test_a_slot_that_waits_with_a_version_that_failed_says_so(ws: Workspace, package: Package) -> None:
    with serving(trained) as double:
        slot = armed(ws, package, double)
        double.answer = lambda prompt, model, options: "Nothing of the kind."
        with pytest.raises(GateFailed, match="deleted again"):
            armed(ws, package, double)
        with ws.control.read() as tx:
            seen = load_slot(tx, slot.id)
        assert (seen.observed, double.models) == ("failed", {})
        assert "weights: only" in (seen.reason or "")


def test_a_version_that_a_route_uses_stays(ws: Workspace, package: Package) -> None:
    with serving(trained) as double:
        slot = armed(ws, package, double)
        use(ws, slot.id)
        double.answer = lambda prompt, model, options: "Nothing of the kind."
        with pytest.raises(GateFailed, match="left there because a slot in use names it"):
            armed(ws, package, double)
        assert list(double.models) == [package.name]
        assert naming(ws, package.name) == ([slot], True)
