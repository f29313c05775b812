"""Training through its verbs and through jobs: a cycle's stage, a killed child, versions, what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tunekeeper import jobs, training
from tunekeeper.core.errors import ArtifactError, ConfigError, MissingExtra, NotFound
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.serving import Route, Share, Slot
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.routes import save_route
from tunekeeper.store.ledgers.runs import find_runs, load_run, save_run
from tunekeeper.store.ledgers.slots import save_slot
from tunekeeper.store.ledgers.versions import find_versions, load_version, save_version
from tunekeeper.training import planning, verbs
from tunekeeper.training.base import read_base
from tunekeeper.training.config import BackendOptions, Config
from tunekeeper.training.orders import require_extra
from tunekeeper.workspace import Workspace

from .conftest import BASE, SMALL, freeze


def cycle_of(dataset: DatasetVersion, **options: object) -> Cycle:
    return Cycle(id="cyc_1", model="desk", number=1, why="test", options=dict(options), records={"data": dataset.id})


@pytest.mark.real
def test_a_cycle_trains_through_jobs_even_when_the_child_is_killed(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    section = dataclasses.replace(SMALL, epochs=3, rate_usd_per_hour=3600.0)  # two of them lie ahead when it is killed
    cycle = cycle_of(dataset)
    first = training.poke(ws, task, section, cycle)
    assert isinstance(first, Wait)
    with ws.state.read() as tx:
        (run,) = find_runs(tx, model="desk")
    assert run.job is not None
    _kill_after_first_epoch(ws, run.job)
    jobs.wait(ws, run.job)
    done = training.poke(ws, task, section, cycle)
    assert isinstance(done, Done), done
    assert done.record == "desk@v1.0-2026-01-05-48examples"
    assert training.poke(ws, task, section, cycle) == done
    with ws.state.read() as tx:
        run = load_run(tx, run.id)
        version = load_version(tx, done.record)
        assert len(find_runs(tx, model="desk")) == 1
        assert [each.major for each in find_versions(tx, model="desk")] == [0, 1], "the prompted base stands beside it"
    assert jobs.look(ws, run.job or "").attempt == 2
    assert (run.state, run.version, run.rows) == ("done", version.id, 48)
    assert (run.cost_usd or 0) > 0
    assert version.adapter == run.adapter
    assert "tunekeeper.json" in ws.blobs.files(version.adapter or "")
    assert len(ws.blobs.read(version.transcript or "").splitlines()) == 4
    _continue_it(ws, task, dataset, version)


def _kill_after_first_epoch(ws: Workspace, job: str) -> None:
    """Kill wrapper and child once a checkpoint is there; the job's own files name their process ids."""
    folder = ws.path("work", job)
    deadline = time.monotonic() + 200
    while not (folder / "files/checkpoint.pt").exists():
        assert jobs.look(ws, job).state == "running"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for name in ("wrapper.json", "child.json"):
        os.kill(json.loads((folder / name).read_text())["pid"], signal.SIGKILL)


def _continue_it(ws: Workspace, task: Model, dataset: DatasetVersion, parent: Version) -> None:
    """The same dataset continued from the version is another run; the parent's base must be ours."""
    foreign = dataclasses.replace(parent, base_digest="sha256:" + "0" * 64)
    begun = training.train(ws, task, SMALL, dataset, parent=parent)
    assert begun.parent == parent.id
    jobs.cancel(ws, begun.job or "")
    assert training.collect(ws, begun).state == "cancelled"
    folder = ws.path("work", f"adapter-{(parent.adapter or '')[7:31]}")
    (folder / "tunekeeper.json").unlink()
    with pytest.raises(ArtifactError, match=r"sha256:0000.*not to"):
        training.train(ws, task, SMALL, dataset, parent=foreign)
    plan = planning.plan(ws, task, dataclasses.replace(SMALL, rate_usd_per_hour=1.0), dataset)
    assert plan.seconds_from is not None
    assert 0 < (plan.seconds or 0) < (plan.whole_seconds or 0), "loading and answering take their time as well"
    assert plan.cost_usd == pytest.approx((plan.whole_seconds or 0) / 3600)
    [lora] = [way for way in plan.ways if way.chosen]
    assert lora.here["cost_usd"].value == pytest.approx(plan.cost_usd)


