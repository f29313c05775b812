"""A double of Ollama, written from its documented API: a real HTTP server on loopback that keeps its word, for tests without one.

    python -m tunekeeper.testing.ollama --port 0

prints `{"listening": "http://127.0.0.1:PORT"}` and serves until SIGTERM. Blobs are held to their digests and are gone after a
`restart` unless a model needs them; `create` reads GGUF headers and parses the template as the real one does, reports errors
after its first line inside HTTP 200, inherits adapters from a `from`, and refuses one that would have to be pulled. From release
0.30 on it keeps a copy of a model's file, whose digest is another, and takes the file's own chat template where that offers more
than the one sent. Templates are really rendered; what a model then says is up to `answer`; its thoughts stand beside its answer
where the template has a place for them. One request at a time is answered, `queue` wait, the next gets 503; no request chooses an
adapter, and a name that is deleted stays in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tunekeeper.core.errors import TunekeeperError
from tunekeeper.core.ids import digest_file
from tunekeeper.deployment import gotemplate, ollamatemplate
from tunekeeper.deployment.header import read_gguf
from tunekeeper.deployment.ollamapackage import read_dialect
from tunekeeper.deployment.ollamatemplate import Dialect
from tunekeeper.engines.ollama import NAME
from tunekeeper.testing import loopback
from tunekeeper.testing.ollamafiles import Refused, check_files, copy_file
from tunekeeper.testing.ollamahttp import Handler

UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
PART, PLAIN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)"), re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
DURATION = re.compile(rf"[-+]?({PART.pattern})+")
QUANTIZES = ("q4_k_m", "q4_k_s", "q8_0")
COPIES = (0, 30)
"""First release that keeps a copy of a file, and chooses between its own chat template and the Go template."""
THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
FLOATS = {"F32", "F16", "BF16"}
Reply = tuple[int, Any]
"""Status and JSON body; None is an empty one."""


@dataclass(kw_only=True, slots=True)
class Stored:
    """A model as the server keeps it."""

    name: str
    """Its name with tag."""
    model: str
    """Digest of its weights."""
    adapters: tuple[str, ...] = ()
    """Digests of its adapters, inherited ones first."""
    template: str = "{{ .Prompt }}"
    """Go template."""
    system: str = ""
    """System prompt."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters."""
    messages: tuple[dict[str, Any], ...] = ()
    """Turns before every conversation."""


def echo(prompt: str, model: Stored, options: dict[str, Any]) -> str:
    """The default answer: how much it was asked, and by which name."""
    return f"{model.name} read {len(prompt)} characters"


