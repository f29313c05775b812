"""vLLM: a server of somebody else that holds one base and takes adapters at run time; every version is a model name of its own.

`VLLM` is the engine of a slot that names such a server. `VllmServer` speaks what is its own: which adapters it holds, of what
parent and from which path, loading and unloading one, and what the served model thinks of given token ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunekeeper.core.errors import ArtifactError, TunekeeperError, UpstreamUnavailable
from tunekeeper.engines.client import base_of, call, listed_models
from tunekeeper.engines.engine import Capabilities
from tunekeeper.engines.remote import OpenAI

DEFAULT_ENDPOINT = "http://127.0.0.1:8000"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
LOADING_SECONDS = 300.0
"""Longest that loading one adapter may take; milliseconds are usual, a server that warms up lets it wait."""
ANSWER_SECONDS = 600.0
"""Longest that one answer may take: a server's first request compiles."""
SWITCH = "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve BASE --enable-lora"
_RANK = re.compile(r"LoRA rank (\d+) is greater than max_lora_rank (\d+)")
_WORKER = re.compile(r"Worker failed with error '(.*)', please check", re.DOTALL)
_UNSEEN = ("No adapter found for", "Not a directory", "No such file", "Permission denied")


class VLLM(OpenAI):
    """An adapter is a model name of its own, which is never given to another adapter."""

    def health_path(self) -> str:
        return "/health"

    def probe(self, endpoint: str, api_key: str | None = None) -> Capabilities:
        base = base_of(endpoint)
        models = listed_models(base, api_key)
        try:
            adapters = VllmServer(base, api_key).takes_adapters()
        except UpstreamUnavailable:
            adapters = False  # it serves; what more it takes is not promised
        return Capabilities(models=models, logprobs=True, adapters=adapters)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """One adapter that a server holds."""

    path: str
    """Where the server read it, as the server names it."""
    parent: str
    """Name of the base it is put on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What a server holds now."""

    base: str
    """Name of its base, which requests without an adapter name."""
    root: str
    """Folder or repository name that the base was read from, as the server names it."""
    length: int | None = None
    """Most tokens of prompt and answer together; None when it does not say."""
    adapters: dict[str, Loaded] = field(default_factory=dict)
    """Adapters by the name that requests choose them by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What a served model thinks of one token of a given text."""

    logprob: float
    """Natural log-probability of the token."""
    rank: int
    """1 for the token that it would have chosen itself."""