def test_another_chat_template_or_tokenizer_makes_another_run(
    ws: Workspace, task: Model, dataset: DatasetVersion, tmp_path: Path
) -> None:
    folder = shutil.copytree(BASE, tmp_path / "base")
    own = dataclasses.replace(task, base=str(folder))
    begun = training.train(ws, own, SMALL, dataset)
    assert training.train(ws, own, SMALL, dataset).id == begun.id
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    second = training.train(ws, own, SMALL, dataset)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1))
    third = training.train(ws, own, SMALL, dataset)
    assert len({begun.id, second.id, third.id}) == len({begun.job, second.job, third.job}) == 3
    assert begun.base_digest == third.base_digest
    assert begun.template_digest != second.template_digest == third.template_digest
    assert begun.tokenizer_digest == second.tokenizer_digest != third.tokenizer_digest


def test_a_run_that_is_found_again_says_that_its_epochs_were_chosen_among_by_another_sample(
    ws: Workspace, task: Model, dataset: DatasetVersion
) -> None:
    begun = training.train(ws, task, SMALL, dataset)
    with ws.state.write(by="test") as tx:
        done = save_run(tx, dataclasses.replace(begun, state="done"))
    assert training.train(ws, task, SMALL, dataset) == done, "the same sample is nothing to speak of"
    fewer = training.train(ws, task, dataclasses.replace(SMALL, sample=2), dataset)
    suite = BASE.parent / "suites" / "core.jsonl"
    other = training.train(ws, task, dataclasses.replace(SMALL, suite=str(suite)), dataset)
    assert (fewer.id, other.id) == (done.id, done.id)
    said = f"{done.id} has learned this already, and its epochs were chosen among by another sample than"
    assert fewer.warnings[-1].startswith(f"{said} the held-out rows give today: a suite is no part of a run")
    assert other.warnings[-1].startswith(f"{said} {suite} gives today")
    with ws.state.read() as tx:
        assert load_run(tx, done.id).warnings == done.warnings, "it is said of today, and is not on record"


def test_a_cycle_whose_champion_speaks_by_another_template_begins_with_the_base(
    ws: Workspace, task: Model, dataset: DatasetVersion, tmp_path: Path
) -> None:
    known = read_base(BASE)
    live = Version(
        id="desk@v1.0",
        model="desk",
        name="v1.0",
        major=1,
        minor=0,
        base=str(BASE),
        base_digest=known.digest,
        tokenizer_digest=known.tokenizer_digest,
        template_digest=known.template_digest,
        adapter="sha256:a",
    )
    with ws.state.write(by="test") as tx:
        save_version(tx, live)
    with ws.control.write(by="test") as control:
        save_slot(control, Slot(id="blue", model="desk", version="v1.0", endpoint="http://x/v1", observed="ready"))
        share = Share(slot="blue", variant="champion", ranges=((0, 10_000),))
        save_route(control, Route(model="desk", shares=(share,), champion="blue", by="test"))
    folder = shutil.copytree(BASE, tmp_path / "base")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert isinstance(training.poke(ws, dataclasses.replace(task, base=str(folder)), SMALL, cycle_of(dataset)), Wait)
    with ws.state.read() as tx:
        (run,) = find_runs(tx, model="desk")
    assert run.parent is None


def test_a_failed_run_stops_the_cycle_with_its_reason(ws: Workspace, task: Model) -> None:
    dataset = freeze(ws, ["broken\n"], [])
    cycle = cycle_of(dataset)
    assert isinstance(training.poke(ws, task, SMALL, cycle), Wait)
    with ws.state.read() as tx:
        (run,) = find_runs(tx, model="desk")
    jobs.wait(ws, run.job or "")
    stopped = training.poke(ws, task, SMALL, cycle)
    assert isinstance(stopped, Stop)
    assert stopped.record == run.id
    assert ":1: not JSON" in stopped.why
    with ws.state.read() as tx:
        assert [version.major for version in find_versions(tx, model="desk")] == [0]


