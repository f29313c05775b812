"""Endpoints that are set up badly, on the real llama.cpp: the comparison blocks and names the layer."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.checkpoints import DESK
from tests.deployment.meddling import Answered, Change, meddling
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


def found(
    served: tuple[str, list[Reference]], change: Change | None, answered: Answered = lambda path, said: said
) -> tuple[str, str | None]:
    endpoint, references = served

    def ask(address: str) -> tuple[str, str | None]:
        measured = measure_endpoint(
            ChatClient(address, "v"), DESK, ("<|im_end|>",), references, answers=True, plain=None, always={}
        )
        verdict = decide_live(measured, Limits())
        return verdict.verdict, verdict.layer

    if change is None:
        return ask(endpoint)
    with meddling(endpoint, change, answered) as address:
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


def without(*names: str, paths: tuple[str, ...] = CHAT + RAW) -> Answered:
    """Answers that lack these fields, wherever they stand."""

    def bare(value: Any) -> Any:
        if isinstance(value, list):
            return [bare(each) for each in value]
        return {k: bare(v) for k, v in value.items() if k not in names} if isinstance(value, dict) else value

    return lambda path, said: bare(said) if path in paths else said


@pytest.mark.parametrize(
    ("answered", "layer"),
    [
        pytest.param(without("completion_probabilities", "logprobs"), "quantization", id="no probabilities at all"),
        pytest.param(without("logprobs", paths=CHAT), "sampling", id="none in chats"),
        pytest.param(without("top_logprobs", "top_probs"), "sampling", id="no lists of the likeliest"),
        pytest.param(without("tokens"), "sampling", id="no token ids"),
    ],
)
def test_what_an_endpoint_does_not_say_is_no_pass(served: tuple[str, list[Reference]], answered: Answered, layer: str) -> None:
    assert found(served, lambda path, body: body, answered) == ("inconclusive", layer)


def test_chats_that_get_one_another_s_answers_are_named(served: tuple[str, list[Reference]]) -> None:
    begun, turn, last = threading.Barrier(len(served[1][:4]), timeout=60), itertools.count(), {}

    def swapped(path: str, said: dict[str, Any]) -> dict[str, Any]:
        """What is asked alone is answered well; of those that come at once each gets the next one's."""
        if path not in CHAT or "logprobs" in said["choices"][0] or next(turn) < len(served[1][:4]):
            return said
        mine = begun.wait()
        last[mine] = said
        begun.wait()
        return last[(mine + 1) % begun.parties]

    assert found(served, lambda path, body: body, swapped) == ("block", "sampling")


def test_a_reference_without_an_answer_is_no_fault(served: tuple[str, list[Reference]]) -> None:
    endpoint, references = served
    bare = [replace(r, answer="", answer_ids=(), logprobs=(), stopped=False) for r in references]
    measured = measure_endpoint(ChatClient(endpoint, "v"), DESK, (), bare, answers=False, plain=None, always={})
    assert (measured.template.differ, measured.stop.differ, measured.tokenizer.differ, measured.sampling.differ) == (0, 0, 0, 0)
