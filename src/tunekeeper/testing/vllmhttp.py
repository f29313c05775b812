"""The HTTP side of the vLLM double: paths, server-sent events, and the errors as the real one words them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tunekeeper.testing.loopback import Pieces

if TYPE_CHECKING:
    from tunekeeper.testing.vllm import Mind, Said, VllmDouble

VERSION = "0.32.0"
PERMISSIONS = {
    "object": "model_permission", "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True,
    "allow_search_indices": False, "allow_view": True, "allow_fine_tuning": False, "organization": "*", "group": None,
    "is_blocking": False,
}  # fmt: skip
_MESSAGE = {"refusal": None, "annotations": None, "audio": None, "function_call": None, "reasoning": None}
_TRANSFER = {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}


class Handler(Pieces):
    """One connection."""

    server: VllmDouble
    protocol_version = "HTTP/1.1"
    # A head and its body are two writes: with Nagle's rule the second waits for the acknowledgement of the first.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        """Lists."""
        self._route("GET")

    def do_POST(self) -> None:
        """Everything that is asked."""
        self._route("POST")

    def _route(self, method: str) -> None:
        path = self.path.partition("?")[0]
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        double = self.server
        double.asked.append((method, path, raw))
        found = double.fault(path)
        if found is not None:
            self.close_connection = True
            if found[0]:
                self._send(*found)
            return
        if double.api_key and path.startswith("/v1") and self.headers.get("authorization") != f"Bearer {double.api_key}":
            self._send(401, {"error": "Unauthorized"})
            return
        hidden = path in (LOAD, UNLOAD) and not double.updating
        act = None if hidden else ROUTES.get((method, path))
        if act is None:
            known = not hidden and any(path == other for _, other in ROUTES)
            self._send(405 if known else 404, {"detail": "Method Not Allowed" if known else "Not Found"})
            return
        try:
            body = json.loads(raw) if raw else {}
        except json.JSONDecodeError as error:
            self._send(*_invalid([(f"body.{error.pos}", "json_invalid", "JSON decode error", 0, error.msg)]))
            return
        act(self, body)

    # ---- lists ----

    def health(self, body: dict[str, Any]) -> None:
        """GET /health."""
        self._send(200, "")

    def version(self, body: dict[str, Any]) -> None:
        """GET /version."""
        self._send(200, {"version": VERSION})

    def models(self, body: dict[str, Any]) -> None:
        """GET /v1/models: the base, then the adapters with their parent."""
        double = self.server
        rows = [_card(double.name, double.root, None, double.length)]
        rows += [_card(name, path, double.name, None) for name, path in list(double.adapters.items())]
        self._send(200, {"object": "list", "data": rows})

    # ---- adapters ----

    def load(self, body: dict[str, Any]) -> None:
        """POST /v1/load_lora_adapter."""
        if not self._lacks(body, "lora_name", "lora_path"):
            self._send(*self.server.load(body["lora_name"], body["lora_path"], bool(body.get("load_inplace"))))

    def unload(self, body: dict[str, Any]) -> None:
        """POST /v1/unload_lora_adapter."""
        if not self._lacks(body, "lora_name"):
            self._send(*self.server.unload(body["lora_name"]))

    def _lacks(self, body: dict[str, Any], *names: str) -> bool:
        missing = [(f"body.{name}", "missing", "Field required", len(body), "") for name in names if name not in body]
        if missing:
            self._send(*_invalid(missing))
        return bool(missing)

    # ---- tokens ----

    def tokenize(self, body: dict[str, Any]) -> None:
        """POST /tokenize: of a text, or of a conversation."""
        if not self._known(body):
            return
        double = self.server
        if "messages" in body:
            ids = double.prompt(body["messages"], body.get("tools"))
        else:
            ids = double.tokenizer.encode(str(body.get("prompt") or ""), add_special=bool(body.get("add_special_tokens", True)))
        self._send(200, {"count": len(ids), "max_model_len": double.length, "tokens": ids, "token_strs": None})

    def detokenize(self, body: dict[str, Any]) -> None:
        """POST /detokenize."""
        if self._known(body):
            self._send(200, {"prompt": self._text(body.get("tokens") or ())})

    def _text(self, ids: Any) -> str:
        return self.server.tokenizer.decode(list(ids))

    # ---- answers ----

    def chat(self, body: dict[str, Any]) -> None:
        """POST /v1/chat/completions."""
        if not self._known(body):
            return
        if not body.get("messages"):
            self._refuse("Cannot apply chat template to an empty conversation. Provide at least one message.", None)
            return
        prompt = self.server.prompt(body["messages"], body.get("tools"))
        said = self._said(body, prompt)
        if said is None:
            return
        head = self._head("chatcmpl", "chat.completion", body)
        if body.get("stream"):
            self._stream(head, body, prompt, said, chat=True)
            return
        message = {"role": "assistant", "content": self._words(said), **_MESSAGE}
        choice = {
            "index": 0, "message": message, "logprobs": self._entries(body, said.ids, said.logprobs), **_ending(said),
            "token_ids": None, "routed_experts": None,
        }  # fmt: skip
        whole = {"choices": [choice], "service_tier": None, "system_fingerprint": FINGERPRINT, "usage": _usage(prompt, said)}
        self._send(200, head | whole | {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None} | _TRANSFER)

    def completions(self, body: dict[str, Any]) -> None:
        """POST /v1/completions: of a text, or of token ids."""
        if not self._known(body):
            return
        given = body.get("prompt")
        prompt = self.server.tokenizer.encode(given, add_special=True) if isinstance(given, str) else list(given or ())
        said = self._said(body, prompt)
        if said is None:
            return
        head = self._head("cmpl", "text_completion", body)
        if body.get("stream"):
            self._stream(head, body, prompt, said, chat=False)
            return
        seen = None if body.get("prompt_logprobs") is None else self._judged(self.server.mind(body.get("model")), prompt)
        choice = {
            "index": 0, "text": self._words(said), "logprobs": None, **_ending(said), "token_ids": None,
            "prompt_logprobs": seen, "prompt_token_ids": None, "routed_experts": None,
        }  # fmt: skip
        whole = {"choices": [choice], "service_tier": None, "system_fingerprint": FINGERPRINT, "usage": _usage(prompt, said)}
        self._send(200, head | whole | _TRANSFER)

    def _said(self, body: dict[str, Any], prompt: list[int]) -> Said | None:
        """What the model answers; None when the request was refused."""
        double = self.server
        length = body.get("max_tokens") or body.get("max_completion_tokens") or 16
        if length > double.length:
            told = (
                f"max_tokens={length} cannot be greater than max_model_len={double.length}. Please request fewer output tokens."
            )
            self._refuse(f"{told} (parameter=max_tokens, value={length})", "max_tokens")
            return None
        bias = {int(token): float(more) for token, more in (body.get("logit_bias") or {}).items()}
        penalty = float(body.get("repetition_penalty", double.repetition))
        most, endless = min(length, double.length - len(prompt)), bool(body.get("ignore_eos"))
        return double.mind(body.get("model")).say(prompt, most, bias, penalty=penalty, endless=endless)

    def _judged(self, mind: Mind, ids: list[int]) -> list[dict[str, Any] | None]:
        found: list[dict[str, Any] | None] = [None]
        for at in range(1, len(ids)):
            scores = mind.logprobs(ids[:at])
            score = float(scores[ids[at]])
            rank = int((scores > score).sum()) + 1
            found.append({str(ids[at]): {"logprob": score, "rank": rank, "decoded_token": self._text(ids[at : at + 1])}})
        return found

    def _stream(self, head: dict[str, Any], body: dict[str, Any], prompt: list[int], said: Said, *, chat: bool) -> None:
        self._start("text/event-stream; charset=utf-8")
        if chat:
            head = {**head, "object": "chat.completion.chunk"}
            delta = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
            self._event({**head, "choices": [delta], "prompt_token_ids": None, "prompt_text": None})
        asks = bool((body.get("stream_options") or {}).get("include_usage"))
        for place, choice in enumerate(self._pieces(body, said, chat=chat)):
            last = place == len(said.ids) - 1
            tail = {} if not last or asks else {"system_fingerprint": FINGERPRINT}
            self._event({**head, "choices": [choice], **tail})
        if asks:
            self._event({**head, "choices": [], "usage": _usage(prompt, said, brief=True), "system_fingerprint": FINGERPRINT})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _pieces(self, body: dict[str, Any], said: Said, *, chat: bool) -> Iterator[dict[str, Any]]:
        ended = said.ids[:-1] if said.stopped else said.ids
        for place in range(len(said.ids)):
            text = self._text(ended[: place + 1])[len(self._text(ended[:place])) :]
            last = place == len(said.ids) - 1
            end = _ending(said) if last else {"finish_reason": None} | ({} if chat else {"stop_reason": None})
            if chat:
                logprobs = self._entries(body, said.ids[place : place + 1], said.logprobs[place : place + 1])
                yield {"index": 0, "delta": {"content": text}, "logprobs": logprobs, **end, "token_ids": None}
            else:
                yield {"index": 0, "text": text, "logprobs": None, **end, "prompt_token_ids": None, "token_ids": None}

    def _words(self, said: Said) -> str:
        return self._text(said.ids[:-1] if said.stopped else said.ids)

    def _entries(self, body: dict[str, Any], ids: tuple[int, ...], logprobs: tuple[float, ...]) -> dict[str, Any] | None:
        if not body.get("logprobs"):
            return None
        entries = []
        for id, logprob in zip(ids, logprobs, strict=True):
            text = self._text([id])
            entry: dict[str, Any] = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
            entries.append({**entry, "top_logprobs": [entry] if body.get("top_logprobs") else []})
        return {"content": entries}

    def _head(self, prefix: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        number = len(self.server.asked)
        model = body.get("model") or self.server.name
        return {"id": f"{prefix}-{number:016x}", "object": kind, "created": _now(), "model": model}

    def _known(self, body: dict[str, Any]) -> bool:
        name = body.get("model")
        if self.server.knows(name):
            return True
        said = f"The model `{name}` does not exist. Valid aliases: {self.server.name}."
        self._send(404, {"error": {"message": said, "type": "NotFoundError", "param": "model", "code": 404}})
        return False

    def _refuse(self, said: str, param: str | None) -> None:
        self._send(400, {"error": {"message": said, "type": "BadRequestError", "param": param, "code": 400}})

    # ---- bytes ----

    def _send(self, status: int, value: Any) -> None:
        text = isinstance(value, str)
        data = value.encode() if text else json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        if not text:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _card(name: str, root: str, parent: str | None, length: int | None) -> dict[str, Any]:
    permission = {"id": f"modelperm-{abs(hash(name)):016x}", "created": _now(), **PERMISSIONS}
    return {
        "id": name, "object": "model", "created": _now(), "owned_by": "vllm", "root": root, "parent": parent,
        "max_model_len": length, "permission": [permission],
    }  # fmt: skip


def _invalid(errors: list[tuple[str, str, str, int, str]]) -> tuple[int, dict[str, Any]]:
    """A request whose fields are wrong; each error: place, kind, message, fields of the body, what the parser said."""
    lines = []
    for place, kind, said, size, more in errors:
        context = f", 'ctx': {{'error': {more!r}}}" if more else ""
        lines.append(f"  {{'type': {kind!r}, 'loc': {place!r}, 'msg': {said!r}, 'input': '<dict of {size} items>'{context}}}")
    head = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''}:"
    text = "\n".join([head, *lines])
    return 400, {"error": {"message": text, "type": "Bad Request", "param": errors[0][0], "code": 400}}


def _ending(said: Said) -> dict[str, Any]:
    return {"finish_reason": "stop" if said.stopped else "length", "stop_reason": None}


def _usage(prompt: list[int], said: Said, *, brief: bool = False) -> dict[str, Any]:
    usage: dict[str, Any] = {"prompt_tokens": len(prompt), "total_tokens": len(prompt) + len(said.ids)}
    usage["completion_tokens"] = len(said.ids)
    return usage if brief else usage | {"prompt_tokens_details": None, "completion_tokens_details": None}


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


FINGERPRINT = f"vllm-{VERSION}-double"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
ROUTES: dict[tuple[str, str], Callable[[Handler, dict[str, Any]], None]] = {
    ("GET", "/health"): Handler.health,
    ("GET", "/version"): Handler.version,
    ("GET", "/v1/models"): Handler.models,
    ("POST", LOAD): Handler.load,
    ("POST", UNLOAD): Handler.unload,
    ("POST", "/tokenize"): Handler.tokenize,
    ("POST", "/detokenize"): Handler.detokenize,
    ("POST", "/v1/chat/completions"): Handler.chat,
    ("POST", "/v1/completions"): Handler.completions,
}
