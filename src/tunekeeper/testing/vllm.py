"""A double of vLLM, held to answers recorded from the real one: a real HTTP server on loopback, up in no time.

    python -m tunekeeper.testing.vllm BASE --port 0

prints `{"listening": "http://127.0.0.1:PORT"}` and serves the checkpoint folder BASE until SIGTERM. Prompts are really rendered
and tokenized by the base's own files; adapters are read from their folders and refused as the real one refuses them, in its
words; one of another base is accepted when its shapes fit, as there. What a model then says is drawn from the content of base
and adapter: the same content says the same under any name and for ever, other content something else. After a `restart` no
adapter is left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunekeeper.core.errors import TunekeeperError
from tunekeeper.deployment.adapter import open_adapter
from tunekeeper.deployment.checkpoint import open_checkpoint, weights_digest
from tunekeeper.testing import loopback
from tunekeeper.testing.vllmhttp import Handler
from tunekeeper.text.rendering import render
from tunekeeper.text.tokenizers import read_tokenizer

Reply = tuple[int, Any]
"""Status and body: JSON, or a text as it is."""
HEADS = ("classifier", "score")
ENDS_OF = 12
"""One in so many places ends an answer."""
RECENT, LIKED = 8, 6.0
"""Tokens that may be repeated, and what their logits have more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A continuation."""

    ids: tuple[int, ...]
    """Its tokens, with the end token where it came."""
    logprobs: tuple[float, ...]
    """Natural log-probability of each."""
    stopped: bool
    """Whether it ended by itself."""


class Mind:
    """What a model would say: a distribution over the vocabulary that the content and all tokens before determine."""

    def __init__(self, content: str, size: int, eos: Sequence[int]) -> None:
        """`content`: what base and adapter are. `size`: tokens of the vocabulary. `eos`: those that end an answer."""
        self._content, self._size, self._eos = content, size, tuple(eos)

    def logprobs(self, ids: Sequence[int]) -> NDArray[Any]:
        """Log-probability of every token after `ids`."""
        logits = self._logits(ids)
        return np.asarray(logits - np.logaddexp.reduce(logits))

    def _logits(self, ids: Sequence[int]) -> NDArray[Any]:
        seed = hashlib.blake2b(f"{self._content} {[*ids]}".encode(), digest_size=8).digest()
        draw = np.random.default_rng(int.from_bytes(seed, "big"))
        logits = draw.normal(0.0, 3.0, self._size)
        logits[list(ids[-RECENT:])] += LIKED  # as models do, it likes to repeat itself
        logits[list(self._eos)] = 20.0 if draw.integers(ENDS_OF) == 0 else -20.0
        return logits

    def say(
        self, ids: Sequence[int], length: int, bias: dict[int, float], *, penalty: float = 1.0, endless: bool = False
    ) -> Said:
        """The greedy continuation of at most `length` tokens, as a request asks for it.

        `bias` is added before choosing. `penalty`: what logits of tokens that are there already are divided by, where they are
        above 0, or multiplied with. `endless`: what would end an answer does not.
        """
        text = list(ids)
        said: list[int] = []
        logprobs: list[float] = []
        while len(said) < length and not (said and said[-1] in self._eos and not endless):
            wished, seen = self._logits(text), list(set(text))
            wished[seen] = np.where(wished[seen] > 0, wished[seen] / penalty, wished[seen] * penalty)
            for token, more in bias.items():
                wished[token] += more
            said.append(int(wished.argmax()))
            logprobs.append(float(self.logprobs(text)[said[-1]]))
            text.append(said[-1])
        return Said(ids=tuple(said), logprobs=tuple(logprobs), stopped=not endless and bool(said) and said[-1] in self._eos)


class VllmDouble(ThreadingHTTPServer):
    """One server; look at what it holds through `adapters`, make it fail through `faults`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        base: Path,
        *,
        name: str | None = None,
        root: str | None = None,
        port: int = 0,
        lora: bool = True,
        updating: bool = True,
        max_rank: int = 16,
        length: int = 512,
        api_key: str | None = None,
        repetition: float = 1.0,
    ) -> None:
        """`base`: checkpoint folder. `name`: --served-model-name; None: the folder. `root`: what it says of where its base lies;
        None: the folder. `lora`: --enable-lora. `updating`: VLLM_ALLOW_RUNTIME_LORA_UPDATING. `max_rank`: --max-lora-rank.
        `length`: --max-model-len. `repetition`: a penalty by default, as a base's generation_config.json may ask for.
        """
        super().__init__(("127.0.0.1", port), Handler)
        self.root, self.name = root or str(base), name or str(base)
        self.lora, self.updating, self.max_rank, self.length = lora, updating, max_rank, length
        self.api_key, self.repetition = api_key, repetition
        self.checkpoint, self.tokenizer = open_checkpoint(base), read_tokenizer(base)
        self.adapters: dict[str, str] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.faults: list[tuple[str, int, Any]] = []
        self.lock = threading.RLock()
        self._digest = weights_digest(base)

    @property
    def url(self) -> str:
        """Its root address."""
        return f"http://127.0.0.1:{self.server_port}"

    def restart(self) -> None:
        """As after a restart of the real one: what was loaded at run time is forgotten."""
        with self.lock:
            self.adapters.clear()

    def fault(self, path: str) -> tuple[int, Any] | None:
        """The scripted answer to the next request of a path, once: `faults` holds `(path, status, body)`; status 0 hangs up."""
        with self.lock:
            found = next((each for each in self.faults if path.startswith(each[0])), None)
            if found is not None:
                self.faults.remove(found)
        return None if found is None else (found[1], found[2])

    def knows(self, name: Any) -> bool:
        """Whether requests may name it."""
        return not name or name == self.name or name in self.adapters

    def mind(self, name: Any) -> Mind:
        """What answers to a name."""
        path = self.adapters.get(str(name))
        return mind_of(self._digest, path, self.checkpoint.shape.vocab, self.checkpoint.eos)

    def prompt(self, messages: Sequence[dict[str, Any]], tools: Any = None) -> list[int]:
        """Token ids of a conversation, ready for the answer."""
        extra = {"tools": tools} if tools else {}
        text = render(self.tokenizer.template or "", list(messages), add_generation_prompt=True, **extra)
        return self.tokenizer.encode(text)

    # ---- adapters ----

    def load(self, name: str, path: str, inplace: bool) -> Reply:
        """POST /v1/load_lora_adapter, after its fields were checked."""
        if not name or not path:
            return _refused("Both 'lora_name' and 'lora_path' must be provided.", "InvalidUserInput", 400)
        if name == self.name:
            return _refused(f"The lora adapter '{name}' conflicts with a served base model.", "InvalidUserInput", 400)
        with self.lock:
            if name in self.adapters and not inplace:
                said = f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                return _refused(said + "'load_inplace' to True.", "InvalidUserInput", 400)
            try:
                self._check(Path(path))
            except FileNotFoundError:
                shown = "<path>" if path.startswith("/") else path
                return _refused(f"Loading lora {name} failed: No adapter found for {shown}", "NotFoundError", 404)
            except ValueError as error:
                said = f"Call to add_lora method failed: Worker failed with error '{error}', please check the stack trace above "
                return _refused(said + "for the root cause", "InternalServerError", 500)
            self.adapters[name] = path
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _check(self, folder: Path) -> None:
        """Refuse what vLLM refuses. The base that an adapter was trained on is not among it."""
        if not self.lora:
            raise ValueError("LoRA is not enabled. Use --enable-lora to enable LoRA.")
        if folder.is_file():
            raise ValueError("[Errno 20] Not a directory: '<path>'")
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        wrong = []
        saved = [module for module in config.get("modules_to_save") or () if module not in HEADS]
        if saved:
            said = 'vLLM only supports modules_to_save being either None or ["classifier", "score"] for classification models.'
            wrong.append(f"{said} Unsupported modules_to_save: {saved}")
        if config.get("use_dora"):
            wrong.append("vLLM does not yet support DoRA.")
        rank = max([int(config["r"]), *(config.get("rank_pattern") or {}).values()])
        if rank > self.max_rank:
            wrong.append(f"LoRA rank {rank} is greater than max_lora_rank {self.max_rank}.")
        if wrong:
            raise ValueError(" ".join(wrong))
        try:
            open_adapter(folder, self.checkpoint)
        except TunekeeperError as error:
            raise ValueError(f"shapes do not fit: {error.message}") from None

    def unload(self, name: str) -> Reply:
        """POST /v1/unload_lora_adapter, after its fields were checked."""
        if not name:
            return _refused("'lora_name' needs to be provided to unload a LoRA adapter.", "InvalidUserInput", 400)
        with self.lock:
            if name not in self.adapters:
                return _refused(f"The lora adapter '{name}' cannot be found.", "NotFoundError", 404)
            del self.adapters[name]
        return 200, f"Success: LoRA adapter '{name}' removed successfully."


