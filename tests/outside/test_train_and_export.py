"""`train run`, `train preview`, `export …` and `model import` on checkpoints of our own, with and without a project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.outside.conftest import Outcome, call, chat, full, run, write_lines, write_yaml

RECIPE = {"rank": 4, "alpha": 8, "epochs": 1, "learning_rate": 0.002}
ROWS = [
    chat(f"Ticket {n}: the {'lamp' if n % 2 else 'chair'} is late", "shipping" if n % 2 else "bug", id=f"r{n}") for n in range(24)
]
MESSAGES = [{"role": "system", "content": "Triage."}, {"role": "user", "content": "My invoice: 12 €, größer 🎉"}]


@pytest.fixture(scope="module")
def trained(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `lora`, trained on `llama` by `train run` alone; what it printed is `said.json`."""
    folder = tmp_path_factory.mktemp("trained")
    data, recipe = write_lines(folder / "rows.jsonl", ROWS), write_yaml(folder / "recipe.yaml", RECIPE)
    words = ("--checkpoint", checkpoints / "llama", "--data", data, "--recipe", recipe, "--out", folder / "lora")
    done = run("train", "run", *words, "--json")
    assert done.code == 0, done.err
    (folder / "said.json").write_text(done.out)
    return folder


def gguf(checkpoint: Path, out: Path, *words: str | Path) -> Outcome:
    return call("export", "gguf", "--checkpoint", checkpoint, "--out", out, *words, "--json")


def test_a_plain_peft_folder_comes_out_of_training(trained: Path, checkpoints: Path) -> None:
    said = json.loads((trained / "said.json").read_text())
    assert set(said) >= {"run", "version", "state", "seconds", "cpu_seconds", "tokens_per_second", "loss", "adapter"}
    assert (said["state"], said["adapter"]) == ("done", str(trained / "lora"))
    settings = json.loads((trained / "lora" / "adapter_config.json").read_text())
    assert (settings["r"], settings["peft_type"]) == (4, "LORA")
    assert (trained / "lora" / "adapter_model.safetensors").stat().st_size > 10_000
    assert sorted(p.name for p in trained.iterdir()) == ["lora", "recipe.yaml", "rows.jsonl", "said.json"]
    seen = call("export", "inspect", trained / "lora", "--base", checkpoints / "llama", "--json").json
    assert (seen["kind"], seen["fits"], seen["proven"]) == ("adapter", True, True)


def test_preview_prints_what_the_template_makes(checkpoints: Path, tmp_path: Path) -> None:
    (tmp_path / "messages.json").write_text(json.dumps(MESSAGES), "utf-8")
    shown = run("train", "preview", "--checkpoint", checkpoints / "qwen", "--messages", tmp_path / "messages.json")
    wanted = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in MESSAGES) + "<|im_start|>assistant\n"
    assert (shown.code, shown.out.rstrip("\n"), shown.err) == (0, wanted.rstrip("\n"), "")


