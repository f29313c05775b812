"""Who trains: what each is asked, and what is refused before anything is begun."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import SMALL, chat_lines, freeze
from tunekeeper import training
from tunekeeper.config.project import load_model
from tunekeeper.core.errors import ConfigError, MissingExtra, UserError
from tunekeeper.core.ids import digest_json
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.retraining import Cycle, Done, Model, Stop, Wait
from tunekeeper.core.nouns.training import Version
from tunekeeper.store.ledgers.runs import find_runs
from tunekeeper.store.ledgers.versions import find_versions
from tunekeeper.testing.hosted import Providers
from tunekeeper.training.backends import COMMAND, HOSTED, TRL, trainer_of
from tunekeeper.training.config import BackendOptions, Config
from tunekeeper.training.planning import plan
from tunekeeper.training.recipe import resolve
from tunekeeper.training.reproducing import reproduce
from tunekeeper.training.verbs import train, wait
from tunekeeper.workspace import Workspace


def section(provider: str, options: dict[str, Any] | None = None, **recipe: Any) -> Config:
    chosen = {"model": "tiny", "account": "acme", **(options or {})}
    return Config(backend=provider, backend_options=BackendOptions(**chosen), **recipe)  # type: ignore[arg-type]


def test_our_own_loop_is_asked_as_before(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    recipe = resolve(SMALL)
    ask = trainer_of(SMALL).ask(ws, task, SMALL, dataset, None, recipe)
    assert (ask.kind, ask.recipe, digest_json(ask.recipe)) == ("train", recipe.as_json(), recipe.digest)
    assert ask.env == ()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (section("openai", rank=8), "openai cannot be told rank (8)"),
        (section("openai", learning_rate=1e-3), "only how many times its own"),
        (section("openai", dora=True), "cannot be told dora"),
        (section("openai", {"model": ""}), "backend_options.model is empty"),
        (section("openai", {"learning_rate_multiplier": 0.0}), "learning_rate_multiplier must be above 0"),
        (section("openai", {"poll_seconds": 0.0}), "must be above 0"),
        (section("mistral", objective="dpo"), "mistral learns sft, not dpo"),
        (section("mistral", batch=4), "cannot be told batch (4)"),
        (section("fireworks", {"account": ""}), "backend_options.account is empty"),
        (section("fireworks", alpha=64), "cannot be told alpha"),
        (section("together", warmup_steps=5), "cannot be told warmup_steps"),
        (section("together", qlora=True), "cannot be told qlora"),
        (section("together", method="full"), "together cannot be told method ('full')"),
        (section("command", {"command": ("train", "{data}", "{out}")}, method="full"), "of a command an adapter is taken over"),
        (section("trl", method="full"), "the trl back end does not do `method: full`"),
        (section("command"), "must name {data} and {out}"),
        (section("trl", objective="dpo"), "the trl back end does not do `objective: dpo`"),
        (section("trl", packing=True), "does not do `packing: true`"),
        (section("trl", dtype="float16"), "does not do `dtype: float16`"),
        (section("trl", batch=8, accumulation=3), "does not do `accumulation: 3 with batch: 8`"),
    ],
)
def test_what_a_trainer_cannot_do_is_refused_before_anything_is_begun(
    ws: Workspace, task: Model, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch, chosen: Config, said: str
) -> None:
    for name in ("OPENAI", "TOGETHER", "MISTRAL", "FIREWORKS"):
        monkeypatch.setenv(f"{name}_API_KEY", "k")
    with pytest.raises(ConfigError) as refused:
        train(ws, task, chosen, dataset)
    assert said in refused.value.message
    with ws.state.read() as tx:
        assert find_runs(tx) == []


def test_a_key_that_is_not_there_is_named_with_its_variable(
    ws: Workspace, task: Model, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="openai needs a key and OPENAI_API_KEY is not set"):
        train(ws, task, section("openai"), dataset)
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        train(ws, task, section("openai", {"api_key_env": "MY_KEY"}), dataset)


def test_a_version_cannot_be_continued_elsewhere(
    ws: Workspace, task: Model, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    parent = Version(id="desk@v1.0", model="desk", name="v1.0", major=1, minor=0, base="b", base_digest="d")
    with pytest.raises(ConfigError, match=r"cannot continue the adapter of v1\.0"):
        train(ws, task, section("together"), dataset, parent=parent)


def test_the_same_recipe_elsewhere_is_other_work(
    ws: Workspace, task: Model, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    asks = [trainer_of(each).ask(ws, task, each, dataset, None, resolve(each)) for each in (Config(), section("together"))]
    assert [ask.kind for ask in asks] == ["train", HOSTED]
    assert asks[0].digests == asks[1].digests
    assert digest_json(asks[0].recipe) != digest_json(asks[1].recipe)
    assert asks[1].recipe["backend"]["hyperparameters"]["learning_rate"] == 1e-5, "left at our default it is Together's"


def test_a_cycle_trains_at_a_provider_without_a_base_of_ours(
    ws: Workspace, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Model(name="desk")
    with Providers() as there:
        monkeypatch.setenv("OPENAI_API_KEY", there.key)
        chosen = section("openai", {"endpoint": there.endpoint("openai"), "poll_seconds": 0.02})
        cycle = Cycle(id="cyc_1", model="desk", number=1, why="test", records={"data": dataset.id})
        first = training.poke(ws, task, chosen, cycle)
        assert isinstance(first, Wait)
        with ws.state.read() as tx:
            (run,) = find_runs(tx, model="desk")
        wait(ws, run)
        done = training.poke(ws, task, chosen, cycle)
    assert isinstance(done, Done), done
    with ws.state.read() as tx:
        assert [version.id for version in find_versions(tx, model="desk")] == [done.record]
    with pytest.raises(UserError, match="was trained by openai, which alone could do it again"):
        reproduce(ws, task, chosen, _first(ws))
    refused = training.poke(ws, task, dataclasses.replace(chosen, rank=8), dataclasses.replace(cycle, id="cyc_2"))
    assert isinstance(refused, Stop)
    assert "cannot be told rank" in refused.why


def _first(ws: Workspace) -> Any:
    with ws.state.read() as tx:
        return find_runs(tx, model="desk")[0]


def test_a_command_gets_what_it_names(ws: Workspace, task: Model, dataset: DatasetVersion) -> None:
    words = (sys.executable, "train.py", "--data", "{data}", "--out={out}")
    chosen = section("command", {"command": words, "timeout_seconds": 60.0})
    ask = trainer_of(chosen).ask(ws, task, chosen, dataset, None, resolve(chosen))
    assert (ask.kind, ask.timeout, ask.input["command"]) == (COMMAND, 60.0, list(words))


def test_the_section_is_read_from_the_models_file(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    file = tmp_path / "models" / "desk.yaml"
    file.write_text(
        "model: desk\ntraining:\n  backend: together\n  backend_options:\n    model: Qwen/Qwen2.5-1.5B\n    most_usd: 20\n"
    )
    found = load_model(file).sections["training"]
    assert (found.backend, found.backend_options.most_usd) == ("together", 20)
    file.write_text("model: desk\ntraining:\n  backend: togetherai\n")
    with pytest.raises(ConfigError, match=r"desk\.yaml:3"):
        load_model(file)


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """As if TRL were installed, less `missing`."""
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> object:
        if name in missing:
            return None
        return True if name in ("trl", "datasets") else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


@pytest.mark.parametrize("missing", ["trl", "datasets"])
def test_trl_that_is_not_installed_is_refused_with_what_to_install_when_it_is_planned_too(
    ws: Workspace, task: Model, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    without(monkeypatch, missing)
    for begun in (lambda: train(ws, task, section("trl"), dataset), lambda: plan(ws, task, section("trl"), dataset)):
        with pytest.raises(MissingExtra, match=f"needs the package {missing}, which is not installed") as refused:
            begun()
        assert refused.value.fix == "pip install 'tunekeeper[trl]'"
    with ws.state.read() as tx:
        assert find_runs(tx) == []


def test_trl_is_asked_what_our_loop_is_asked(
    ws: Workspace, task: Model, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch)
    theirs = dataclasses.replace(SMALL, backend="trl")
    recipe = resolve(SMALL)
    ours, asked = (trainer_of(each).ask(ws, task, each, dataset, None, recipe) for each in (SMALL, theirs))
    assert (asked.kind, asked.input) == (TRL, ours.input)
    assert asked.recipe == {**ours.recipe, "backend": {"name": "trl"}}
    planned = plan(ws, task, theirs, dataset)
    assert (planned.rows, planned.seconds) == (48, None)


def test_trl_refuses_a_row_that_is_learned_in_some_epochs_only(
    ws: Workspace, task: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch)
    lines = chat_lines(4)
    rows = [json.dumps(json.loads(line) | {"weight": weight}) + "\n" for line, weight in zip(lines, (1, 0, 0.5, 1), strict=True)]
    some = freeze(ws, rows, [], number=2)
    with pytest.raises(ConfigError, match=r"row r2 has weight 0\.5, and the trl back end learns a row in every epoch or never"):
        plan(ws, task, section("trl"), some)
    whole = freeze(ws, [row.replace('"weight": 0.5', '"weight": 1') for row in rows], [], number=3)
    assert plan(ws, task, section("trl"), whole).rows == 4


@pytest.mark.parametrize("backend", ["trl", "command"])
def test_an_answer_that_counts_by_a_part_is_refused_where_it_would_count_whole(
    ws: Workspace, task: Model, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    without(monkeypatch)
    rows = [json.loads(line) for line in chat_lines(2)]
    rows[1]["messages"][-1]["weight"] = 0.5
    some = freeze(ws, [json.dumps(row) + "\n" for row in rows], [], number=2)
    options = BackendOptions(command=("trainer", "{data}", "{out}"))
    asked = dataclasses.replace(SMALL, backend=backend, backend_options=options)
    with pytest.raises(ConfigError, match=rf"row r1: message 3 has weight 0\.5, and the {backend} back end learns it or not"):
        plan(ws, task, asked, some)
