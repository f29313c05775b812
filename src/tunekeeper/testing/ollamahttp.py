"""The HTTP side of the Ollama double: paths, NDJSON, server-sent events, and the errors as the real one words them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from tunekeeper.deployment.header import GgufHeader, read_gguf
from tunekeeper.deployment.ollamashown import UNSHOWN
from tunekeeper.testing.loopback import Pieces

if TYPE_CHECKING:
    from tunekeeper.testing.ollama import OllamaDouble, Stored

BUSY = {"error": "server busy, please try again.  maximum pending requests exceeded"}
PIECE = 1 << 16
ARRAYS = tuple(f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type", "merges"))
"""Fields that are shown empty because they are long."""
CONTEXT = 4096
"""Tokens of a model that says nothing else."""
DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
"""Nanoseconds that the last line tells."""
FAR = 100 * 365 * 86400.0
"""Seconds that stand for ever."""


class Handler(Pieces):
    """One connection."""

    protocol_version = "HTTP/1.1"

    @property
    def double(self) -> OllamaDouble:
        """The server."""
        return cast("OllamaDouble", self.server)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        """Whether a blob is there; 200 on the root."""
        self._route("HEAD")

    def do_GET(self) -> None:
        """Lists."""
        self._route("GET")

    def do_POST(self) -> None:
        """Everything that is asked."""
        self._route("POST")

    def do_DELETE(self) -> None:
        """A model's end."""
        self._route("DELETE")

    def _route(self, method: str) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/blobs/"):
            self._blob(method, path.removeprefix("/api/blobs/"))
            return
        body, broken = self._body()
        self.double.asked.append((method, path, body))
        if self._scripted(path):
            return
        act = ROUTES.get((method, path))
        if act is None:
            known = any(path == other for _, other in ROUTES)
            self._send(405 if known else 404, {"error": "method not allowed" if known else "404 page not found"})
        elif broken or not isinstance(body, dict):
            self._send(400, {"error": "invalid character in body" if broken else "missing request body"})
        else:
            act(self, body)

    def _scripted(self, path: str) -> bool:
        found = self.double.fault(path)
        if found is None:
            return False
        status, body = found
        self.close_connection = True
        if status:
            self._send(status, body)
        return True

    def _body(self) -> tuple[Any, bool]:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            return (json.loads(raw) if raw else {}), False
        except ValueError:
            return None, True

    def _blob(self, method: str, digest: str) -> None:
        self.double.asked.append((method, self.path, None))
        hex = digest.removeprefix("sha256:")
        if self._scripted(self.path):
            return
        if not digest.startswith("sha256:") or len(hex) != 64 or not all(c in "0123456789abcdef" for c in hex):
            self.close_connection = True
            self._send(400, {"error": "invalid digest format"})
        elif method == "HEAD":
            self._send(200 if self.double.blob(digest).is_file() else 404, None)
        else:
            self.close_connection = True
            self._send(*self.double.take_blob(digest, self._pieces()))

    def _pieces(self) -> Iterator[bytes]:
        left = int(self.headers.get("content-length") or 0)
        while left > 0 and (piece := self.rfile.read(min(PIECE, left))):
            left -= len(piece)
            yield piece

    # ---- models ----

    def create(self, body: dict[str, Any]) -> None:
        """POST /api/create."""
        lines = self.double.create(body)
        if body.get("stream") is False:
            *_, last = lines
            self._send(int(last.pop("status")) if "error" in last else 200, last)
            return
        first = next(lines)
        if "error" in first:
            self._send(int(first.pop("status")), first)
            return
        self._start("application/x-ndjson")
        for line in (first, *lines):
            if "error" in line:
                line.pop("status")
            self._chunk(json.dumps(line).encode() + b"\n")
        self._chunk(b"")

    def show(self, body: dict[str, Any]) -> None:
        """POST /api/show."""
        if not (body.get("model") or body.get("name")):
            self._send(400, {"error": "model is required"})
            return
        model = self._model(body)
        if model is None:
            return
        header = read_gguf(self.double.blob(model.model))
        own = self.double.own(model)
        template = model.template if own is None else own.template
        said = {"modelfile": self._modelfile(model), "parameters": _parameters(model), "template": template}
        info = {key: [] if key in ARRAYS else value for key, value in header.pairs.items() if key not in UNSHOWN}
        more = {"system": model.system} if model.system else {}
        facts = {"details": _details(header), "model_info": info, "capabilities": ["completion"], "modified_at": _now()}
        self._send(200, {**said, **more, **facts})

    def _modelfile(self, model: Stored) -> str:
        lines = ['# Modelfile generated by "ollama show"', f"FROM {self.double.blob(model.model)}"]
        lines += [f"ADAPTER {self.double.blob(digest)}" for digest in model.adapters]
        lines.append(f'TEMPLATE """{model.template}"""')
        return "\n".join([*lines, *([f'SYSTEM """{model.system}"""'] if model.system else [])]) + "\n"

    def tags(self, body: dict[str, Any]) -> None:
        """GET /api/tags."""
        self._send(200, {"models": [self._row(model) for model in list(self.double.models.values())]})

    def ps(self, body: dict[str, Any]) -> None:
        """GET /api/ps."""
        ends = self.double.ends()
        models = [model for name, model in list(self.double.models.items()) if name in ends]
        self._send(200, {"models": [self._row(model) | self._running(model, ends[model.name]) for model in models]})

    def _running(self, model: Stored, left: float) -> dict[str, Any]:
        header = read_gguf(self.double.blob(model.model))
        trained = int(header.pairs.get(f"{header.architecture}.context_length") or CONTEXT)
        # For ever is said as a time in the far future, and a context longer than the model's own is cut to that.
        end = datetime.now(UTC) + timedelta(seconds=min(left, FAR))
        asked = int(model.parameters.get("num_ctx", CONTEXT))
        return {"size_vram": 0, "expires_at": end.isoformat(), "context_length": min(asked, trained)}

    def alive(self, body: dict[str, Any]) -> None:
        """GET and HEAD /: what browsers see."""
        self.send_response(200)
        text = b"Ollama is running"
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else text)

    def _row(self, model: Stored) -> dict[str, Any]:
        file, digest = self.double.blob(model.model), model.model.removeprefix("sha256:")
        facts = {"size": file.stat().st_size, "digest": digest, "details": _details(read_gguf(file))}
        return {"name": model.name, "model": model.name, "modified_at": _now(), **facts}

    def copy(self, body: dict[str, Any]) -> None:
        """POST /api/copy."""
        found, name = self.double.find(body.get("source")), str(body.get("destination") or "")
        if found is None or not name:
            self._send(404, {"error": f'model "{body.get("source")}" not found'})
            return
        whole = name if ":" in name else f"{name}:latest"
        with self.double.lock:
            self.double.models[whole] = dataclasses.replace(found, name=whole)
        self._send(200, None)

    def delete(self, body: dict[str, Any]) -> None:
        """DELETE /api/delete."""
        model = self._model(body)
        if model is None:
            return
        with self.double.lock:
            del self.double.models[model.name]
        self._send(200, None)

    def version(self, body: dict[str, Any]) -> None:
        """GET /api/version."""
        said = self.double.version
        self._send(*((200, {"version": said}) if said is not None else (404, {"error": "404 page not found"})))

    # ---- answers ----

    def generate(self, body: dict[str, Any]) -> None:
        """POST /api/generate: load, unload, or continue a prompt."""
        prompt, raw = str(body.get("prompt") or ""), bool(body.get("raw"))
        messages = [{"role": "user", "content": prompt}]
        self._native(body, bool(prompt), lambda model: prompt if raw else self.double.prompt(model, messages), "response", raw)

    def chat(self, body: dict[str, Any]) -> None:
        """POST /api/chat."""
        messages = list(body.get("messages") or ())
        self._native(body, bool(messages), lambda model: self.double.prompt(model, messages), "message")

    def _native(self, body: dict[str, Any], asks: bool, prompt_of: Callable[[Stored], str], key: str, raw: bool = False) -> None:
        model = self._model(body)
        if model is None:
            return
        try:
            seconds = self.double.seconds(body.get("keep_alive"))
        except ValueError as error:
            self._send(400, {"error": str(error)})
            return
        if not asks:
            self.double.keep(model.name, body.get("keep_alive"))
            reason = "unload" if seconds == 0 else "load"
            self._send(200, {"model": model.name, "created_at": _now(), **_value(key, ""), "done": True, "done_reason": reason})
            return
        with self.double.turn() as mine:
            if not mine:
                self._send(503, BUSY)
                return
            prompt = prompt_of(model)
            if body.get("_debug_render_only") and self.double.renders:
                self._send(200, {"model": model.name, "_debug_info": {"rendered_template": prompt}})
                return
            self.double.keep(model.name, body.get("keep_alive"))
            text, reason = self.double.say(model, prompt, dict(body.get("options") or {}))
        last = {"done": True, "done_reason": reason, "prompt_eval_count": len(prompt.split()), "eval_count": len(text.split())}
        last |= dict.fromkeys(DURATIONS, 1)
        thoughts, text = ("", text) if raw else self.double.spoken(model, text)
        if body.get("stream") is False:
            self._send(200, {"model": model.name, "created_at": _now(), **_value(key, text, thoughts), **last})
            return
        self._start("application/x-ndjson")
        said = [*(("", piece) for piece in _pieces(thoughts)), *((piece, "") for piece in _pieces(text))]
        for piece, thought in [*said, ("", "")]:
            ending = {"done": False} if piece or thought else last
            line = {"model": model.name, "created_at": _now(), **_value(key, piece, thought), **ending}
            self._chunk(json.dumps(line).encode() + b"\n")
        self._chunk(b"")

    def openai_chat(self, body: dict[str, Any]) -> None:
        """POST /v1/chat/completions."""
        self._openai(body, lambda model: self.double.prompt(model, list(body.get("messages") or ())), "chat.completion")

    def openai_completions(self, body: dict[str, Any]) -> None:
        """POST /v1/completions."""
        messages = [{"role": "user", "content": str(body.get("prompt") or "")}]
        self._openai(body, lambda model: self.double.prompt(model, messages), "text_completion")

    def _openai(self, body: dict[str, Any], prompt_of: Callable[[Stored], str], kind: str) -> None:
        model = self.double.find(body.get("model"))
        if model is None:
            said = f"model '{body.get('model')}' not found"
            self._send(404, {"error": {"message": said, "type": "api_error", "param": None, "code": None}})
            return
        with self.double.turn() as mine:
            if not mine:
                self._send(503, {"error": {"message": BUSY["error"], "type": "api_error", "param": None, "code": None}})
                return
            self.double.keep(model.name, None)
            options: dict[str, Any] = {key: body.get(key) for key in ("temperature", "top_p", "seed", "stop")}
            options["num_predict"] = body.get("max_tokens")
            prompt = prompt_of(model)
            text, reason = self.double.say(model, prompt, options)
        thoughts, text = self.double.spoken(model, text)
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        usage["total_tokens"] = sum(usage.values())
        chat = kind == "chat.completion"
        head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{len(self.double.asked)}", "object": kind, "model": model.name,
            "created": int(datetime.now(UTC).timestamp()), "system_fingerprint": "fp_ollama",
        }  # fmt: skip
        if not body.get("stream"):
            whole = {"message": _message(text, thoughts)} if chat else {"text": text}
            self._send(200, {**head, "choices": [{"index": 0, **whole, "finish_reason": reason}], "usage": usage})
            return
        self._start("text/event-stream")
        head["object"] = "chat.completion.chunk" if chat else kind
        steps = [*(("", piece) for piece in _pieces(thoughts) if chat), *((piece, "") for piece in _pieces(text)), ("", "")]
        for place, (piece, thought) in enumerate(steps, 1):
            part = {"delta": _message(piece, thought)} if chat else {"text": piece}
            self._event({**head, "choices": [{"index": 0, **part, "finish_reason": reason if place == len(steps) else None}]})
        if (body.get("stream_options") or {}).get("include_usage"):
            self._event({**head, "choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def openai_models(self, body: dict[str, Any]) -> None:
        """GET /v1/models."""
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "library"} for name in list(self.double.models)]
        self._send(200, {"object": "list", "data": rows})

    def _model(self, body: dict[str, Any]) -> Stored | None:
        name = body.get("model") or body.get("name")
        found = self.double.find(name)
        if found is None:
            self._send(404, {"error": f"model '{name}' not found"})
        return found

    # ---- bytes ----

    def _send(self, status: int, value: Any) -> None:
        data = b"" if value is None else json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _value(key: str, text: str, thoughts: str = "") -> dict[str, Any]:
    more = {"thinking": thoughts} if thoughts else {}
    return {key: text, **more} if key == "response" else {key: {"role": "assistant", "content": text, **more}}


