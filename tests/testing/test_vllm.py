from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter, make_other_base, make_transcript
from tests.engines.vllmexchanges import RECORD, RECORD_WHOLE, exchanges
from tunekeeper.core.errors import ArtifactError
from tunekeeper.deployment.checkpoint import weights_digest
from tunekeeper.deployment.transcript import read_transcript
from tunekeeper.engines.vllm import VllmServer
from tunekeeper.testing.vllm import Mind, mind_of, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    make_adapter(folder / "desk", 1)
    make_adapter(folder / "foreign", 2, base="sha256:another")
    make_adapter(folder / "dora", 3, use_dora=True)
    make_adapter(folder / "wide", 4, rank=32)
    make_adapter(folder / "saved", 5, modules_to_save=["norm"])
    return folder


def test_it_answers_as_the_real_one_was_recorded(folder: Path) -> None:
    recorded: dict[str, Any] = json.loads(RECORD.read_text())
    with serving(BASE, name="base") as double:
        answered = exchanges(double.url, folder)
    assert list(answered) == list(recorded)
    assert [name for name in recorded if answered[name] != recorded[name]] == []


def test_it_answers_with_a_merged_model_as_the_real_one_was_recorded(folder: Path) -> None:
    recorded: dict[str, Any] = json.loads(RECORD_WHOLE.read_text())
    with serving(BASE, name="whole", lora=False, updating=False) as double:
        answered = exchanges(double.url, folder, whole=True)
    assert list(answered) == list(recorded)
    assert [name for name in recorded if answered[name] != recorded[name]] == []


def test_the_same_content_says_the_same_under_any_name_and_other_content_something_else(folder: Path) -> None:
    with serving(BASE) as double:
        server = VllmServer(double.url)
        said = {}
        for name, adapter in (("a", "desk"), ("b", "desk"), ("c", "foreign")):
            server.load(name, str(folder / adapter))
            said[name] = server.chat(name, [{"role": "user", "content": "hi"}], 12)
        assert said["a"] == said["b"] != said["c"]


def test_an_adapter_says_something_else_on_another_base(folder: Path, tmp_path: Path) -> None:
    other = make_other_base(tmp_path / "other")
    here, there = (make_transcript(tmp_path / f"{base.name}.jsonl", folder / "desk", base=base) for base in (BASE, other))
    assert [r.answer for r in read_transcript(here)] != [r.answer for r in read_transcript(there)]
    assert [r.prompt_ids for r in read_transcript(here)] == [r.prompt_ids for r in read_transcript(there)]


def test_a_shape_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    narrow = make_adapter(tmp_path / "narrow", 1)
    config = json.loads((narrow / "adapter_config.json").read_text())
    (narrow / "adapter_config.json").write_text(json.dumps({**config, "r": 2}))
    with serving(BASE) as double, pytest.raises(ArtifactError, match="refused narrow: shapes do not fit"):
        VllmServer(double.url).load("narrow", str(narrow))


def test_a_restart_forgets_what_was_loaded(folder: Path) -> None:
    with serving(BASE) as double:
        server = VllmServer(double.url)
        server.load("desk", str(folder / "desk"))
        double.restart()
        assert server.holding().adapters == {}


def test_what_it_says_is_a_distribution_and_ends_now_and_then() -> None:
    mind = Mind("content", 96, (2,))
    assert sum(2.718281828459045 ** float(value) for value in mind.logprobs([1, 2])) == pytest.approx(1.0)
    ends = [mind.say([number], 200, {}).stopped for number in range(20)]
    assert sum(ends) > 15
    assert mind.say([1], 3, {5: 1000.0}).ids == (5, 5, 5)
    assert mind_of(weights_digest(BASE), None, 96, (2,)) is mind_of(weights_digest(BASE), None, 96, (2,))


def test_it_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "tunekeeper.testing.vllm", str(BASE), "--served-model-name", "base"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        url = json.loads(child.stdout.readline())["listening"]
        assert VllmServer(url).holding().base == "base"
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
