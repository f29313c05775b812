"""The loop once round on real parts: the real trainer on the tiny base, llama.cpp, every process that `tunekeeper up` starts."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from openai import OpenAI

from tests.journeys.test_killed_anywhere import announced
from tests.patience import PATIENCE
from tunekeeper.cli.app import main
from tunekeeper.config import load_project
from tunekeeper.core.nouns.retraining import Cycle
from tunekeeper.demo.world import SYSTEM, WORLD_1, conversation
from tunekeeper.deployment.slots import arm
from tunekeeper.gateway.keys import create_key
from tunekeeper.processes.ending import running
from tunekeeper.store.ledgers.artifacts import find_artifacts
from tunekeeper.store.ledgers.cycles import find_cycles
from tunekeeper.store.ledgers.runs import load_run
from tunekeeper.store.ledgers.slots import find_slots
from tunekeeper.store.ledgers.versions import load_version
from tunekeeper.workspace import Workspace, open_workspace

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
MODEL = "desk"
YAML = f"""\
model: {MODEL}
base: base
system: {SYSTEM}
format: {{kind: json, fields: {{category: [], priority: []}}}}
training: {{rank: 8, epochs: 2, learning_rate: 0.003, batch: 8, max_tokens: 256, transcript: 8, answer_tokens: 32}}
evaluation: {{min_cases: 30, dataset_cases: 6, max_tokens: 32, judged_by: estimate}}
deployment: {{quantization: Q8_0, context: 256, smoke_prompts: 10, smoke_max_tokens: 32, parity_prompts: 4}}
"""
SUITE = f"""\
suite: core
model: {MODEL}
scorers: [json_fields, format]
criteria:
  - {{metric: format, at_least: 0.8}}
  - {{metric: accuracy, at_least: 0.02}}
cases: core.jsonl
"""


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Path:
    """A small project of its own on the example's base."""
    folder = tmp_path / "desk"
    for name in ("models", "suites", "data"):
        (folder / name).mkdir(parents=True)
    shutil.copytree(repository / "examples" / "support_desk" / "base", folder / "base")
    (folder / "tunekeeper.yaml").write_text("project: small\n")
    (folder / "models" / f"{MODEL}.yaml").write_text(YAML)
    (folder / "suites" / "core.yaml").write_text(SUITE)
    talks = [conversation(ticket) for ticket, _ in zip(WORLD_1.tickets(random.Random(3), "known"), range(230), strict=False)]
    cases = [{"id": f"c{n}", "messages": talk[:-1], "expected": talk[-1]["content"]} for n, talk in enumerate(talks[:30])]
    (folder / "suites" / "core.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (folder / "data" / "rows.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks[30:]))
    return folder


