"""A model tuned whole, by commands: trained through a kill, exported, served by llama.cpp, examined, and made again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tunekeeper.cli.app import main
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.demo.world import SYSTEM, WORLD_1, conversation
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.deployment.verbs import prompted_base
from tunekeeper.engines import ChatClient
from tunekeeper.engines.temporary import serve_temporarily
from tunekeeper.store.ledgers.versions import load_version
from tunekeeper.workspace import Workspace, open_workspace

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
MODEL = "desk"
YAML = f"""\
model: {MODEL}
base: base
system: {SYSTEM}
format: {{kind: json, fields: {{category: [], priority: []}}}}
training: {{epochs: 2, learning_rate: 0.002, batch: 8, max_tokens: 256, transcript: 4, answer_tokens: 24, sample: 4}}
evaluation: {{min_cases: 1, dataset_cases: 0, max_tokens: 24}}
deployment: {{quantization: f32, context: 256, parity_prompts: 4}}
"""
SUITE = f"""\
suite: core
model: {MODEL}
scorers: [format]
criteria:
  - {{metric: format, at_least: 0.1}}
cases: core.jsonl
"""


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Path:
    """A small project on the example's base, with two recipes."""
    folder = tmp_path / "desk"
    for name in ("models", "suites", "data"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(repository / "examples" / "support_desk" / "base", folder / "base")
    (folder / "tunekeeper.yaml").write_text("project: small\n")
    (folder / "models" / f"{MODEL}.yaml").write_text(YAML)
    (folder / "suites" / "core.yaml").write_text(SUITE)
    (folder / "full.yaml").write_text("method: full\ndtype: float32\n")  # `auto` is bfloat16 on processors that work in it
    (folder / "lora.yaml").write_text("method: lora\nepochs: 1\n")
    talks = [conversation(ticket) for ticket, _ in zip(WORLD_1.tickets(random.Random(3), "known"), range(44), strict=False)]
    cases = [{"id": f"c{n}", "messages": talk[:-1], "expected": talk[-1]["content"]} for n, talk in enumerate(talks[:4])]
    (folder / "suites" / "core.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (folder / "data" / "rows.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks[4:]))
    return folder


def test_a_model_tuned_whole_is_served_as_it_was_trained(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tell(*words: str, code: int = 0) -> Any:
        assert main([*words, "--dir", str(project), "--json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    tell("data", "import", str(project / "data" / "rows.jsonl"), "--model", MODEL)
    tell("data", "freeze", "--model", MODEL)
    ws = open_workspace(project / ".tunekeeper", project=project)
    recipe = ("--model", MODEL, "--dataset", "latest", "--recipe", str(project / "full.yaml"))
    plan = tell("train", "plan", *recipe)
    assert plan["adapter_parameters"] == plan["base_parameters"]
    killer = threading.Thread(target=_kill_the_child_once, args=(ws,))
    killer.start()
    run = tell("train", "run", *recipe)
    killer.join()
    assert run["adapter"] is None
    assert ws.blobs.verify(run["checkpoint"])
    assert not list(ws.path("work").glob("*/files/**/*.safetensors")), "the model is in the store, and nowhere a second time"
    assert plan["disk_bytes"] == 4 * plan["base_parameters"]
    assert any("learns every number" in line for line in run["warnings"])
    _equals_its_training(ws, tell, run["version"], project / "whole.gguf")
    exam = tell("eval", "run", "--model", MODEL, "--version", run["version"].partition("@")[2], "--suite", "suites/core.yaml")
    assert exam["cases"] == 4
    again = tell("train", "reproduce", run["run"])
    assert (again["verdict"], again["largest_difference"]) == ("identical", 0.0)
    _is_no_adapter(ws, tell, project, run)


def _kill_the_child_once(ws: Workspace) -> None:
    """Kill the training child and its wrapper by their ids, once its first epoch is on the disk."""
    until(lambda: list(ws.path("work").glob("*/files/checkpoint.pt")), seconds=200)
    for name in ("wrapper.json", "child.json"):
        [file] = ws.path("work").glob(f"*/{name}")
        os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)


def _equals_its_training(ws: Workspace, tell: Callable[..., Any], version: str, out: Path) -> None:
    """The exported file, in the real llama.cpp, gives the answers that transformers gave, and their log-probabilities."""
    named = (version.partition("@")[2], "--model", MODEL)
    tell("export", "gguf", *named, "--quant", "f32", "--out", str(out))
    with ws.state.read() as tx:
        references = read_transcript(ws.blobs.path(load_version(tx, version).transcript or ""))
    assert len(references) == 4
    slot = Slot(id="whole", model=MODEL, engine="llamacpp", files={"model": str(out)}, options={"context": 256})
    with serve_temporarily(slot, Path("/")) as endpoint:
        client = ChatClient(endpoint, "whole")
        assert [client.chat(each.messages, max_tokens=24).text for each in references] == [each.answer for each in references]
    found = tell("export", "parity", *named)
    checks = {check["layer"]: check for check in found["checks"]}
    assert found["verdict"] == "pass"
    assert checks["merge"]["value"] < 0.01  # nats a token, beside transformers in float32


def _is_no_adapter(ws: Workspace, tell: Callable[..., Any], project: Path, run: dict[str, Any]) -> None:
    """What was tuned whole is not the prompted base, is gone on from whole, and takes no adapter on top."""
    assert prompted_base(ws, MODEL) is None
    asked = ("train", "run", "--model", MODEL, "--dataset", "latest", "--from", run["version"].partition("@")[2])
    refused = tell(*asked, "--recipe", str(project / "lora.yaml"), code=2)
    assert "is a whole model, and an adapter on it would have another base" in refused["error"]["message"]
    assert refused["error"]["fix"] == "write `method: full`, or leave out --from"
