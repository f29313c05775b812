"""Endpoints that are set up badly, on the real llama.cpp: the comparison blocks and names the layer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import DESK
from tests.deployment.meddling import Change, meddling
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.compare import measure_endpoint
from tunekeeper.deployment.exporting import export_folder
from tunekeeper.deployment.parity import Limits, decide_live
from tunekeeper.deployment.transcript import Reference, read_transcript
from tunekeeper.engines import ChatClient, serve_temporarily

pytestmark = pytest.mark.real
CHAT, RAW = ("/v1/chat/completions",), ("/completion",)
CHANCE = random.Random(0)


@pytest.fixture(scope="module")
def served(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Reference]]]:
    """The example's base with a small adapter, served, and what transformers answers."""
    done = export_folder(DESK, made / "desk" / "adapter", "Q8_0", tmp_path_factory.mktemp("served") / "m.gguf")
    slot = Slot(id="a", model="m", version="v", engine="llamacpp", files={"model": done.path}, options={"parallel": 1})
    with serve_temporarily(slot, Path("/")) as endpoint:
        yield endpoint, read_transcript(made / "desk" / "transcript.jsonl")


def found(served: tuple[str, list[Reference]], change: Change | None) -> tuple[str, str | None]:
    endpoint, references = served

    def ask(address: str) -> tuple[str, str | None]:
        measured = measure_endpoint(
            ChatClient(address, "v"), DESK, ("<|im_end|>",), references, answers=True, plain=None, always={}
        )
        verdict = decide_live(measured, Limits())
        return verdict.verdict, verdict.layer

    if change is None:
        return ask(endpoint)
    with meddling(endpoint, change) as address:
        return ask(address)


def adding(paths: tuple[str, ...], **fields: Any) -> Change:
    """Fields of its own, on these paths."""
    return lambda path, body: body | fields if path in paths else body


def own_prompt(path: str, body: dict[str, Any]) -> dict[str, Any]:
    if path not in CHAT:
        return body
    return body | {"messages": [{"role": "system", "content": "You are helpful."}, *body["messages"]]}


def no_seed(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return body | ({"seed": CHANCE.randrange(1 << 30)} if "seed" in body else {})


def shortest(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return body | {key: min(5, body[key]) for key in ("n_predict", "max_tokens") if key in body}


def stopping(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return body | ({"stop": [*body.get("stop", []), ","]} if path in CHAT else {})


def test_a_sound_endpoint_passes(served: tuple[str, list[Reference]]) -> None:
    assert found(served, None) == found(served, lambda path, body: body) == ("pass", None)


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        pytest.param(own_prompt, "template", id="a system prompt of its own"),
        pytest.param(adding(CHAT, add_generation_prompt=False), "template", id="no generation prompt"),
        pytest.param(adding(CHAT, temperature=1.5), "sampling", id="temperature 0 is not heard by chats"),
        pytest.param(adding(CHAT + RAW, temperature=1.5), "sampling", id="temperature 0 is not heard at all"),
        pytest.param(adding(CHAT, repeat_penalty=1.8), "sampling", id="repetition is punished in chats"),
        pytest.param(adding(CHAT + RAW, repeat_penalty=1.8), "sampling", id="repetition is punished"),
        pytest.param(adding(CHAT, presence_penalty=2.0, frequency_penalty=2.0), "sampling", id="penalties"),
        pytest.param(adding(CHAT, logit_bias=[[300, 50.0]]), "sampling", id="a bias in chats"),
        pytest.param(adding(CHAT, top_k=4), "sampling", id="a short list of its own in chats"),
        pytest.param(adding(RAW, min_p=0.2), "sampling", id="a short list of its own"),
        pytest.param(shortest, "sampling", id="answers are cut"),
        pytest.param(adding(CHAT, max_tokens=3), "sampling", id="chats are cut"),
        pytest.param(no_seed, "sampling", id="the seed is not heard"),
        pytest.param(stopping, "sampling", id="a stop text of its own"),
    ],
)
def test_a_badly_set_up_endpoint_is_blocked_and_the_layer_named(
    served: tuple[str, list[Reference]], change: Change, layer: str
) -> None:
    assert found(served, change) == ("block", layer)


def test_a_reference_without_an_answer_is_no_fault(served: tuple[str, list[Reference]]) -> None:
    endpoint, references = served
    bare = [replace(r, answer="", answer_ids=(), logprobs=(), stopped=False) for r in references]
    measured = measure_endpoint(ChatClient(endpoint, "v"), DESK, (), bare, answers=False, plain=None, always={})
    assert (measured.template.differ, measured.stop.differ, measured.tokenizer.differ, measured.sampling.differ) == (0, 0, 0, 0)