def test_a_broken_base_stops_the_cycle_instead_of_raising(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    answer = training.poke(ws, dataclasses.replace(task, base="nowhere"), SMALL, cycle_of(dataset))
    assert isinstance(answer, Stop)
    assert "no such folder" in answer.why


def test_a_named_parent_that_does_not_exist_stops_the_cycle(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    answer = training.poke(ws, task, SMALL, cycle_of(dataset, **{"from": "v7.0"}))
    assert isinstance(answer, Stop)
    assert "v7.0" in answer.why


def test_to_cancel_a_run_leaves_another_model_that_learns_the_same_rows_alone(
    ws: Workspace, task: Model, dataset: DatasetVersion
) -> None:
    waits = (sys.executable, "-c", "import time; time.sleep(600)", "{data}", "{out}")
    section = Config(backend="command", backend_options=BackendOptions(command=waits))
    own, other = (training.train(ws, model, section, dataset) for model in (task, dataclasses.replace(task, name="office")))
    assert verbs.cancel(ws, own).state == "cancelled"
    assert training.collect(ws, other).state == "running"
    assert verbs.cancel(ws, other).state == "cancelled"


def test_the_prompted_base_is_one_version_per_prompt(ws: Workspace, task: Model) -> None:
    section = dataclasses.replace(SMALL, few_shot=({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}))
    declared = training.declare_base(ws, task, section)
    assert declared.name == "v0.0-2026-01-05-0examples"
    assert declared.adapter is None
    assert (declared.system, len(declared.messages)) == (task.system, 2)
    assert training.declare_base(ws, task, section) == declared
    other = training.declare_base(ws, task, dataclasses.replace(section, base_system="Be good."))
    assert (other.major, other.minor, other.system) == (0, 1, "Be good.")


def test_a_version_without_adapter_cannot_be_continued(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    declared = training.declare_base(ws, task, SMALL)
    with pytest.raises(ConfigError, match="no adapter to continue"):
        training.train(ws, task, SMALL, dataset, parent=declared)


def test_a_model_without_a_base_is_told_where_to_write_it(ws: Workspace, dataset: DatasetVersion) -> None:
    with pytest.raises(ConfigError, match=r"models/desk\.yaml"):
        training.train(ws, Model(name="desk"), SMALL, dataset)


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingExtra, match=r"no_such_package.*pip install 'tunekeeper\[train\]'"):
        require_extra(("json", "no_such_package"))


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed here")
def test_four_bits_without_their_library_are_refused_with_the_extra_that_brings_it(
    ws: Workspace, task: Model, dataset: DatasetVersion
) -> None:
    with pytest.raises(MissingExtra, match=r"bitsandbytes, which is not installed .*pip install 'tunekeeper\[qlora\]'"):
        training.train(ws, task, dataclasses.replace(SMALL, qlora=True), dataset)


def test_a_plan_counts_tokens_parameters_and_memory_before_any_run(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    plan = planning.plan(ws, task, dataclasses.replace(SMALL, epochs=9), dataset)
    assert (plan.rows, plan.left_out, plan.steps) == (48, 0, 54)
    assert 0 < plan.learned_tokens < plan.tokens
    assert plan.base_parameters == 2_018_560
    assert plan.adapter_parameters == 4 * 3 * (512 + 384 + 384 + 512 + 3 * 768)
    assert plan.memory_bytes > 4 * plan.base_parameters
    assert (plan.seconds, plan.cost_usd) == (None, None)
    assert any("9 epochs" in line for line in plan.warnings)


def test_an_unknown_dataset_is_named(ws: Workspace, task: Model) -> None:
    answer = training.poke(ws, task, SMALL, Cycle(id="c", model="desk", number=1, why="", options={"dataset": "desk/d9"}))
    assert isinstance(answer, Stop)
    assert "desk/d9" in answer.why


def test_the_base_may_lie_in_the_project_folder(ws: Workspace, task: Model, tmp_path: Path) -> None:
    shutil.copytree(BASE, tmp_path / "mine")
    assert training.declare_base(ws, dataclasses.replace(task, base="mine"), SMALL).base == "mine"
    with pytest.raises((ArtifactError, NotFound)):
        training.declare_base(ws, dataclasses.replace(task, base="yours"), SMALL)