def _message(text: str, thoughts: str) -> dict[str, Any]:
    """A message, or a piece of one, of the OpenAI-compatible paths."""
    return {"role": "assistant", "content": text} | ({"reasoning": thoughts} if thoughts else {})


def _details(header: GgufHeader) -> dict[str, Any]:
    """What lists and `show` say of a model's file."""
    kinds, family = [tensor.kind for tensor in header.tensors], header.architecture
    facts = {"parent_model": "", "format": "gguf", "family": family, "families": [family]}
    return facts | {"parameter_size": "", "quantization_level": max(set(kinds), key=kinds.count)}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _pieces(text: str) -> list[str]:
    return [text[at : at + 8] for at in range(0, len(text), 8)]


def _parameters(model: Stored) -> str:
    """One a line, as Go prints them: texts quoted, numbers plain."""
    rows = []
    for name, value in model.parameters.items():
        rows += [(name, each) for each in (value if isinstance(value, list) else [value])]
    return "\n".join(f"{name:<30} {json.dumps(each) if isinstance(each, str) else f'{each:g}'}" for name, each in rows)


ROUTES: dict[tuple[str, str], Callable[[Handler, dict[str, Any]], None]] = {
    ("POST", "/api/create"): Handler.create,
    ("POST", "/api/show"): Handler.show,
    ("GET", "/"): Handler.alive,
    ("HEAD", "/"): Handler.alive,
    ("GET", "/api/tags"): Handler.tags,
    ("GET", "/api/ps"): Handler.ps,
    ("POST", "/api/copy"): Handler.copy,
    ("DELETE", "/api/delete"): Handler.delete,
    ("GET", "/api/version"): Handler.version,
    ("POST", "/api/generate"): Handler.generate,
    ("POST", "/api/chat"): Handler.chat,
    ("POST", "/v1/chat/completions"): Handler.openai_chat,
    ("POST", "/v1/completions"): Handler.openai_completions,
    ("GET", "/v1/models"): Handler.openai_models,
}
