from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.mlflow import NOW, make_exam, make_trained
from tunekeeper.core.errors import ArtifactError, OutsideError, TunekeeperError, UserError
from tunekeeper.deployment.mlflowpush import Exported, Package, metrics_of, packed, params_of, plan, push
from tunekeeper.deployment.mlflowserver import MlflowServer
from tunekeeper.testing.mlflow import Fault, MlflowDouble, serving
from tunekeeper.workspace import Workspace, create_workspace

FILES = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/tunekeeper.json"]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data")


@pytest.fixture
def package(ws: Workspace, tmp_path: Path) -> Package:
    return packed(ws, make_trained(ws, tmp_path))


def send(double: MlflowDouble, ws: Workspace, package: Package, **more: Any) -> Exported:
    return push(MlflowServer(url=double.url), package, "desk", "exp", ws.path("work"), now=NOW, **more)


def test_a_version_becomes_a_run_with_all_that_is_known_and_a_registered_version(ws: Workspace, package: Package) -> None:
    with serving() as double:
        made = send(double, ws, package, alias="challenger")
        assert (made.uri, made.created, made.alias) == ("models:/desk/1", True, "challenger")
        run = double.runs[made.run or ""]
        assert run.params == {
            "rank": "4", "alpha": "8", "learning_rate": "0.0002", "modules": '["q_proj", "v_proj"]', "packing": "true",
        }  # fmt: skip
        curve = [(row["step"], row["value"]) for row in run.metrics if row["key"] == "loss"]
        assert curve == [(0, 2.0), (1, 1.0)]
        told = {row["key"]: row["value"] for row in run.metrics}
        assert (told["exam/core/accuracy"], told["exam/core/accuracy.low"], told["task"]) == (0.9, 0.8, 0.75)
        assert run.tags["tunekeeper.dataset_digest"] == "sha256:" + "d" * 64
        assert run.tags["tunekeeper.base_digest"] == package.version.base_digest
        assert run.tags["tunekeeper.exam.core"] == "pass"
        assert run.inputs[0]["dataset"]["digest"] == "d" * 36
        assert (run.info["status"], run.info["end_time"] - run.info["start_time"]) == ("FINISHED", 12_500)
        place = run.info["artifact_uri"].removeprefix("mlflow-artifacts:/")
        assert sorted(double.files) == [f"{place}/README.md", *(f"{place}/{name}" for name in FILES)]
        name = f"{place}/adapter/adapter_model.safetensors"
        assert double.files[name] == (package.folder / "adapter_model.safetensors").read_bytes()
        assert double.aliases == {("desk", "challenger"): "1"}
        assert double.versions["desk"][0]["source"] == run.info["artifact_uri"] + "/adapter"
        assert double.versions["desk"][0]["description"].startswith("# support-desk@v1.0-x")


def test_exporting_again_makes_nothing_twice_and_brings_new_scores(ws: Workspace, package: Package) -> None:
    with serving() as double:
        first = send(double, ws, package)
        again = send(double, ws, package)
        assert again == dataclasses.replace(first, created=False, sent=())
        metrics = len(double.runs[first.run or ""].metrics)
        make_exam(ws, package.version, "exam_2", 0.7, "fail")
        assert send(double, ws, packed(ws, package.version)).number == "1"
        run = double.runs[first.run or ""]
        assert (len(double.runs), len(double.versions["desk"]), len(run.metrics) - metrics) == (1, 1, 4)
        newest = [row["value"] for row in run.metrics if row["key"] == "exam/core/accuracy"]
        assert (run.tags["tunekeeper.exam.core"], newest) == ("fail", [0.9, 0.7])
        other = packed(ws, make_trained(ws, ws.path("other"), name="v1.1-x", seed=2))
        assert send(double, ws, other).number == "2"


def test_cut_off_at_any_request_it_can_be_repeated_and_nothing_is_there_twice(ws: Workspace, package: Package) -> None:
    with serving() as double:
        send(double, ws, package, alias="champion")
        requests = len(double.asked)
    assert requests > 15
    for number in range(requests):
        for late in (False, True):
            with serving() as double:
                double.faults.append(Fault(part="/", status=0, late=late, after=number))
                with pytest.raises(TunekeeperError):
                    send(double, ws, package, alias="champion")
                made = send(double, ws, package, alias="champion")
                assert (made.number, len(double.runs), len(double.versions["desk"])) == ("1", 1, 1), number
                assert sum(path.endswith(tuple(FILES)) for path in double.files) == 3


