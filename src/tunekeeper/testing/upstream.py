"""A model server that does what it is told: OpenAI-compatible, standard library only, for our tests and for extension authors.

    python -m tunekeeper.testing.upstream --port 0 [--behave 500,429,ok] [--answer TEXT] [--delay SECONDS]

prints `{"listening": "http://127.0.0.1:PORT"}` and serves until SIGTERM. `GET /control` tells what it counted,
`POST /control` with `{"behave": [...], "default": "ok", "answer": "...", "delay": 0.0}` scripts what comes next.

Behaviours (each takes an optional `:SECONDS`): `ok` · `500` · `503` · `400` · `404` · `429` (with retry-after: 7) · `hang` (no
head) · `hang_body` (head, then nothing) · `pings` (a stream's head, then comments only) · `slow` (first token late) · `drip`
(each token late) · `early_end` (clean end without finish_reason and `[DONE]`) · `cut` (connection dropped in the middle) ·
`garbage` (bytes that are not HTTP) · `garbage_body` (200 that is not JSON) · `wrong_length` · `error_in_200` ·
`error_in_stream` · `overflow` (llama.cpp's 400 for a prompt beyond its context) · `overflow_in_stream` (the same as the
stream's first event; 500 where none is asked for) · `close` (dropped without a byte) · `no_usage` · `unsure` (tokens of
probability 0.1 where log-probabilities are asked for, else 0.9) · `unsure_drip` (each token late as well) · `no_logprobs` (400
where log-probabilities are asked for) · `no_images` (llama.cpp's 500 where a picture is shown) ·
`template` (llama.cpp's 500 for a conversation that the model's chat template refuses).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

STATUSES = {
    "400": "bad request",
    "401": "unauthorized",
    "404": "not found",
    "429": "too many requests",
    "500": "internal error",
    "503": "overloaded",
}
BROKEN = ("close", "garbage", "hang")
BEHAVIOURS = (
    "ok", *STATUSES, *BROKEN, "hang_body", "pings", "slow", "drip", "early_end", "cut", "garbage_body", "wrong_length",
    "error_in_200", "error_in_stream", "overflow", "overflow_in_stream", "no_usage", "unsure", "unsure_drip", "no_logprobs",
    "no_images", "template",
)  # fmt: skip
SURE, UNSURE = -0.1, -2.3
"""Log-probability of each token."""
HANG = 3600.0
OVERFLOW = {
    "error": {
        "code": 400,
        "message": "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
        "type": "exceed_context_size_error",
    }
}
_HINT = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
NO_IMAGES = {"error": {"code": 500, "message": _HINT, "type": "server_error"}}
_PLACE = """
------------
While executing CallExpression at line 19, column 27 in source:
...% 2 == 0) -%}↵        {{ raise_exception("Conversation roles must alternate user...
                                           ^
Error: Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/..."""
TEMPLATE = {"error": {"code": 500, "message": _PLACE, "type": "server_error"}}


@dataclass(slots=True)
class Counts:
    """What the fake saw: the outside oracle of the gateway's tests."""

    requests: int = 0
    """Requests whose head and body arrived whole."""
    answered: int = 0
    """Requests answered to the last byte."""
    aborted: int = 0
    """Requests whose client went away before the last byte."""
    active: int = 0
    """Requests being answered now."""
    connections: int = 0
    """Connections accepted."""
    models: Counter[str] = field(default_factory=Counter)
    """Requests by the model name they asked for."""


def echo(body: dict[str, Any]) -> str:
    """The default answer: the last message's text, said back."""
    for message in reversed(body.get("messages") or []):
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            return f"you said: {message['content']}"
    return f"you said: {body.get('prompt') or body.get('input') or ''}"


class FakeUpstream:
    """One listening fake; start it in a running loop, script it through its fields, close it at the end."""

    def __init__(self, answer: Callable[[dict[str, Any]], str] = echo, *, keep: int = 100) -> None:
        """`answer`: request body → text. `keep`: how many of the last bodies and heads stay to be looked at."""
        self.answer = answer
        self.script: deque[str] = deque()
        self.default = "ok"
        self.delay = 0.0
        self.counts = Counts()
        self.bodies: deque[dict[str, Any]] = deque(maxlen=keep)
        self.heads: deque[dict[str, str]] = deque(maxlen=keep)
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[Any]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; returns the base address without `/v1`."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=64 * 1024 * 1024, backlog=1024)
        self.url = f"http://{host}:{self._server.sockets[0].getsockname()[1]}"
        return self.url

    async def close(self) -> None:
        """Stop listening, end what is being answered and drop every connection."""
        if self._server is not None:
            self._server.close()
        running = list(self._open)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        task = asyncio.current_task()
        assert task is not None  # a coroutine always runs in one
        self._open.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client went away, or `close` ends us; `_watched` has counted it where it mattered
        finally:
            self._open.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        if path == "/control":
            return await self._control(method, raw, writer)
        if method == "GET":
            listing = {"object": "list", "data": [{"id": "fake", "object": "model"}]}
            return await self._json(writer, 200, {"status": "ok"} if path == "/health" else listing)
        self.counts.requests += 1
        self.heads.append({"path": path, **headers})
        body = json.loads(raw)
        self.bodies.append(body)
        self.counts.models[str(body.get("model"))] += 1
        return await self._watched(reader, self._behave(path, body, writer))

    async def _watched(self, reader: asyncio.StreamReader, work: Any) -> bool:
        """Run one answer; when the client leaves first, end it and count an abort."""
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(_gone(reader))
        self.counts.active += 1
        try:
            await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                self.counts.aborted += 1
                return False
            keep = bool(task.result())
            self.counts.answered += 1
            return keep
        except ConnectionError:
            self.counts.aborted += 1
            return False
        finally:
            self.counts.active -= 1
            task.cancel()
            watch.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    async def _behave(self, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        name, _, seconds = (self.script.popleft() if self.script else self.default).partition(":")
        delay = float(seconds) if seconds else 0.05
        if name == "no_logprobs":
            name = "400" if body.get("logprobs") else "ok"
        if name == "no_images":
            if '"image_url"' in json.dumps(body):
                return await self._json(writer, 500, NO_IMAGES)
            name = "ok"
        if name == "template":
            return await self._json(writer, 500, TEMPLATE)
        if name in STATUSES:
            error = {"error": {"message": STATUSES[name], "type": "server_error", "param": None, "code": None}}
            return await self._json(writer, int(name), error, b"retry-after: 7\r\n" if name == "429" else b"")
        if name == "overflow" or (name == "overflow_in_stream" and not body.get("stream")):
            return await self._json(writer, 400 if name == "overflow" else 500, OVERFLOW)
        if name in BROKEN:
            return await self._broken(name, writer)
        if self.delay:
            await asyncio.sleep(self.delay)
        if name == "slow":
            await asyncio.sleep(delay)
        if body.get("stream"):
            return await self._stream(name, delay, path, body, writer)
        return await self._plain(name, path, body, writer)

    async def _broken(self, name: str, writer: asyncio.StreamWriter) -> bool:
        if name == "hang":
            await asyncio.sleep(HANG)
        if name == "garbage":
            await _put(writer, b"\x16\x03\x01 this is not HTTP \x00\xff\r\n\r\n")
        return False

    async def _plain(self, name: str, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        if name == "error_in_200":
            return await self._json(writer, 200, {"error": {"message": "out of memory", "type": "server_error", "code": None}})
        if name == "garbage_body":
            await _put(writer, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n<html>no!")
            return False
        logprob = UNSURE if name.startswith("unsure") else SURE
        answer = json.dumps(
            plain_answer(self._id(), path, body, self.answer(body), usage=name != "no_usage", logprob=logprob)
        ).encode()
        if name not in ("hang_body", "wrong_length", "early_end", "cut"):
            return await self._send(writer, 200, answer)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (len(answer) + 10)
        await _put(writer, head + (b"" if name == "hang_body" else answer[: len(answer) // 2]))
        if name == "hang_body":
            await asyncio.sleep(HANG)
        return False

    async def _stream(self, name: str, delay: float, path: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        await _put(writer, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        if name == "hang_body":
            await asyncio.sleep(HANG)
        while name == "pings":
            await _put(writer, b"8\r\n: ping\n\n\r\n")
            await asyncio.sleep(delay)
        logprob = UNSURE if name.startswith("unsure") else SURE
        events = stream_events(self._id(), path, body, self.answer(body), usage=name != "no_usage", logprob=logprob)
        if name in ("early_end", "cut", "error_in_stream"):
            events = events[: max(2, len(events) // 2)]
        if name == "garbage_body":
            events = [b"data: {not json\n\n"]
        if name in ("error_in_200", "overflow_in_stream"):
            events = []
        for event in events:
            await _put(writer, b"%x\r\n%s\r\n" % (len(event), event))
            if name.endswith("drip") or self.delay:
                await asyncio.sleep(delay if name.endswith("drip") else self.delay)
        if name in ("error_in_stream", "error_in_200"):
            error = b'data: {"error":{"message":"out of memory","type":"server_error","code":500}}\n\n'
            await _put(writer, b"%x\r\n%s\r\n" % (len(error), error))
        if name == "overflow_in_stream":
            error = b"data: %s\n\n" % json.dumps(OVERFLOW).encode()
            await _put(writer, b"%x\r\n%s\r\n" % (len(error), error))
        if name in ("cut", "wrong_length"):
            writer.transport.abort()
            return False
        await _put(writer, b"0\r\n\r\n")
        return True

    async def _control(self, method: str, raw: bytes, writer: asyncio.StreamWriter) -> bool:
        if method == "POST":
            order = json.loads(raw)
            self.script.extend(order.get("behave", ()))
            self.default = order.get("default", self.default)
            self.delay = float(order.get("delay", self.delay))
            if "answer" in order:
                text = str(order["answer"])
                self.answer = lambda body: text
        counts = self.counts
        seen = {"requests": counts.requests, "answered": counts.answered, "aborted": counts.aborted, "active": counts.active}
        return await self._json(
            writer, 200, {**seen, "connections": counts.connections, "models": counts.models, "bodies": list(self.bodies)}
        )

    def _id(self) -> str:
        return f"fake-{self.url.rpartition(':')[2]}-{self.counts.requests}"

    async def _json(self, writer: asyncio.StreamWriter, status: int, value: Any, extra: bytes = b"") -> bool:
        return await self._send(writer, status, json.dumps(value).encode(), extra)

    async def _send(self, writer: asyncio.StreamWriter, status: int, body: bytes, extra: bytes = b"") -> bool:
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n" % (status, extra, len(body))
        await _put(writer, head + body)
        return True


async def _put(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write. A client may have gone since the last piece, which the event loop tells as RuntimeError or not at all."""
    if writer.transport.is_closing():
        raise ConnectionResetError("the client went away")
    writer.write(data)
    await writer.drain()


async def _gone(reader: asyncio.StreamReader) -> None:
    """Return when the peer closed its side."""
    while not reader.at_eof():
        await asyncio.sleep(0.02)


def _logprobs(path: str, words: list[str], logprob: float) -> dict[str, Any]:
    """Log-probabilities in the shape of the endpoint `path` ends with."""
    if path.endswith("/chat/completions"):
        return {"content": [{"token": word, "logprob": logprob} for word in words]}
    return {"tokens": words, "token_logprobs": [logprob for _ in words]}


def plain_answer(
    id: str, path: str, body: dict[str, Any], text: str, *, usage: bool = True, logprob: float = SURE
) -> dict[str, Any]:
    """A whole answer in OpenAI's shape for the endpoint `path` ends with."""
    words = len(text.split())
    answer: dict[str, Any] = {"id": id, "created": 1, "model": body.get("model")}
    if path.endswith("/embeddings"):
        return answer | {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}],
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }
    chat = path.endswith("/chat/completions")
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    if body.get("logprobs"):
        choice["logprobs"] = _logprobs(path, text.split(), logprob)
    answer |= {"object": "chat.completion" if chat else "text_completion", "choices": [choice]}
    return answer | ({"usage": {"prompt_tokens": 5, "completion_tokens": words, "total_tokens": 5 + words}} if usage else {})


def stream_events(
    id: str, path: str, body: dict[str, Any], text: str, *, usage: bool = True, logprob: float = SURE
) -> list[bytes]:
    """The same answer as server-sent events, one a word, with the usage event when the request asked for it."""
    chat = path.endswith("/chat/completions")
    base = {
        "id": id,
        "object": "chat.completion.chunk" if chat else "text_completion",
        "created": 1,
        "model": body.get("model"),
    }
    words = text.split(" ")
    parts = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
    chunks: list[dict[str, Any]] = (
        [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}] if chat else []
    )
    for part in parts:
        piece = {"delta": {"content": part}} if chat else {"text": part}
        known = {"logprobs": _logprobs(path, [part], logprob)} if body.get("logprobs") else {}
        chunks.append({"index": 0, **piece, **known, "finish_reason": None})
    chunks.append({"index": 0, **({"delta": {}} if chat else {"text": ""}), "finish_reason": "stop"})
    events = [{**base, "choices": [chunk]} for chunk in chunks]
    if usage and (body.get("stream_options") or {}).get("include_usage"):
        spent = {"prompt_tokens": 5, "completion_tokens": len(words), "total_tokens": 5 + len(words)}
        events.append({**base, "choices": [], "usage": spent})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


async def _main(arguments: argparse.Namespace) -> None:
    upstream = FakeUpstream()
    upstream.script.extend(name for name in arguments.behave.split(",") if name)
    upstream.delay = arguments.delay
    if arguments.answer is not None:
        upstream.answer = lambda body: str(arguments.answer)
    url = await upstream.start(arguments.host, arguments.port)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(json.dumps({"listening": url}), flush=True)
    await stop.wait()
    await upstream.close()


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tunekeeper.testing.upstream", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--behave", default="", help="comma-separated script of the first requests")
    parser.add_argument("--answer", default=None, help="the text of every answer")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before an answer and between its tokens")
    arguments = parser.parse_args(argv)
    wrong = [name for name in arguments.behave.split(",") if name and name.partition(":")[0] not in BEHAVIOURS]
    if wrong:
        print(f"unknown behaviour {wrong[0]!r}; known: {', '.join(BEHAVIOURS)}", file=sys.stderr)
        return 2
    asyncio.run(_main(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
