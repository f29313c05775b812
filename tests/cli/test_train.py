"""`tunekeeper train` on a project: preview, plan, ls, show, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunekeeper import jobs
from tunekeeper.cli.app import main
from tunekeeper.core.nouns.data import DatasetVersion
from tunekeeper.core.nouns.training import TrainingRun
from tunekeeper.store.ledgers.datasets import save_dataset
from tunekeeper.store.ledgers.runs import load_run, save_run
from tunekeeper.training import verbs
from tunekeeper.workspace import Workspace, create_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "support_desk"
ROW = {
    "messages": [
        {"role": "system", "content": "Triage the ticket. Answer with JSON."},
        {"role": "user", "content": "Pixel Pad is slow since the update."},
        {"role": "assistant", "content": '{"category": "bug", "priority": "normal"}'},
    ]
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example with one frozen dataset of two rows and one finished run."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    ws = create_workspace(folder / ".tunekeeper", project=folder)
    manifest = ws.rows.put({"train": [json.dumps(ROW).encode() + b"\n"] * 2})
    dataset = DatasetVersion(
        id="support-desk/d1",
        model="support-desk",
        number=1,
        digest="sha256:d",
        examples=2,
        train=2,
        eval=0,
        manifest=manifest,
        report={"quality": {"score": 0.91, "clean": 0.9, "low": 1, "rows": 2, "of": 2, "kinds": {"refusal": 1}}},
    )
    run = TrainingRun(
        id="run_1",
        model="support-desk",
        dataset=dataset.id,
        dataset_digest=dataset.digest,
        recipe={"rank": 8},
        recipe_digest="sha256:r",
        base="base",
        base_digest="sha256:b",
        state="failed",
        ended="the loss became nan",
        loss=(0.5, 0.25),
    )
    with ws.state.write(by="test") as tx:
        save_dataset(tx, dataset)
        save_run(tx, run)
    return folder


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    code = main(["train", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_preview_of_a_file_prints_the_rendered_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.json").write_text(json.dumps(ROW["messages"][:2]))
    words = ["--checkpoint", str(EXAMPLE / "base"), "--messages", str(tmp_path / "m.json")]
    assert main(["train", "preview", *words]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("<|im_start|>system\nTriage")
    assert shown.endswith("<|im_start|>assistant\n\n")
    assert answer(capsys, "preview", *words)[1]["rendered"] + "\n" == shown


def test_preview_of_a_dataset_row_marks_what_is_learned(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--model", "support-desk", "--dataset", "latest", "--dir", str(project)]
    code, shown = answer(capsys, "preview", *where)
    assert code == 0
    learned = "".join(token["text"] for token in shown["tokens"] if token["learned"])
    assert learned == ROW["messages"][-1]["content"] + "<|im_end|>"
    assert answer(capsys, "preview", "--model", "support-desk", "--dir", str(project)) == (0, shown)
    code, refused = answer(capsys, "preview", *where, "--row", "3")
    assert code == 2
    assert "rows 1 to 2" in refused["error"]["message"]


def test_the_preview_of_a_row_that_a_training_would_leave_out_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "models" / "support-desk.yaml"
    path.write_text(path.read_text().replace("max_tokens: 256", "max_tokens: 16"))
    code, refused = answer(capsys, "preview", "--model", "support-desk", "--dataset", "latest", "--dir", str(project))
    assert code == 2
    assert "tokens are more than training.max_tokens (16); a training leaves it out" in refused["error"]["message"]
    assert refused["error"]["fix"].startswith("set training.max_tokens to ")


def test_the_preview_of_a_preference_shows_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "fresh"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    path = project / "models" / "support-desk.yaml"
    path.write_text(path.read_text().replace("max_tokens: 256", "max_tokens: 256\n  objective: dpo"))
    ws = create_workspace(project / ".tunekeeper", project=project)
    line = json.dumps(ROW | {"metadata": {"rejected": "I do not know."}}).encode() + b"\n"
    version = DatasetVersion(
        id="support-desk/d1", model="support-desk", number=1, digest="sha256:d", examples=1, train=1, eval=0,
        manifest=ws.rows.put({"train": [line]}),
    )  # fmt: skip
    with ws.state.write(by="test") as tx:
        save_dataset(tx, version)
    where = ["--model", "support-desk", "--dataset", "latest", "--dir", str(project)]
    code, shown = answer(capsys, "preview", *where)
    assert (code, shown["conversations"]) == (0, 2)
    learned = "".join(token["text"] for token in shown["tokens"] if token["learned"])
    assert learned == ROW["messages"][-1]["content"] + "<|im_end|>I do not know.<|im_end|>"
    assert main(["train", "preview", *where]) == 0
    assert "a preference: the conversation with the chosen answer, then with the rejected one" in capsys.readouterr().out


def test_the_weight_of_an_answer_comes_through_import_and_freeze_and_is_shown_at_each_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "fresh"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("data", "rebuild.py"))
    names = ["otter", "heron", "lynx", "badger", "falcon", "marten", "plover", "stoat", "curlew", "bittern", "grebe", "weasel"]
    answer = ROW["messages"][2]["content"]
    rows = []
    for name in names:
        half = {"role": "assistant", "content": f"About {name}: {answer}", "weight": 2 if name == "weasel" else 0.5}
        asked = [{"role": "user", "content": f"The {name} {word} is slow."} for word in ("screen", "printer")]
        rows.append({"messages": [asked[0], half, asked[1], {**half, "weight": 1}]})
    (project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = ["--model", "support-desk", "--dir", str(project)]
    assert main(["data", "import", str(project / "rows.jsonl"), *where]) == 0
    assert main(["data", "freeze", "--by", "ana", *where]) == 0
    assert "its weight is 2, not from 0 to 1" in capsys.readouterr().out
    assert main(["train", "preview", "--dataset", "latest", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    learned = [line for line in lines if line.startswith("*")]
    assert [line.endswith("  counts 0.5") for line in learned] == [True] * (len(learned) // 2) + [False] * (len(learned) // 2)


def test_a_plan_and_a_dry_run_say_the_same_and_start_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--model", "support-desk", "--dataset", "d1", "--dir", str(project)]
    code, plan = answer(capsys, "plan", *where)
    assert code == 0, plan
    assert (plan["rows"], plan["steps"], plan["seconds"]) == (2, 4, None)
    code, dry = answer(capsys, "run", *where, "--dry-run")
    now = {"free_bytes": 0, "free_disk_bytes": 0}
    assert (code, dry | now) == (0, plan | now), "what is free changes all the time"
    assert len(answer(capsys, "ls", "--dir", str(project))[1]["runs"]) == 1


def test_ls_and_show_read_the_ledger(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "ls", "--dir", str(project))[1]["runs"][0]["id"] == "run_1"
    assert answer(capsys, "show", "run_1", "--dir", str(project))[1]["ended"] == "the loss became nan"
    assert answer(capsys, "ls", "--dir", str(project))[1]["runs"][0]["data_quality"] == 0.91
    assert answer(capsys, "show", "run_1", "--dir", str(project))[1]["data_quality"]["kinds"] == {"refusal": 1}
    assert main(["train", "ls", "--dir", str(project)]) == 0
    assert "0.91" in capsys.readouterr().out
    assert main(["train", "show", "run_1", "--dir", str(project)]) == 0
    told = capsys.readouterr().out
    assert "data quality 0.91 (90% clean, 1 low): 1 refusal" in told
    assert "run_1 failed: the loss became nan" in told
    code, refused = answer(capsys, "show", "run_9", "--dir", str(project))
    assert code == 2
    assert refused["error"]["fix"] == "tunekeeper train ls"


def test_what_is_missing_on_the_command_line_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, part in (
        (["run"], "--model and --dataset"),
        (["run", "--checkpoint", "x"], "--data and --out"),
        (["run", "--checkpoint", "x", "--from", "v1.0", "--data", "d", "--out", "o"], "without a project"),
        (["run", "--checkpoint", "x", "--model", "m", "--data", "d", "--out", "o"], "without a project"),
        (["run", "--model", "m", "--dataset", "d1", "--out", "o"], "go with --checkpoint"),
        (["preview"], "--messages"),
        (["run", "--model", "support-desk", "--dataset", "d9", "--dir", str(project)], "d9"),
    ):
        code, refused = answer(capsys, *words)
        assert code == 2
        assert part in refused["error"]["message"]


def test_a_recipe_file_with_an_unknown_key_is_refused_with_the_near_name(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yaml").write_text("epoch: 3\n")
    where = ["--model", "support-desk", "--dataset", "d1", "--dir", str(project)]
    code, refused = answer(capsys, "plan", *where, "--recipe", str(tmp_path / "r.yaml"))
    assert code == 2
    assert refused["error"]["fix"] == "write 'epochs'"
    (tmp_path / "latin.yaml").write_bytes(b"# \xe9\n")
    for name, why in (("none.yaml", "No such file or directory"), (".", "Is a directory"), ("latin.yaml", "it is not UTF-8")):
        code, refused = answer(capsys, "plan", *where, "--recipe", str(tmp_path / name))
        assert (code, refused["error"]["message"]) == (2, f"{tmp_path / name}: cannot be read: {why}")
        assert refused["error"]["fix"] == "name a recipe file in JSON or YAML that you may read"


def another(project: Path, **changes: Any) -> None:
    """A second run beside the first."""
    ws = create_workspace(project / ".tunekeeper", project=project)
    with ws.state.read() as tx:
        first = load_run(tx, "run_1")
    with ws.state.write(by="test") as tx:
        save_run(tx, replace(first, id="run_2", rev=0, **changes))


def test_two_runs_are_compared_with_what_went_in_and_what_came_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    another(project, recipe={"rank": 16}, state="done", final_loss=0.25)
    words = ["compare", "run_1", "run_2", "--dir", str(project)]
    code, found = answer(capsys, *words)
    assert code == 0
    assert found["comparison"]["changes"] == [{"what": "recipe.rank", "a": 8, "b": 16}]
    assert found["comparison"]["outcome"] == {"final_loss": [None, 0.25]}
    assert found["data"] is None
    assert main(["train", *words]) == 0
    told = capsys.readouterr().out
    assert "recipe.rank: 8 → 16" in told
    assert "only recipe.rank differs" in told


def test_runs_on_the_same_rows_in_another_order_are_said_to_differ_by_chance(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ws = create_workspace(project / ".tunekeeper", project=project)
    rows = [json.dumps({"id": name, **ROW}).encode() + b"\n" for name in ("a", "b")]
    another(project, dataset="support-desk/d3", dataset_digest="sha256:3")
    for number, order in ((2, rows), (3, rows[::-1])):
        name, manifest = f"support-desk/d{number}", ws.rows.put({"train": order})
        about = {"model": "support-desk", "number": number, "examples": 2, "train": 2, "eval": 0}
        with ws.state.write(by="test") as tx:
            save_dataset(tx, DatasetVersion(id=name, digest=f"sha256:{number}", manifest=manifest, **about))  # type: ignore[arg-type]
            if number == 2:
                save_run(tx, replace(load_run(tx, "run_1"), dataset=name, dataset_digest="sha256:2"))
    assert main(["train", "compare", "run_1", "run_2", "--dir", str(project)]) == 0
    told = capsys.readouterr().out
    assert "the datasets hold the same rows in another order" in told
    assert "cannot be compared" not in told


def test_a_cancelled_run_says_which_version_its_best_epoch_became(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "cancelled after epoch 2 of 4; the best finished one is kept"
    another(project, state="cancelled", ended=said, version="support-desk@v1.1-2026-01-05-2examples")
    assert main(["train", "show", "run_2", "--dir", str(project)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"run_2: {said}", "kept as support-desk@v1.1-2026-01-05-2examples"]


def test_a_run_that_has_ended_cannot_be_cancelled_nor_one_without_adapter_done_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "cancel", "run_1", "--dir", str(project)]) == 2
    assert "run_1 has ended already: failed (fix: tunekeeper train show run_1)" in capsys.readouterr().err
    assert main(["train", "reproduce", "run_1", "--dir", str(project)]) == 2
    assert "run_1 has no adapter to compare with" in capsys.readouterr().err
    assert main(["train", "reproduce", "support-desk@v9", "--dir", str(project)]) == 2
    assert "no version of support-desk called" in capsys.readouterr().err


def test_a_run_goes_on_when_its_command_is_interrupted_and_is_ended_by_cancel(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (project / "long.yaml").write_text("epochs: 1000\n")
    words = ["--model", "support-desk", "--dataset", "d1", "--recipe", str(project / "long.yaml"), "--dir", str(project)]
    with monkeypatch.context() as patched:
        patched.setattr(verbs, "wait", interrupted)  # Ctrl-C while it waits, at no other moment
        assert main(["train", "run", *words]) == 130
    said = capsys.readouterr().err
    (begun,) = [run for run in answer(capsys, "ls", "--dir", str(project))[1]["runs"] if run["state"] == "running"]
    assert f"{begun['id']} goes on by itself; `tunekeeper train cancel {begun['id']}`" in said
    code, shown = answer(capsys, "show", begun["id"], "--dir", str(project))
    assert {"progress", "step", "loss", "tokens_per_second", "eta_seconds", "task", "said"} <= shown["standing"].keys()
    code, ended = answer(capsys, "cancel", begun["id"], "--dir", str(project))
    assert (code, ended["state"]) == (0, "cancelled")
    assert answer(capsys, "show", begun["id"], "--dir", str(project))[1]["standing"] is None


def test_the_command_that_waits_for_a_run_says_that_somebody_cancelled_it(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = verbs.wait

    def cancelled_meanwhile(ws: Workspace, run: TrainingRun, *_: object, **__: object) -> TrainingRun:
        jobs.cancel(ws, run.job or "")
        return wait(ws, run)

    monkeypatch.setattr(verbs, "wait", cancelled_meanwhile)  # from another terminal, while it waits
    assert main(["train", "run", "--model", "support-desk", "--dataset", "d1", "--dir", str(project)]) == 130
    said = capsys.readouterr()
    assert said.out.startswith("run_")
    assert said.out.endswith(": cancelled\n")
    assert "error" not in said.err
