"""One script of requests that the double and a real vLLM are both asked, and their answers without what varies: the record.

`python -m tests.engines.vllmexchanges URL FOLDER` prints what the server at URL answers. It serves the example's base as `base`
with --max-lora-rank 16; with a third argument `whole`, a merged model of that name, without adapters.
`python -m tests.engines.vllmexchanges make FOLDER` makes the adapters in FOLDER.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tunekeeper.engines.client import call

RECORD = Path(__file__).parent / "vllm_recorded.json"
RECORD_WHOLE = Path(__file__).parent / "vllm_whole_recorded.json"
"""Of a server that was started with a merged model and without adapters."""
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "temperature": 0, "ignore_eos": True}
GO_ON: dict[str, Any] = {"prompt": "hello", "max_tokens": 3, "temperature": 0, "ignore_eos": True}
STREAM = {"stream": True, "logprobs": True, "top_logprobs": 1, "stream_options": {"include_usage": True}}
OWN_WORDS = ("message",)
"""Texts that belong to the record as they are."""


def script(folder: Path) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Name, method, path and body of each request, in order."""

    def load(name: str, path: str = "") -> dict[str, Any]:
        return {"lora_name": name, "lora_path": path or str(folder / name)}

    return [
        ("version", "GET", "/version", {}),
        ("nothing there", "GET", "/nothing", {}),
        ("the load route by GET", "GET", LOAD, {}),
        ("load", "POST", LOAD, load("desk")),
        ("load one of another base", "POST", LOAD, load("foreign")),
        ("load again", "POST", LOAD, load("desk")),
        ("load DoRA", "POST", LOAD, load("dora")),
        ("load a rank too high", "POST", LOAD, load("wide")),
        ("load modules_to_save", "POST", LOAD, load("saved")),
        ("load an unseen path", "POST", LOAD, load("gone")),
        ("load a relative path", "POST", LOAD, load("gone", "no/such")),
        ("load a file", "POST", LOAD, load("file", str(folder / "desk" / "adapter_config.json"))),
        ("load as the base", "POST", LOAD, load("base", str(folder / "desk"))),
        ("load without a path", "POST", LOAD, {"lora_name": "x"}),
        ("load without fields", "POST", LOAD, {"x": 1}),
        ("load with empty fields", "POST", LOAD, {"lora_name": "", "lora_path": ""}),
        ("models", "GET", "/v1/models", {}),
        ("chat", "POST", CHAT, {"model": "desk", **ASK}),
        ("chat streamed", "POST", CHAT, {"model": "desk", **ASK, **STREAM}),
        ("chat streamed plainly", "POST", CHAT, {"model": "desk", **ASK, "stream": True}),
        ("chat with the base", "POST", CHAT, {"model": "base", **ASK, "logprobs": True}),
        ("chat with nobody", "POST", CHAT, {"model": "nobody", **ASK}),
        ("chat without messages", "POST", CHAT, {"model": "desk", "messages": []}),
        ("chat beyond the length", "POST", CHAT, {"model": "desk", **ASK, "max_tokens": 9999}),
        ("complete", "POST", COMPLETE, {"model": "desk", **GO_ON}),
        ("complete streamed", "POST", COMPLETE, {"model": "desk", **GO_ON, "stream": True}),
        (
            "judge a prompt",
            "POST",
            COMPLETE,
            {"model": "desk", "prompt": [1, 296, 201], "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0},
        ),
        (
            "force the end",
            "POST",
            COMPLETE,
            {"model": "desk", "prompt": [1, 296], "max_tokens": 2, "temperature": 0, "logit_bias": {"2": 100.0}},
        ),
        ("tokenize a chat", "POST", "/tokenize", {"model": "desk", "messages": ASK["messages"], "add_generation_prompt": True}),
        ("tokenize a text", "POST", "/tokenize", {"model": "desk", "prompt": "hello", "add_special_tokens": False}),
        ("tokenize with nobody", "POST", "/tokenize", {"model": "nobody", "prompt": "hello"}),
        ("detokenize", "POST", "/detokenize", {"model": "desk", "tokens": [1, 296]}),
        ("unload", "POST", UNLOAD, {"lora_name": "foreign"}),
        ("unload again", "POST", UNLOAD, {"lora_name": "foreign"}),
        ("unload without fields", "POST", UNLOAD, {}),
        ("chat with what is unloaded", "POST", CHAT, {"model": "foreign", **ASK}),
        ("unload the last", "POST", UNLOAD, {"lora_name": "desk"}),
    ]


def script_whole(folder: Path) -> list[tuple[str, str, str, dict[str, Any]]]:
    """The same for a server that holds one merged model, `whole`, and takes no adapters."""
    asked = ("nothing there", "models", "chat", "chat streamed", "chat beyond the length", "complete", "complete streamed",
             "judge a prompt", "force the end", "tokenize a chat", "tokenize a text", "detokenize", "load", "unload")  # fmt: skip
    chosen = [each for each in script(folder) if each[0] in asked]
    return [(name, method, path, body | ({"model": "whole"} if "model" in body else {})) for name, method, path, body in chosen]


def exchanges(url: str, folder: Path, *, whole: bool = False) -> dict[str, dict[str, Any]]:
    """Name → status and shape of what the server at `url` answered. `whole`: it serves a merged model."""
    found = {}
    for name, method, path, body in script_whole(folder) if whole else script(folder):
        status, data = call(method, url + path, body if method == "POST" else None, total=300)
        found[name] = {"status": status, "body": _shape_of(data)}
    return found


def _shape_of(data: bytes) -> Any:
    text = data.decode()
    if text.startswith("data: "):
        events = [line.removeprefix("data: ") for line in text.splitlines() if line]
        shapes = [event if event == "[DONE]" else _shape(json.loads(event)) for event in events]
        # As many pieces as the answer has tokens: equal neighbours count once.
        return [shape for at, shape in enumerate(shapes) if not at or shape != shapes[at - 1]]
    try:
        return _shape(json.loads(text))
    except ValueError:
        return text


def _shape(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {("<id>" if name.isdigit() else name): _shape(each, name) for name, each in value.items()}
    if isinstance(value, list):
        if key == "bytes":
            return "bytes"
        shapes = [_shape(each) for each in value]
        return [shape for at, shape in enumerate(shapes) if shape not in shapes[:at]]
    if key in OWN_WORDS and isinstance(value, str):
        return value
    if key in ("id", "root", "parent", "object", "type", "param") and isinstance(value, str):
        return re.sub(r"-[0-9a-f]{16}$|^/.*/(?=[^/]+$)", "…", value)
    return value if value is None or isinstance(value, bool) else type(value).__name__


def make_adapters(folder: Path) -> Path:
    """`desk`, `rslora`, `dora`, `wide` (rank 32) and `saved`, adapters of the example's base; `foreign`, one of
    `otherbase`, whose shapes are the same; transcripts of what training would have said. Needs torch."""
    import shutil

    import torch

    from tests.deployment.checkpoints import DESK, TICKETS, load, make_adapter, transcribe

    torch.set_num_threads(1)
    kinds: dict[str, dict[str, Any]] = {
        "desk": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}, "wide": {"r": 32},
        "saved": {"modules_to_save": ["norm"]},
    }  # fmt: skip
    for name, options in kinds.items():
        tuned = make_adapter(folder / name, DESK, options, size=0.03)
        if name in ("desk", "rslora", "dora"):
            transcribe(tuned, DESK, folder / f"{name}.jsonl", TICKETS, 24)
    shutil.copytree(DESK, folder / "otherbase")
    other = load(DESK)
    torch.manual_seed(7)
    with torch.no_grad():
        for value in other.parameters():
            value.add_(torch.randn_like(value) * value.std() * 0.5)
    other.half().save_pretrained(folder / "otherbase")
    tuned = make_adapter(folder / "foreign", folder / "otherbase", {}, size=0.03)
    transcribe(tuned, folder / "otherbase", folder / "foreign.jsonl", TICKETS, 24)
    return folder


if __name__ == "__main__":
    address, adapters = sys.argv[1], Path(sys.argv[2])
    if address == "make":
        make_adapters(adapters)
    else:
        print(json.dumps(exchanges(address, adapters, whole="whole" in sys.argv[3:]), indent=1, ensure_ascii=False))