@contextmanager
def up(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`tunekeeper up`; its address and the process, which is ended at the latest with the block."""
    command = [sys.executable, "-m", "tunekeeper", "up", "--dir", str(folder), "--port", "0", "--json"]
    with (folder / "up.out").open("wb") as out, (folder / "up.err").open("wb") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
    try:
        yield announced(folder / "up.out"), child
    finally:
        child.terminate()
        child.wait(60)


def test_a_small_model_goes_round_the_loop_and_back(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tell(*words: str) -> Any:
        assert main([*words, "--dir", str(project), "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    assert tell("data", "import", str(project / "data" / "rows.jsonl"), "--model", MODEL)
    assert tell("data", "freeze", "--model", MODEL)
    with up(project) as (url, supervisor):
        ws = open_workspace(project / ".tunekeeper", project=project)
        tell("retrain", "run", "--model", MODEL, "--dataset", f"{MODEL}/d1", "--why", "the first version")
        _reached(ws, "approve")
        consent = tell("retrain", "approve", "--model", MODEL, "--by", "Ana")
        cycle = _reached(ws, "closed")
        assert cycle.state == "promoted"
        assert consent["version"] == cycle.records["train"]
        _learned(ws, cycle)
        request = _a_client_is_answered(url, ws, cycle)
        _the_chain_is_shown(tell("show", request), cycle)
        _there_and_back(ws, tell, cycle)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0
    _nothing_is_left(project)


def _reached(ws: Workspace, stage: str, seconds: float = 900.0) -> Cycle:
    """The cycle once it is so far, as `tunekeeper up` takes it there."""
    end = time.monotonic() + seconds
    while True:
        with ws.state.read() as tx:
            [cycle] = find_cycles(tx, model=MODEL)
        if stage in (cycle.stage, "closed" if cycle.state == "promoted" else ""):
            return cycle
        assert cycle.state == "open", cycle.closed_why
        assert time.monotonic() < end, f"{cycle.stage}: {cycle.waiting}"
        time.sleep(0.25)


def _learned(ws: Workspace, cycle: Cycle) -> None:
    with ws.state.read() as tx:
        version = load_version(tx, cycle.records["train"])
        run = load_run(tx, version.run or "")
        artifacts = {artifact.version: artifact for artifact in find_artifacts(tx, model=MODEL)}
    assert run.loss[-1] < run.loss[0]
    assert ws.blobs.verify(version.adapter or "")
    parity = artifacts[version.id].parity
    assert parity is not None
    assert parity.verdict == "pass"
    assert [check.layer for check in parity.checks if check.ok] == [check.layer for check in parity.checks]


def _a_client_is_answered(url: str, ws: Workspace, cycle: Cycle) -> str:
    """Plain and streaming, by the official client; gives the id of the plain request."""
    client = OpenAI(base_url=f"{url}/v1", api_key=create_key(ws, name="journey").key, timeout=60, max_retries=0)
    asked: list[Any] = conversation(next(WORLD_1.tickets(random.Random(99), "known")))[:-1]
    with client:
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=asked, max_tokens=32, temperature=0)
        said = raw.parse().choices[0].message.content
        stream = client.chat.completions.create(model=MODEL, messages=asked, max_tokens=32, temperature=0, stream=True)
        streamed = "".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices)
    assert said is not None
    assert set(json.loads(said)) == {"category", "priority"}
    assert streamed == said
    assert raw.headers["x-tunekeeper-version"] == cycle.records["train"].partition("@")[2]
    return str(raw.headers["x-tunekeeper-request-id"])


def _the_chain_is_shown(shown: dict[str, Any], cycle: Cycle) -> None:
    chain = {link["kind"]: link["id"] for link in shown["chain"]}
    assert chain["version"] == cycle.records["train"]
    assert chain["dataset"] == f"{MODEL}/d1"
    assert {"request", "artifact", "exam", "rollout", "run", "example"} <= set(chain)


def _there_and_back(ws: Workspace, tell: Callable[..., Any], cycle: Cycle) -> None:
    """The prompted base into the other slot, by a person's override; then back, at once."""
    with ws.state.read() as tx:
        base = next(artifact for artifact in find_artifacts(tx, model=MODEL) if artifact.version != cycle.records["train"])
        version = load_version(tx, base.version)
    slot = arm(ws, load_project(ws.project or ws.root).model(MODEL).sections["deployment"], version, base, gated=False)
    end = time.monotonic() + PATIENCE
    while next(each for each in _slots(ws) if each.id == slot.id).observed != "ready":
        assert time.monotonic() < end, "the second slot was not loaded"
        time.sleep(0.1)
    tell("route", "set", MODEL, f"{slot.id}=10000", "--override", "a look at the base")
    assert tell("route", "show", MODEL)["shares"] == {slot.id: 10_000}
    move = tell("rollback", MODEL)
    assert (move["from"], f"{MODEL}@{move['to']}") == (version.name, cycle.records["train"])
    assert len(move["acknowledged_by"]) + len(move["pending"]) == 1
    assert move["ms"] < 10_000
    assert tell("route", "show", MODEL)["champion"] == cycle.records["load"]


def _slots(ws: Workspace) -> list[Any]:
    with ws.control.read() as tx:
        return find_slots(tx, model=MODEL)


def _nothing_is_left(project: Path) -> None:
    assert running(project / ".tunekeeper") == {}
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert [line for line in lines if str(project) in line] == []
    last = [json.loads(line) for line in (project / "up.out").read_text().splitlines()]
    with pytest.raises(httpx.ConnectError):
        httpx.get(next(event["url"] for event in last if event["event"] == "ready") + "/livez", timeout=2)