def test_two_at_once_register_it_once(ws: Workspace, package: Package) -> None:
    made: list[Exported] = []
    with serving() as double:
        threads = [threading.Thread(target=lambda: made.append(send(double, ws, package))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [len(double.runs), len(double.versions["desk"])] == [1, 1]
    assert sorted(each.created for each in made) == [False, False, True]


def test_a_dry_run_changes_nothing(ws: Workspace, package: Package) -> None:
    with serving() as double:
        would = plan(MlflowServer(url=double.url), package, "desk", "exp")
        assert (would.created, would.number, would.uri) == (True, None, None)
        assert {method for method, _, _ in double.asked} == {"GET"}
        send(double, ws, package)
        assert plan(MlflowServer(url=double.url), package, "desk", "exp").created is False


def test_a_file_that_arrives_in_part_is_not_registered(ws: Workspace, package: Package) -> None:
    with serving() as double:
        double.faults.append(Fault(part="PUT /api/2.0/mlflow-artifacts/artifacts/1", status=200))  # says yes, keeps nothing
        double.faults.append(Fault(part="PUT /api/2.0/mlflow-artifacts/artifacts/1", status=200))
        with pytest.raises(ArtifactError, match=r"bytes were sent and none arrived; nothing was registered"):
            send(double, ws, package)
        assert double.versions == {}
        assert send(double, ws, package).number == "1"


def test_what_was_deleted_there_is_named_with_the_way_back(ws: Workspace, package: Package) -> None:
    with serving() as double:
        made = send(double, ws, package)
        double.delete_run({"run_id": made.run})
        with pytest.raises(UserError, match=rf"the run of models:/desk/1 was deleted .*mlflow runs restore --run-id {made.run}"):
            send(double, ws, package)
    with serving() as double:
        double.create_experiment({"name": "exp"})
        double.experiments["1"]["lifecycle_stage"] = "deleted"
        with pytest.raises(UserError, match=r"experiment 'exp' was deleted .*mlflow experiments restore --experiment-id 1"):
            send(double, ws, package)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's", "a\nb"])
def test_a_name_that_mlflow_does_not_take_is_refused_here(ws: Workspace, package: Package, name: str) -> None:
    server = MlflowServer(url="http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot name a registered model"):
        push(server, package, name, "exp", ws.path("work"), now=NOW)


@pytest.mark.parametrize("alias", ["latest", "v3", "a b", "", "9"])
def test_an_alias_that_mlflow_does_not_take_is_refused_here(ws: Workspace, package: Package, alias: str) -> None:
    with pytest.raises(UserError, match="cannot be an alias"):
        plan(MlflowServer(url="http://127.0.0.1:9"), package, "desk", "exp", alias=alias)


def test_a_version_that_was_not_trained_is_refused(ws: Workspace, package: Package) -> None:
    with pytest.raises(UserError, match="has no adapter or checkpoint of its own"):
        packed(ws, dataclasses.replace(package.version, adapter=None))


def test_a_checkpoint_whose_every_number_was_tuned_is_registered_as_a_model(ws: Workspace, package: Package) -> None:
    tuned = packed(ws, dataclasses.replace(package.version, adapter=None, checkpoint=package.version.adapter))
    with serving() as double:
        send(double, ws, tuned)
        assert double.versions["desk"][0]["source"].endswith("/artifacts/model")
        assert sum("/artifacts/model/" in path for path in double.files) == 3


def test_long_recipes_and_numbers_that_are_none_fit_what_mlflow_takes(ws: Workspace, package: Package) -> None:
    assert package.run is not None
    recipe = {"nested": {"a": 1, "ö?": "x" * 900}, "empty": "", **{f"k{i}": i for i in range(150)}}
    loss = (float("nan"), *(float(i) for i in range(2_500)))
    run = dataclasses.replace(package.run, recipe=recipe, loss=loss)
    long = dataclasses.replace(package, run=run)
    assert (params_of(long)["nested.a"], len(params_of(long)["nested.ö_"]), params_of(long)["empty"]) == ("1", 500, '""')
    assert sum(row["key"] == "loss" for row in metrics_of(long, NOW)) == 2_500
    with serving() as double:
        made = send(double, ws, long)
        assert len(double.runs[made.run or ""].params) == 153
        json.dumps(double.runs[made.run or ""].told(), allow_nan=False)


def test_a_store_that_is_out_of_reach_is_named_before_anything_is_registered(ws: Workspace, package: Package) -> None:
    with serving(artifacts="s3://bucket") as double:
        with pytest.raises(UserError, match="keeps its files at s3: and does not pass them on"):
            send(double, ws, package)
        assert double.versions == {}


def test_a_server_that_is_busy_is_said_to_be(ws: Workspace, package: Package) -> None:
    with serving() as double:
        double.faults.append(Fault(part="runs/log-batch", status=429, body="slow down"))
        with pytest.raises(OutsideError, match="status 429"):
            send(double, ws, package)
