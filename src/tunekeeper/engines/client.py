"""A small synchronous client of OpenAI-compatible servers: one fresh connection a request, every wait bounded.

A connection is never kept: llama.cpp's server may close a kept one after a stream, and the callers here (parity, smoke tests,
exams) gain nothing from reuse on loopback.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tunekeeper.core.errors import ConfigError, UpstreamUnavailable

MAX_ANSWER = 32 << 20
LISTING = 20.0
"""Seconds that a server may take to list its models."""
_PIECE = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model server said to one request."""

    text: str
    """The first choice's text; empty when it said nothing."""
    finish_reason: str | None
    """stop, length …, as the server said; None when it said nothing."""
    prompt_tokens: int | None
    """From `usage`; None when the server counts none."""
    completion_tokens: int | None
    """From `usage`; None when the server counts none."""
    ms: float
    """Real milliseconds from the dial to the last byte."""
    raw: dict[str, Any] = field(default_factory=dict)
    """The whole response body."""


def base_of(endpoint: str) -> str:
    """The server's root address (`http://host:port`) of an endpoint with or without `/v1`. Raises ConfigError."""
    try:
        parts = urlsplit(endpoint)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:  # a port that is none, half an IPv6 address
        wrong = True
    if wrong:
        raise ConfigError(f"endpoint {endpoint!r} is not an http address", fix="write it like http://127.0.0.1:8080/v1")
    return endpoint.rstrip("/").removesuffix("/v1").rstrip("/")


def call(
    method: str,
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    api_key: str | None = None,
    connect: float = 2.0,
    total: float = 120.0,
) -> tuple[int, bytes]:
    """One HTTP exchange: `(status, body)`. `connect` and `total` are seconds.

    Raises UpstreamUnavailable when the server cannot be reached, is too slow, or answers more than 32 MiB, ConfigError for a key
    that cannot be sent.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    deadline = time.monotonic() + total
    connection = kind(parts.hostname or "", parts.port, timeout=connect)
    headers = {"Accept": "application/json", "Connection": "close"}
    if key := (api_key or "").strip():
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"the key for {url} holds what no header can carry", fix="put the key alone into its variable")
        headers["Authorization"] = f"Bearer {key}"
    data = None
    if body is not None:
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        headers["Content-Type"] = "application/json"
    try:
        connection.connect()
        _wait_until(connection, deadline)
        connection.request(method, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), data, headers)
        response = connection.getresponse()
        return response.status, _read(connection, response, deadline)
    except (OSError, http.client.HTTPException) as error:
        raise UpstreamUnavailable(f"{method} {url}: {type(error).__name__} {error}".rstrip()) from error
    finally:
        connection.close()


def _wait_until(connection: http.client.HTTPConnection, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("out of time")
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _read(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(_PIECE):
        size += len(piece)
        if size > MAX_ANSWER:
            raise http.client.HTTPException(f"more than {MAX_ANSWER >> 20} MiB")
        pieces.append(piece)
        _wait_until(connection, deadline)
    return b"".join(pieces)


def call_json(method: str, url: str, body: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """Like `call`, for a JSON answer with status 2xx; anything else raises UpstreamUnavailable with the server's own words."""
    status, data = call(method, url, body, **options)
    try:
        value = json.loads(data) if data else None
    except (ValueError, RecursionError) as error:
        raise UpstreamUnavailable(f"{method} {url}: status {status}, not JSON: {data[:80]!r}") from error
    if not 200 <= status < 300:
        raise UpstreamUnavailable(f"{method} {url}: status {status}: {_message(value) if value else 'it says nothing more'}")
    return value


def listed_models(base: str, api_key: str | None = None) -> tuple[str, ...]:
    """Names that a server's `/v1/models` lists. `base`: its root address. Raises UpstreamUnavailable, also for other JSON."""
    url = base + "/v1/models"
    listing = call_json("GET", url, api_key=api_key, total=LISTING)
    rows = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        raise UpstreamUnavailable(f"GET {url}: not a list of models")
    return tuple(row["id"] for row in rows)


def _message(value: Any) -> str:
    error = value.get("error", value) if isinstance(value, dict) else value
    text = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(text).split())[:300]


class ChatClient:
    """Asks one model at one endpoint."""

    def __init__(
        self, endpoint: str, model: str, api_key: str | None = None, *, connect: float = 2.0, total: float = 120.0
    ) -> None:
        """`endpoint` with or without `/v1`; `connect` and `total`: seconds a request may take."""
        self.base = base_of(endpoint)
        self.model = model
        self.api_key = api_key
        self.connect = connect
        self.total = total

    def chat(self, messages: Sequence[Mapping[str, Any]], *, max_tokens: int, temperature: float = 0.0, **extra: Any) -> Answer:
        """The answer to a conversation; `extra` goes into the body as it is. Raises UpstreamUnavailable."""
        body = {"model": self.model, "messages": list(messages), "max_tokens": max_tokens, "temperature": temperature, **extra}
        return self._ask("/v1/chat/completions", body, lambda choice: (choice.get("message") or {}).get("content"))

    def complete(self, prompt: str | Sequence[int], *, max_tokens: int, temperature: float = 0.0, **extra: Any) -> Answer:
        """The continuation of a text or of token ids. Raises UpstreamUnavailable."""
        prompt = prompt if isinstance(prompt, str) else list(prompt)
        body = {"model": self.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": temperature, **extra}
        return self._ask("/v1/completions", body, lambda choice: choice.get("text"))

    def chat_many(self, requests: Sequence[Mapping[str, Any]], concurrency: int = 4) -> list[Answer | UpstreamUnavailable]:
        """Answers in the order of `requests` (keyword arguments of `chat` each); a failed one is its error, not an exception."""

        def one(request: Mapping[str, Any]) -> Answer | UpstreamUnavailable:
            try:
                return self.chat(**request)
            except UpstreamUnavailable as error:
                return error

        with ThreadPoolExecutor(max_workers=max(1, concurrency)) as pool:
            return list(pool.map(one, requests))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer of another path of the same server, e.g. `/tokenize`. Raises UpstreamUnavailable."""
        return call_json("POST", self.base + path, body, api_key=self.api_key, connect=self.connect, total=self.total)

    def get(self, path: str) -> Any:
        """The JSON answer of GET on `path`. Raises UpstreamUnavailable."""
        return call_json("GET", self.base + path, api_key=self.api_key, connect=self.connect, total=self.total)

    def _ask(self, path: str, body: Mapping[str, Any], text_of: Callable[[dict[str, Any]], Any]) -> Answer:
        began = time.monotonic()
        raw = self.post(path, body)
        ms = (time.monotonic() - began) * 1000
        choices = raw.get("choices") if isinstance(raw, dict) else None
        if not choices:
            raise UpstreamUnavailable(f"{self.base}{path}: the answer has no choices")
        try:
            choice = choices[0]
            return _answer(raw, choice, text_of(choice), ms)
        except (AttributeError, KeyError, TypeError) as error:
            raise UpstreamUnavailable(f"{self.base}{path}: the answer is no chat completion ({error})") from error


def _answer(raw: dict[str, Any], choice: dict[str, Any], text: Any, ms: float) -> Answer:
    if text is not None and not isinstance(text, str):
        raise TypeError(f"its text is a {type(text).__name__}")
    usage = raw.get("usage") or {}
    return Answer(
        text=text or "",
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        ms=ms,
        raw=raw,
    )