class OllamaDouble(ThreadingHTTPServer):
    """One server; look at what it holds through its fields, make it fail through `faults`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        answer: Callable[[str, Stored, dict[str, Any]], str] = echo,
        *,
        port: int = 0,
        version: str | None = "0.32.15",
        queue: int = 512,
        room: int | None = None,
        renders: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`answer`: prompt after the template, model, options → text. `version`: None answers 404 there, as something older.
        `room`: bytes of disk for blobs; None: enough. `renders`: whether it knows `_debug_render_only`. `now`: seconds.
        """
        super().__init__(("127.0.0.1", port), Handler)
        self.answer, self.version, self.room, self.renders, self.now = answer, version, room, renders, now
        self.models: dict[str, Stored] = {}
        self.loaded: dict[str, float] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.faults: list[tuple[str, int, Any]] = []
        self.folder = Path(tempfile.mkdtemp(prefix="tunekeeper-ollama-"))
        self.lock = threading.RLock()
        self._turn, self._queue, self._waiting = threading.Lock(), queue, 0
        self._own: dict[str, Dialect | None] = {}

    @property
    def url(self) -> str:
        """Its root address."""
        return f"http://127.0.0.1:{self.server_port}"

    def server_close(self) -> None:
        """Stop listening and forget the blobs."""
        super().server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def restart(self) -> None:
        """As after a restart of the real one: nothing is loaded, blobs that no model needs are gone."""
        with self.lock:
            self.loaded.clear()
            needed = {digest for model in self.models.values() for digest in (model.model, *model.adapters)}
            for path in self.folder.iterdir():
                if path.name.replace("-", ":") not in needed:
                    path.unlink()

    def fault(self, path: str) -> tuple[int, Any] | None:
        """The scripted answer to the next request of a path, once: `faults` holds `(path, status, body)`; status 0 hangs up."""
        with self.lock:
            found = next((each for each in self.faults if path.startswith(each[0])), None)
            if found is not None:
                self.faults.remove(found)
        return None if found is None else (found[1], found[2])

    # ---- blobs ----

    def blob(self, digest: str) -> Path:
        """Where a blob lies, whether or not it is there."""
        return self.folder / digest.replace(":", "-")

    def take_blob(self, digest: str, pieces: Iterator[bytes]) -> Reply:
        """Keep what is sent under its digest, if it has that digest."""
        if self.blob(digest).exists():
            return 200, None
        found, size = hashlib.sha256(), 0
        used = sum(path.stat().st_size for path in self.folder.iterdir())
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="part-", delete=False) as part:
            for piece in pieces:
                size += len(piece)
                if self.room is not None and used + size > self.room:
                    Path(part.name).unlink()
                    return 500, {"error": f"write {part.name}: no space left on device"}
                found.update(piece)
                part.write(piece)
        if f"sha256:{found.hexdigest()}" != digest:
            Path(part.name).unlink()
            return 400, {"error": f'digest mismatch, expected "{digest}", got "sha256:{found.hexdigest()}"'}
        Path(part.name).rename(self.blob(digest))
        return 201, None

    # ---- models ----

    def find(self, name: Any) -> Stored | None:
        """The model of a name, in any case, with or without `:latest`."""
        whole = str(name) if ":" in str(name) else f"{name}:latest"
        return next((model for key, model in self.models.items() if key.lower() == whole.lower()), None)

    def create(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The lines of a create; the last is `success`, or holds `error` and its status."""
        name = str(body.get("model") or body.get("name") or "")
        whole = name if ":" in name else f"{name}:latest"
        if not NAME.fullmatch(whole):
            yield {"error": "invalid model name", "status": 400}
            return
        try:
            made = Stored(name=whole, model="")
            if body.get("from"):
                yield from self._inherit(made, str(body["from"]))
            elif body.get("files"):
                check_files(body["files"], self.blob)
                yield {"status": "parsing GGUF"}
                made.model = self._gguf(body["files"], adapter=False)
            else:
                raise Refused("neither 'from' or 'files' was specified", 400)
            if body.get("adapters"):
                check_files(body["adapters"], self.blob)
                yield {"status": "parsing GGUF"}
                made.adapters += (self._gguf(body["adapters"], adapter=True),)
            if body.get("quantize"):
                self._check_quantize(made, str(body["quantize"]))
            if body.get("files") and not body.get("from") and self.modern:
                yield {"status": "validating GGUF model", "digest": "0000000000000000000", "total": 1, "completed": 1}
                yield {"status": "verifying conversion"}
                made.model = self._copied(made.model)
            self._say(made, body)
        except Refused as refused:
            yield {"error": str(refused), "status": refused.status}
            return
        for digest in (made.model, *made.adapters):
            yield {"status": f"using existing layer {digest}"}
        yield {"status": "writing manifest"}
        with self.lock:
            self.models[whole] = made
        yield {"status": "success"}

    def _inherit(self, made: Stored, source: str) -> Iterator[dict[str, Any]]:
        found = self.find(source)
        if found is None:
            yield {"status": "pulling manifest"}
            raise Refused("pull model manifest: file does not exist: this double reaches no registry", 500)
        made.model, made.adapters, made.template = found.model, found.adapters, found.template
        made.system, made.parameters, made.messages = found.system, dict(found.parameters), found.messages

    def _gguf(self, files: Any, *, adapter: bool) -> str:
        if not isinstance(files, dict) or not files:
            raise Refused("no files provided to convert", 400)
        if len(files) > 1:
            raise Refused("only one adapter is currently supported" if adapter else "supplied file was not in GGUF format", 400)
        _, digest = next(iter(files.items()))
        path = self.blob(str(digest))
        if not path.is_file():
            raise Refused(f"open {path}: no such file or directory", 500)
        try:
            header = read_gguf(path)
        except TunekeeperError:
            raise Refused("supplied file was not in GGUF format", 400) from None
        if header.adapter != adapter:
            raise Refused("the file is an adapter" if header.adapter else "the file is not an adapter", 400)
        return str(digest)

    def _copied(self, digest: str) -> str:
        """Digest of the copy that is kept of a file."""
        part = self.folder / f"part-{digest.replace(':', '-')}"
        copy_file(self.blob(digest), part)
        found = digest_file(part)
        part.replace(self.blob(found))
        return found

    def _check_quantize(self, made: Stored, kind: str) -> None:
        if kind.lower() not in QUANTIZES:
            raise Refused(f"unsupported quantization type {kind.upper()} - supported types are Q4_K_S, Q4_K_M, Q8_0", 400)
        if not {tensor.kind for tensor in read_gguf(self.blob(made.model)).tensors} <= FLOATS:
            raise Refused("quantization is only supported for F16, BF16 and F32 models", 400)
        raise Refused("this double quantizes nothing: push the file ready-made", 500)

    def _say(self, made: Stored, body: dict[str, Any]) -> None:
        if body.get("template"):
            try:
                gotemplate.parse(str(body["template"]))
            except TunekeeperError as error:
                raise Refused(f"template error: {error.message}", 400) from None
            made.template = str(body["template"])
        made.system = str(body.get("system") or made.system)
        made.parameters |= dict(body.get("parameters") or {})
        made.messages = tuple(body.get("messages") or made.messages)

    # ---- answers ----

    def prompt(self, model: Stored, messages: list[dict[str, Any]]) -> str:
        """What the template makes of a conversation, with the model's own turns and system prompt."""
        whole = [*model.messages, *messages]
        if model.system and (not messages or messages[0].get("role") != "system"):
            whole = [{"role": "system", "content": model.system}, *whole]
        own = self.own(model)
        return gotemplate.chat(model.template, whole) if own is None else ollamatemplate.expected(own, whole)

    @property
    def modern(self) -> bool:
        """Whether it is of a release that runs llama.cpp's own server."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version or "0")[:2]) >= COPIES

    def own(self, model: Stored) -> Dialect | None:
        """The file's own chat template where it is taken: it offers more than the Go template does."""
        if not self.modern:
            return None
        if model.model not in self._own:
            self._own[model.model] = read_dialect(self.blob(model.model))[0]
        found = self._own[model.model]
        offers = (".Tools" in model.template) + (".Thinking" in model.template)
        return found if found is not None and _offers(found.template) > offers else None

    def spoken(self, model: Stored, text: str) -> tuple[str, str]:
        """A text's thoughts, and what stands behind them: told apart where the template has a place for thoughts."""
        own = self.own(model)
        found = THOUGHT.match(text)
        if found is None or not (".Thinking" in model.template if own is None else "</think>" in own.template):
            return "", text
        return found[1].strip(), text[found.end() :]

    def say(self, model: Stored, prompt: str, options: dict[str, Any]) -> tuple[str, str]:
        """Text and done reason: the answer up to a stop text, or to `num_predict` words."""
        options = {**model.parameters, **{key: value for key, value in options.items() if value is not None}}
        text, reason = self.answer(prompt, model, options), "stop"
        stop = options.get("stop") or ()
        stops = [at for each in ([stop] if isinstance(stop, str) else stop) if (at := text.find(each)) >= 0]
        text = text[: min(stops)] if stops else text
        length = int(options.get("num_predict", -1))
        words = _words(text)
        if 0 <= length < len(words):
            text, reason = "".join(words[:length]), "length"
        return text, reason

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """One request's turn: False when the queue is full."""
        with self.lock:
            full = self._waiting > self._queue
            self._waiting += not full
        if full:
            yield False
            return
        try:
            with self._turn:
                yield True
        finally:
            with self.lock:
                self._waiting -= 1

    def keep(self, name: str, keep_alive: Any) -> None:
        """Load a model, or let it go, as `keep_alive` says; without one a loaded model's end stays as it was."""
        seconds = seconds_of(keep_alive)
        with self.lock:
            if seconds == 0:
                self.loaded.pop(name, None)
            elif seconds is not None or name not in self.in_memory():
                seconds = 300.0 if seconds is None else seconds
                self.loaded[name] = float("inf") if seconds < 0 else self.now() + seconds

    def in_memory(self) -> list[str]:
        """Names of the models that are loaded now."""
        return list(self.ends())

    def ends(self) -> dict[str, float]:
        """Name of each model that is loaded now → seconds that it stays so."""
        with self.lock:
            return {name: end - self.now() for name, end in self.loaded.items() if end > self.now()}

    @staticmethod
    def seconds(keep_alive: Any) -> float | None:
        """What `keep_alive` says. Raises ValueError."""
        return seconds_of(keep_alive)


def _offers(template: str) -> int:
    """How much a chat template of a file offers beyond answers: tools, thoughts."""
    return ("tools" in template or "tool_call" in template) + ("<think>" in template and "</think>" in template)


def _words(text: str) -> list[str]:
    """Pieces of one word with the space before it."""
    pieces, at = [], 0
    for end in [i for i in range(1, len(text)) if text[i].isspace() and not text[i - 1].isspace()] + [len(text)]:
        pieces.append(text[at:end])
        at = end
    return [piece for piece in pieces if piece]


def seconds_of(keep_alive: Any) -> float | None:
    """`-1`, `0`, `300`, `"5m"`, `"1h30m"`, `"-1"` in seconds; None when nothing was said. Raises ValueError for other texts."""
    if keep_alive is None or isinstance(keep_alive, int | float):
        return keep_alive
    text = str(keep_alive)
    if PLAIN.fullmatch(text):
        return float(text)
    if not DURATION.fullmatch(text):
        raise ValueError(f'time: invalid duration "{text}"')
    sign = -1.0 if text.startswith("-") else 1.0
    return sign * sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))


def serving(
    answer: Callable[[str, Stored, dict[str, Any]], str] = echo, *, kind: type[OllamaDouble] = OllamaDouble, **options: Any
) -> AbstractContextManager[OllamaDouble]:
    """A double that serves while the block lasts; `kind`: one with manners of its own, `options` as of `OllamaDouble`."""
    return loopback.serving(kind(answer, **options))


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="A double of Ollama, for tests.")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 takes a free one")
    loopback.serve(serving(port=parser.parse_args().port))


if __name__ == "__main__":
    main()
