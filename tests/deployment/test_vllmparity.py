from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.deployment.ollama import BASE
from tests.deployment.vllm import make_adapter, make_transcript
from tunekeeper.core.nouns.deployment import Parity
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.deployment.vllmparity import compare_live
from tunekeeper.engines.vllm import VllmServer
from tunekeeper.testing.vllm import VllmDouble, serving
from tunekeeper.text.tokenizers import read_tokenizer


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "one")


@pytest.fixture(scope="module")
def references(adapter: Path) -> list[Reference]:
    return read_transcript(make_transcript(adapter.with_suffix(".jsonl"), adapter))


def compared(double: VllmDouble, adapter: Path, references: list[Reference], eos: tuple[int, ...] = (2,)) -> Parity:
    server = VllmServer(double.url)
    server.load("desk", str(adapter))
    return compare_live(server, "desk", read_tokenizer(BASE), eos, references, Limits())


def test_what_answers_as_trained_passes_every_layer(adapter: Path, references: list[Reference]) -> None:
    with serving(BASE) as double:
        found = compared(double, adapter, references)
    assert (found.verdict, [check.layer for check in found.checks]) == (
        "pass",
        ["template", "stop", "tokenizer", "merge", "quantization", "sampling"],
    )
    merge = next(check for check in found.checks if check.layer == "merge")
    assert (merge.value, merge.n) == (pytest.approx(0.0, abs=1e-9), sum(len(r.answer_ids) for r in references))


def test_another_template_is_named_with_its_first_token(adapter: Path, references: list[Reference]) -> None:
    with serving(BASE) as double:
        double.tokenizer = dataclasses.replace(double.tokenizer, template="{{ messages[0]['content'] }}")
        found = compared(double, adapter, references)
    assert (found.verdict, found.layer) == ("block", "template")
    assert found.checks[0].detail.startswith("token 0 of prompt p0: training has [1, ")


def test_an_end_that_the_server_does_not_know_is_named(adapter: Path, references: list[Reference]) -> None:
    with serving(BASE) as double:
        found = compared(double, adapter, references, eos=(2, 7))
    assert (found.verdict, found.layer) == ("block", "stop")
    assert found.checks[1].detail == "token 7 ended answers in training, the server runs on after it"


def test_other_token_ids_are_named(adapter: Path, references: list[Reference]) -> None:
    changed = dataclasses.replace(references[0], rendered=references[0].rendered.replace("Pad", "pad"))
    with serving(BASE) as double:
        found = compared(double, adapter, [changed, *references[1:]])
    assert (found.verdict, found.layer) == ("block", "tokenizer")
    assert "the server" in found.checks[2].detail


def test_a_gap_beyond_the_limit_is_a_matter_of_the_weights(adapter: Path, references: list[Reference]) -> None:
    off = [dataclasses.replace(r, logprobs=tuple(value - 0.2 for value in r.logprobs)) for r in references]
    with serving(BASE) as double:
        found = compared(double, adapter, off)
    assert (found.verdict, found.layer) == ("block", "merge")
    assert found.checks[3].value == pytest.approx(0.2)


def test_a_default_of_the_server_that_changes_greedy_answers_is_named(adapter: Path, references: list[Reference]) -> None:
    with serving(BASE, repetition=2.0) as double:
        found = compared(double, adapter, references)
    assert (found.verdict, found.layer) == ("block", "sampling")
    assert "--generation-config vllm" in found.checks[5].detail


def test_without_references_nothing_is_concluded(adapter: Path) -> None:
    with serving(BASE) as double:
        assert compared(double, adapter, []).verdict == "inconclusive"