def _refused(message: str, kind: str, status: int) -> Reply:
    return status, {"error": {"message": message, "type": kind, "param": None, "code": status}}


@lru_cache(maxsize=64)
def mind_of(base: str, adapter: str | None, size: int, eos: tuple[int, ...]) -> Mind:
    """The mind of a base (digest of its weights) with an adapter folder: that of its weights, whatever they are called."""
    content = "" if adapter is None else hashlib.sha256((Path(adapter) / "adapter_model.safetensors").read_bytes()).hexdigest()
    return Mind(f"{base} {content}", size, eos)


def serving(base: Path, *, kind: type[VllmDouble] = VllmDouble, **options: Any) -> AbstractContextManager[VllmDouble]:
    """A double that serves while the block lasts; `options` as of `VllmDouble`."""
    return loopback.serving(kind(base, **options))


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="A double of vLLM, for tests.")
    parser.add_argument("base", type=Path, help="checkpoint folder")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 takes a free one")
    parser.add_argument("--served-model-name", help="name of the base; default: the folder")
    parser.add_argument("--max-lora-rank", type=int, default=16)
    given = parser.parse_args()
    loopback.serve(serving(given.base, port=given.port, name=given.served_model_name, max_rank=given.max_lora_rank))


if __name__ == "__main__":
    main()