def test_every_quantization_is_one_whole_file_with_its_digest(trained: Path, checkpoints: Path, tmp_path: Path) -> None:
    sizes = {}
    for kind in ("f32", "f16", "bf16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"):
        made = gguf(checkpoints / "llama", tmp_path / f"{kind}.gguf", "--adapter", trained / "lora", "--quant", kind).json
        assert set(made) >= {"path", "digest", "bytes", "quantization", "fallback_tensors"}
        assert made["bytes"] == Path(made["path"]).stat().st_size
        assert call("export", "verify", made["path"], "--json").json["files"] == {made["path"]: made["digest"]}
        sizes[kind] = made["bytes"]
    assert sizes["f32"] > sizes["f16"] == sizes["bf16"] > sizes["Q8_0"] > sizes["Q5_K_M"] > sizes["Q4_K_M"]
    wide = gguf(checkpoints / "wide", tmp_path / "wide.gguf", "--quant", "Q4_K_M").json
    assert wide["fallback_tensors"] == [], "rows of 256 need no other type"
    seen = call("export", "inspect", tmp_path / "wide.gguf", "--json").json
    assert (seen["kind"], seen["architecture"], seen["template"]) == ("gguf", "llama", True)
    again = gguf(tmp_path / "f16.gguf", tmp_path / "again.gguf", "--quant", "Q8_0").json
    assert again["bytes"] == sizes["Q8_0"]
    alone = gguf(
        checkpoints / "llama", tmp_path / "lora.gguf", "--adapter", trained / "lora", "--adapter-only", "--quant", "f16"
    ).json
    assert alone["bytes"] < sizes["Q4_K_M"]
    assert call("export", "inspect", tmp_path / "lora.gguf", "--json").json["kind"] == "gguf-adapter"
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_parity_names_the_first_layer_that_differs(trained: Path, checkpoints: Path, tmp_path: Path) -> None:
    gguf(checkpoints / "llama", tmp_path / "model.gguf", "--adapter", trained / "lora", "--quant", "f16")
    serve = {"gguf": "model.gguf", "stop": ["invoice"], "sampling": {"temperature": 0.7}}
    (tmp_path / "serve.json").write_text(json.dumps(serve))
    words = ("--checkpoint", checkpoints / "llama", "--adapter", trained / "lora", "--artifact", tmp_path)
    prompts = write_lines(tmp_path / "prompts.jsonl", ROWS[:2])
    found = call("export", "parity", *words, "--prompts", prompts, "--json")
    assert (found.code, found.json["verdict"], found.json["layer"]) == (1, "block", "stop")
    assert [check["layer"] for check in found.json["checks"] if not check["ok"]] == ["stop", "sampling"]


def test_a_project_trains_exports_examines_and_takes_adapters_in(trained: Path, checkpoints: Path, tmp_path: Path) -> None:
    project = tmp_path / "p"
    where = ("--dir", project, "--json")
    call("init", project, "--model", "desk")
    shutil.copytree(checkpoints / "llama", project / "base")
    write_lines(tmp_path / "rows.jsonl", ROWS)
    assert call("data", "import", tmp_path / "rows.jsonl", "--model", "desk", *where).json["added"] == len(ROWS)
    frozen = call("data", "freeze", "--model", "desk", *where).json["version"]
    recipe = write_yaml(tmp_path / "recipe.yaml", {**RECIPE, "rank": 64})
    words = ("train", "run", "--model", "desk", "--dataset", frozen, "--recipe", recipe, "--dir", project)
    told = full(400, *words)  # the databases fit, an adapter of rank 64 does not
    assert (told.code, told.json["error"]["kind"]) == (4, "DiskFull")
    done = run(*words, "--json").json
    assert (done["state"], done["version"].startswith("desk@v1.0-")) == ("done", True)
    assert call(*words, "--json").json["run"] == done["run"], "the same work is the same run"
    assert call("eval", "init", "--model", "desk", *where).json["cases"] > 0
    exam = run("eval", "run", "--model", "desk", "--version", "v1.0", "--suite", "suites/core.yaml", *where)
    assert set(exam.json) >= {"verdict", "metrics", "cases", "inconclusive_because"}
    assert set(exam.json["metrics"]["accuracy"]) == {"value", "low", "high", "n"}
    assert (exam.code, exam.json["verdict"]) == (1, "fail"), "a random model is no good"
    parity = call("export", "parity", done["version"], *where)
    assert (parity.code, parity.json["verdict"]) == (0, "pass")
    written = call("export", "gguf", "v1.0", "--quant", "Q4_K_M", "--out", tmp_path / "v.gguf", *where).json
    assert call("export", "verify", tmp_path / "v.gguf", "--json").json["files"][written["path"]] == written["digest"]

    taken = ("model", "import", "--adapter", trained / "lora", "--model", "desk", *where, "--base")
    outside = call(*taken, checkpoints / "llama").json
    assert outside["version"].startswith("v1.1-")
    refused = call(*taken, checkpoints / "qwen")
    assert (refused.code, refused.json["error"]["kind"]) == (2, "ArtifactError")
    listed = call("model", "ls", *where).json["versions"]
    assert [each["version"]["name"] for each in listed] == [done["version"].partition("@")[2], outside["version"]]
    assert listed[0]["verdict"] == "fail"
    chain = [link["kind"] for link in call("show", done["version"], *where).json["chain"]]
    assert {"version", "artifact", "exam", "run", "dataset"} <= set(chain)
