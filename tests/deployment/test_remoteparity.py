"""Parity at an endpoint of which only chats can be asked: a real llama.cpp behind a server that is set up badly in each way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import DESK, edit_json
from tests.deployment.conftest import serving
from tests.deployment.meddling import Answered, Change, meddling
from tunekeeper.cli.app import main
from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.deployment import Parity
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.parity import Limits
from tunekeeper.deployment.remoteparity import client_of, compare_remote
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.engines import ChatClient
from tunekeeper.text.tokenizers import read_tokenizer

Body = dict[str, Any]


class Place:
    """A llama.cpp server that holds what was trained, one that holds another model of that base, and training's answers."""

    def __init__(self, right: ChatClient, other: ChatClient, references: list[Reference]) -> None:
        self.right, self.other, self.references = right, other, references

    def compare(self, change: Change, answered: Answered, *, other: bool = False, times: int = 1) -> Parity:
        """`times`: how often the references are asked, as if there were so many more."""
        with meddling((self.other if other else self.right).base, _only_chats(change), answered) as url:
            return compare_remote(ChatClient(url, "m"), read_tokenizer(DESK), self.references * times, Limits())


def _only_chats(change: Change) -> Change:
    def changed(path: str, body: Body) -> Body:
        assert path == "/v1/chat/completions", "no other path is promised"
        return change(path, body)

    return changed


@pytest.fixture(scope="module")
def place(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("remote")
    export_folder(DESK, made / "desk" / "adapter", "f16", folder / "right.gguf")
    shutil.copytree(made / "desk" / "adapter", folder / "louder")
    edit_json(folder / "louder" / "adapter_config.json", lora_alpha=400)
    export_folder(DESK, folder / "louder", "f16", folder / "other.gguf")
    with serving(folder / "right.gguf") as right, serving(folder / "other.gguf") as other:
        yield Place(right, other, read_transcript(made / "desk" / "transcript.jsonl"))


def as_asked(path: str, body: Body) -> Body:
    return body


def as_said(path: str, said: Body) -> Body:
    return said


def mute(path: str, said: Body) -> Body:
    """Without probabilities, as many providers answer."""
    if "choices" in said:
        said["choices"][0].pop("logprobs", None)
    return said


def set_to(**fields: Any) -> Change:
    return lambda path, body: body | fields


def told(*messages: Body) -> Change:
    return lambda path, body: body | {"messages": [*messages, *body["messages"]]}


def begun(path: str, said: Body) -> Body:
    said["choices"][0]["message"]["content"] = "Sure! " + said["choices"][0]["message"]["content"]
    return said


@pytest.mark.real
def test_an_endpoint_that_answers_as_training_did_passes(place: Place) -> None:
    found = place.compare(as_asked, as_said)
    assert (found.verdict, [check.layer for check in found.checks]) == (
        "pass",
        ["template", "stop", "tokenizer", "quantization", "sampling"],
    )
    assert all(check.n for check in found.checks)
    assert place.compare(as_asked, mute, times=4).verdict == "pass", "twelve equal answers say enough"


@pytest.mark.real
@pytest.mark.parametrize(
    ("fault", "change", "layer"),
    [
        ("another model", as_asked, "quantization"),
        ("a prompt of its own", told({"role": "system", "content": "You are terse."}), "template"),
        ("another template", told({"role": "user", "content": ""}), "template"),
        ("a stop text of its own", set_to(stop=[":"]), "stop"),
        ("its end token is passed over", set_to(ignore_eos=True), "stop"),
        ("a temperature of its own", set_to(temperature=2.5, seed=-1), "sampling"),
        ("a penalty of its own", set_to(repeat_penalty=9.0, repeat_last_n=64), "sampling"),
        ("a shorter limit", set_to(max_tokens=3), "sampling"),
    ],
)
def test_a_fault_is_found_and_its_layer_named(place: Place, fault: str, change: Change, layer: str) -> None:
    other = fault == "another model"
    found = place.compare(change, as_said, other=other)
    assert (found.verdict, found.layer) == ("block", layer), found.checks
    if fault.startswith("a penalty"):
        return  # answers that a penalty changes are steady: without probabilities nobody can tell them from another model's
    found = place.compare(change, mute, other=other, times=4)
    assert (found.verdict, found.layer) == ("block", layer), found.checks


@pytest.mark.real
def test_words_put_before_an_answer_are_found(place: Place) -> None:
    found = place.compare(as_asked, begun)
    assert (found.verdict, found.layer) == ("block", "template")
    assert "which its tokens do not say" in found.checks[0].detail


@pytest.mark.real
def test_what_an_endpoint_does_not_say_is_no_evidence(place: Place) -> None:
    found = place.compare(as_asked, mute)
    assert (found.verdict, found.layer) == ("inconclusive", "quantization")
    assert "3 of 3 answers begin as training's (44% to 100%)" in next(c.detail for c in found.checks if c.layer == found.layer)

    def uncounted(path: str, said: Body) -> Body:
        said.pop("usage", None)
        return said

    found = place.compare(as_asked, uncounted)
    assert (found.verdict, found.layer) == ("inconclusive", "template")
    assert "does not count tokens" in found.checks[0].detail
    assert compare_remote(place.right, None, [], Limits()).verdict == "inconclusive", "training left nothing to compare with"


@pytest.mark.real
def test_a_server_that_knows_fewer_settings_is_asked_with_fewer(place: Place) -> None:
    seen: list[Body] = []

    def picky(path: str, body: Body) -> Body:
        seen.append(body)
        return {"messages": 1} if "top_logprobs" in body else body

    assert place.compare(picky, as_said, times=4).verdict == "pass"
    assert set(seen[1]) == {"model", "messages", "max_tokens", "temperature"}


@pytest.mark.real
def test_any_endpoint_is_compared_from_the_command_line(place: Place, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--checkpoint", str(DESK), "--adapter", str(made / "desk" / "adapter")]
    assert main(["export", "parity", *files, "--endpoint", place.right.base + "/v1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "pass"
    assert main(["export", "parity", *files, "--endpoint", place.right.base, "--live"]) == 2
    assert main(["export", "parity", *files, "--name", "m"]) == 2
    assert main(["export", "parity", *files, "--endpoint", place.right.base, "--api-key-env", "NO_SUCH_KEY"]) == 2
    assert "NO_SUCH_KEY is empty" in capsys.readouterr().err


@pytest.mark.real
def test_a_server_of_several_models_is_asked_for_one_by_name(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_of(place.right.base, None, None).model == "v", "the only one"
    monkeypatch.setattr("tunekeeper.deployment.remoteparity.listed_models", lambda base, key: ("a", "b"))
    with pytest.raises(UserError, match="has 2 models: a, b"):
        client_of(place.right.base, None, None)
    assert client_of(place.right.base, "b", None).model == "b"