class VllmServer:
    """One vLLM server. Every method raises UpstreamUnavailable when it does not answer as a vLLM does."""

    def __init__(self, endpoint: str, api_key: str | None = None) -> None:
        """`endpoint` with or without `/v1`. Raises ConfigError when it is no address."""
        self.base = base_of(endpoint)
        self.api_key = api_key

    def holding(self, *, total: float = 30.0) -> Holding:
        """What it holds now. `total`: seconds it may take to say so."""
        rows = self._object("GET", "/v1/models", None, total).get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
            raise self._stranger("its list of models is none")
        bases = [row for row in rows if not row.get("parent")]
        if not bases or not isinstance(bases[0].get("root"), str):
            raise self._stranger("its list names no base and where that lies")
        adapters = {row["id"]: Loaded(path=str(row.get("root")), parent=str(row["parent"])) for row in rows if row.get("parent")}
        length = bases[0].get("max_model_len")
        return Holding(
            base=bases[0]["id"],
            root=bases[0]["root"],
            length=length if isinstance(length, int) else None,
            adapters=adapters,
        )

    def takes_adapters(self) -> bool:
        """Whether it has the routes that load adapters at run time. Nothing is loaded by asking."""
        status, _ = self._call("GET", LOAD, None, 30.0)
        return status == 405

    def load(self, name: str, path: str, *, total: float = LOADING_SECONDS) -> bool:
        """Load the adapter folder `path`, as the server sees it, under a name; whether it was not there before.

        Raises ArtifactError for an adapter that the server does not take or cannot see, UpstreamUnavailable for a server that
        takes none at run time.
        """
        status, body = self._call("POST", LOAD, {"lora_name": name, "lora_path": path}, total)
        if status == 200:
            return True
        said = _said(body)
        if status == 400 and "already been loaded" in said:
            return False
        raise self._refusal(name, path, status, said)

    def unload(self, name: str, *, total: float = 60.0) -> bool:
        """Take an adapter away; whether it was there."""
        status, body = self._call("POST", UNLOAD, {"lora_name": name}, total)
        if status == 200:
            return True
        said = _said(body)
        if status == 404 and name in said:
            return False
        raise self._refusal(name, "", status, said)

    def prompt_ids(self, model: str, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Token ids of the prompt that the server makes of a conversation, ready for the answer."""
        body = {"model": model, "messages": list(messages), "add_generation_prompt": True}
        return self._ids("/tokenize", {**body, "tools": list(tools)} if tools else body)

    def text_ids(self, model: str, text: str) -> list[int]:
        """Token ids of a text as it stands."""
        return self._ids("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})

    def judged(self, model: str, prompt: Sequence[int], answer: Sequence[int]) -> list[Judged]:
        """What a model thinks of each token of `answer` after `prompt`, in one request."""
        ids = [*prompt, *answer]
        body = {"model": model, "prompt": ids, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 1}
        entries = self._choice("/v1/completions", body).get("prompt_logprobs")
        if not isinstance(entries, list) or len(entries) != len(ids):
            raise self._stranger("it gives no log-probabilities of a prompt's tokens")
        return [self._entry(entry, id) for entry, id in zip(entries[len(prompt) :], answer, strict=True)]

    def ends_after(self, model: str, prompt: Sequence[int], token: int) -> bool:
        """Whether an answer ends when a model, after `prompt`, is made to choose `token`."""
        forced = {"max_tokens": 2, "temperature": 0.0, "logit_bias": {str(token): 100.0}}
        said = self._choice("/v1/completions", {"model": model, "prompt": list(prompt), **forced})
        return said.get("finish_reason") == "stop"

    def chat(self, model: str, messages: Sequence[Mapping[str, Any]], max_tokens: int, **settings: Any) -> str:
        """The greedy answer to a conversation; `settings` go into the body as they are."""
        body = {"model": model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0.0, **settings}
        message = self._choice("/v1/chat/completions", body).get("message")
        return str(message.get("content") or "") if isinstance(message, dict) else ""

    def _entry(self, entry: Any, token: int) -> Judged:
        found = entry.get(str(token)) if isinstance(entry, dict) else None
        if not isinstance(found, dict) or not isinstance(found.get("logprob"), int | float):
            raise self._stranger("it gives no log-probability of a prompt's token")
        return Judged(logprob=float(found["logprob"]), rank=int(found.get("rank") or 0))

    def _ids(self, path: str, body: Mapping[str, Any]) -> list[int]:
        ids = self._object("POST", path, body, 60.0).get("tokens")
        if not isinstance(ids, list) or not all(isinstance(id, int) for id in ids):
            raise self._stranger(f"{path} gives no token ids")
        return ids

    def _choice(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        choices = self._object("POST", path, body, ANSWER_SECONDS).get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise self._stranger(f"{path} gives no answer")
        return choices[0]

    def _object(self, method: str, path: str, body: Mapping[str, Any] | None, total: float) -> dict[str, Any]:
        status, data = self._call(method, path, body, total)
        if status != 200:
            raise self._failed(f"{method} {path}", status, _said(data))
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise self._stranger(f"{path} is not answered with JSON")
        return value

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None, total: float) -> tuple[int, bytes]:
        try:
            return call(method, self.base + path, body, api_key=self.api_key, total=total)
        except UpstreamUnavailable as error:
            raise UpstreamUnavailable(
                f"no vLLM answers at {self.base}: {error.message}", fix="start it, or name another endpoint"
            ) from error

    def _refusal(self, name: str, path: str, status: int, said: str) -> TunekeeperError:
        """Why an adapter was not loaded or unloaded, in one line."""
        if status in (404, 405) and (not said or said in ("Not Found", "Method Not Allowed")):
            return UpstreamUnavailable(f"vLLM at {self.base} takes no adapters at run time", fix=SWITCH)
        if "LoRA is not enabled" in said:
            return UpstreamUnavailable(f"vLLM at {self.base} runs without --enable-lora", fix=SWITCH)
        if path and any(mark in said for mark in _UNSEEN):
            return ArtifactError(
                f"vLLM at {self.base} does not see {path}",
                fix="share the folder with it: deployment.adapters names it here, deployment.adapters_there on the server",
            )
        if rank := _RANK.search(said):
            return ArtifactError(
                f"vLLM at {self.base} takes ranks up to {rank[2]}, the adapter of {name} has rank {rank[1]}",
                fix=f"start the server with --max-lora-rank {rank[1]}, or serve it merged (export vllm --merged)",
            )
        if status in (400, 422, 500) and said:
            return ArtifactError(f"vLLM at {self.base} refused {name}: {said}")
        return self._failed(f"adapter {name}", status, said)

    def _failed(self, what: str, status: int, said: str) -> TunekeeperError:
        if status in (400, 413, 422):
            return ArtifactError(f"vLLM at {self.base} refused {what}: {said}")
        if status in (401, 403):
            return UpstreamUnavailable(
                f"vLLM at {self.base} refuses the key: {what}: {said or status}", fix="name its variable: deployment.api_key_env"
            )
        return UpstreamUnavailable(f"vLLM at {self.base}: {what}: status {status}: {said}")

    def _stranger(self, why: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(f"what answers at {self.base} is no vLLM: {why}", fix="name the address of a vLLM server")


def _said(body: bytes) -> str:
    """A refusal in the server's own words, on one line."""
    try:
        value = json.loads(body)
        text = value.get("error", value.get("detail", value)) if isinstance(value, dict) else value
        text = text.get("message", text) if isinstance(text, dict) else text
    except ValueError:
        text = body.decode("utf-8", "replace")
    found = _WORKER.search(str(text))
    return " ".join((found[1] if found else str(text)).split())[:300]
