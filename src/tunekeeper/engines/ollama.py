"""Ollama: a server of somebody else that keeps models under names; every version is a name of its own.

`Ollama` is the engine of a slot that names such a server. `OllamaServer` speaks its own protocol: blobs, create, show, load.
"""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tunekeeper.core.errors import ArtifactError, ConfigError, DiskFull, TunekeeperError, UpstreamUnavailable, UserError
from tunekeeper.engines.client import base_of, call, listed_models
from tunekeeper.engines.engine import Capabilities
from tunekeeper.engines.remote import OpenAI

PORT = 11434
OLDEST = (0, 5, 5)
"""First release whose `create` takes files."""
LOGPROBS = (0, 12, 11)
"""First release that gives log-probabilities."""
SILENCE = 600.0
"""Seconds without a word after which a server that creates or loads a model is given up."""
NAME = re.compile(r"(?:[A-Za-z0-9_][\w.-]{0,79}/)?[A-Za-z0-9_][\w.-]{0,79}:[A-Za-z0-9_][\w.-]{0,79}", re.ASCII)
FOREVER, AT_ONCE = -1, 0
"""`keep_alive`: loaded until it is unloaded, unloaded at once."""
_FROM = re.compile(r"^(FROM|ADAPTER) .*sha256[-:]([0-9a-f]{64})\s*$", re.MULTILINE)
_PARAMETER = re.compile(r"^([a-z_]+)[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)


class Ollama(OpenAI):
    """Every version is a model name of its own; a request cannot choose an adapter."""

    def health_path(self) -> str:
        return "/api/tags"

    def probe(self, endpoint: str, api_key: str | None = None) -> Capabilities:
        base = base_of(endpoint)
        listed = listed_models(base, api_key)
        # A name without a tag means `latest`.
        models = (*listed, *(name.removesuffix(":latest") for name in listed if name.endswith(":latest")))
        try:
            release = _release(_version(base, api_key))
        except UpstreamUnavailable:
            release = None  # it serves; what its release can do more is not promised
        return Capabilities(models=models, logprobs=release is not None and release >= LOGPROBS, adapters=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a server says of one model."""

    model: str | None
    """Digest of the weights; None when it does not say."""
    adapters: tuple[str, ...]
    """Digests of its adapters."""
    template: str
    """Go template."""
    system: str
    """System prompt; empty without one."""
    parameters: dict[str, tuple[str, ...]]
    """Name → values as text, in the order the server names them."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its file; empty when it does not say."""


class OllamaServer:
    """One Ollama server. Every method raises UpstreamUnavailable when it does not answer, DiskFull when its disk is full."""

    def __init__(self, endpoint: str, api_key: str | None = None) -> None:
        """`endpoint` with or without `/v1`. Raises ConfigError when it is no address."""
        self.base = base_of(endpoint)
        self.api_key = api_key

    def check(self) -> str | None:
        """The server's release, None when it does not say. Raises UpstreamUnavailable for one that is away or too old."""
        said = _version(self.base, self.api_key)
        release = _release(said)
        if release is not None and release < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise UpstreamUnavailable(
                f"Ollama {said} at {self.base} is too old: {wanted} is the first that takes files", fix="update Ollama there"
            )
        return said

    def has_blob(self, digest: str) -> bool:
        """Whether the server holds a file's content. `digest`: `sha256:…`."""
        status, body = self._call("HEAD", f"/api/blobs/{digest}")
        if status not in (200, 404):
            raise self._error(f"HEAD /api/blobs/{digest}", status, body)
        return status == 200

    def send_blob(self, path: Path, digest: str, told: Callable[[int], None] = lambda sent: None) -> bool:
        """Send a file unless it is there; whether it was sent. `told`: gets the bytes sent so far.

        Raises ArtifactError when the file no longer has its digest.
        """
        if self.has_blob(digest):
            return False
        status, body = self._upload(f"/api/blobs/{digest}", path, told)
        if status in (200, 201):
            return True
        if status == 400 and "digest" in _said(body):
            raise ArtifactError(f"{path}: {_said(body)}: it changed or was damaged on its way", fix="run it again")
        raise self._error(f"POST /api/blobs/{digest[:19]}…", status, body)

    def create(self, body: Mapping[str, Any], told: Callable[[str], None] = lambda status: None) -> None:
        """Make a model of blobs; returns when the server said `success`. Raises ArtifactError for what it does not accept.

        `body`: as documented for POST /api/create. `told`: gets each status the server reports.
        """
        last = ""
        for line in self._lines("/api/create", {**body, "stream": True}):
            if "error" in line:
                raise self._error(f"create {body.get('model')}", int(line.get("status_code") or 400), json.dumps(line).encode())
            last = str(line.get("status", ""))
            told(last)
        if last != "success":
            raise UpstreamUnavailable(f"{self.base}: create of {body.get('model')} ended at {last!r}, without success")

    def show(self, model: str) -> Shown | None:
        """What the server has under a name; None when there is nothing."""
        status, body = self._call("POST", "/api/show", {"model": model})
        if status == 404:
            return None
        return shown(self._value(f"show {model}", status, body))

    def names(self) -> tuple[str, ...]:
        """Every model's name."""
        return self._listed("/api/tags")

    def loaded(self) -> tuple[str, ...]:
        """Names of the models that are in memory now."""
        return self._listed("/api/ps")

    def context(self, model: str) -> int | None:
        """Tokens that a loaded model was given room for; None when it is not in memory, or the release does not say."""
        value = self._value("GET /api/ps", *self._call("GET", "/api/ps"))
        rows = value.get("models")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and str(row.get("name") or row.get("model")).lower() == model.lower():
                tokens = row.get("context_length")
                return int(tokens) if isinstance(tokens, int) and tokens > 0 else None
        return None

    def load(self, model: str, keep_alive: int | str = FOREVER, *, total: float = SILENCE) -> None:
        """Load a model, or unload it with `keep_alive` 0; -1 keeps it until then. `total`: seconds it may take."""
        body = {"model": model, "keep_alive": keep_alive, "stream": False}
        self._value(f"load {model}", *self._call("POST", "/api/generate", body, total=total))

    def unload(self, model: str, *, total: float = 60.0) -> None:
        """Give a model's memory back. `total`: seconds it may take."""
        self.load(model, AT_ONCE, total=total)

    def delete(self, model: str) -> bool:
        """Take a name away; whether it was there."""
        status, body = self._call("DELETE", "/api/delete", {"model": model})
        if status not in (200, 404):
            raise self._error(f"delete {model}", status, body)
        return status == 200

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name."""
        status, body = self._call("POST", "/api/copy", {"source": source, "destination": destination})
        if status != 200:
            raise self._error(f"copy {source}", status, body)

    def complete(self, model: str, prompt: str, max_tokens: int) -> str:
        """The greedy continuation of a text, which the server's template does not touch."""
        options = {"temperature": 0.0, "num_predict": max_tokens}
        body = {"model": model, "prompt": prompt, "raw": True, "stream": False, "options": options}
        value = self._value(f"ask {model}", *self._call("POST", "/api/generate", body, total=SILENCE))
        return str(value.get("response", ""))

    def rendered(self, model: str, messages: list[dict[str, Any]]) -> str | None:
        """The prompt that the server makes of a conversation; None when its release cannot say."""
        body = {"model": model, "messages": messages, "stream": False, "_debug_render_only": True, "options": {"num_predict": 1}}
        status, said = self._call("POST", "/api/chat", body, total=SILENCE)
        if 400 <= status < 500 and status != 429:
            return None
        value = self._value(f"render with {model}", status, said)
        text = (value.get("_debug_info") or {}).get("rendered_template")
        return text if isinstance(text, str) else None

    def _listed(self, path: str) -> tuple[str, ...]:
        value = self._value(f"GET {path}", *self._call("GET", path))
        rows = value.get("models")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UpstreamUnavailable(f"{self.base}{path}: not a list of models: no Ollama stands there")
        return tuple(str(row.get("name") or row.get("model")) for row in rows)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, total: float = 120.0) -> tuple[int, bytes]:
        try:
            return call(method, self.base + path, body, api_key=self.api_key, total=total)
        except UpstreamUnavailable as error:
            raise _away(self.base, error.message) from error

    def _value(self, what: str, status: int, body: bytes) -> dict[str, Any]:
        if status != 200:
            raise self._error(what, status, body)
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise UpstreamUnavailable(f"{self.base}: {what}: the answer is not JSON: {body[:60]!r}: no Ollama stands there")
        if value.get("error"):
            raise self._error(what, 500, body)
        return value

    def _error(self, what: str, status: int, body: bytes) -> TunekeeperError:
        said = _said(body)
        if "no space left" in said or "disk quota" in said:
            return DiskFull(
                f"Ollama at {self.base}: {what}: {said}", fix="free some space where it keeps its models, then run it again"
            )
        if status in (429, 503):
            return UpstreamUnavailable(f"Ollama at {self.base} is busy: {what}: {said}", fix="run it again later")
        if 400 <= status < 500 and status not in (401, 403):
            return ArtifactError(f"Ollama at {self.base} refused: {what}: {said or status}")
        return UpstreamUnavailable(f"Ollama at {self.base}: {what}: status {status}: {said}")

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.base)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=SILENCE)

    def _headers(self, kind: str) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {"Content-Type": kind, "Connection": "close", **key}

    def _upload(self, path: str, file: Path, told: Callable[[int], None]) -> tuple[int, bytes]:
        connection = self._connection()
        size, sent = file.stat().st_size, 0
        try:
            connection.putrequest("POST", urlsplit(self.base).path + path)
            for name, value in {**self._headers("application/octet-stream"), "Content-Length": str(size)}.items():
                connection.putheader(name, value)
            connection.endheaders()
            with file.open("rb") as source:
                try:
                    while piece := source.read(1 << 20):
                        connection.send(piece)
                        sent += len(piece)
                        told(sent)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # it refused before the end: what it says comes next
            response = connection.getresponse()
            return response.status, response.read(1 << 16)
        except (OSError, http.client.HTTPException) as error:
            raise _away(self.base, f"{type(error).__name__} {error} after {sent} of {size} bytes") from error
        finally:
            connection.close()

    def _lines(self, path: str, body: Mapping[str, Any]) -> Any:
        connection = self._connection()
        try:
            data = json.dumps(body, ensure_ascii=False).encode()
            connection.request("POST", urlsplit(self.base).path + path, data, self._headers("application/json"))
            response = connection.getresponse()
            if response.status != 200:
                raise self._error(f"create {body.get('model')}", response.status, response.read(1 << 16))
            while line := response.readline(1 << 20):
                if line.strip():
                    yield _object(line, self.base)
        except (OSError, http.client.HTTPException) as error:
            raise _away(self.base, f"{type(error).__name__} {error}") from error
        finally:
            connection.close()


def shown(value: Mapping[str, Any]) -> Shown:
    """What an answer of /api/show says; digests come from its Modelfile. Pure."""
    found = _FROM.findall(str(value.get("modelfile") or ""))
    parameters: dict[str, tuple[str, ...]] = {}
    for name, text in _PARAMETER.findall(str(value.get("parameters") or "")):
        parameters[name] = (*parameters.get(name, ()), _unquoted(text))
    return Shown(
        model=next((f"sha256:{hex}" for word, hex in found if word == "FROM"), None),
        adapters=tuple(f"sha256:{hex}" for word, hex in found if word == "ADAPTER"),
        template=str(value.get("template") or ""),
        system=str(value.get("system") or ""),
        parameters=parameters,
        info=info if isinstance(info := value.get("model_info"), dict) else {},
    )


def default_endpoint(environ: Mapping[str, str] = os.environ) -> str:
    """The server that `OLLAMA_HOST` names, as the ollama command reads it; without it the one on this machine."""
    given = environ.get("OLLAMA_HOST", "").strip().strip("\"'")
    scheme, apart, rest = given.partition("://")
    if not apart:
        scheme, rest = "", given
    host = rest.partition("/")[0]
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError as error:
        raise ConfigError(f"OLLAMA_HOST is {given!r}, which is no address", fix="write OLLAMA_HOST=http://HOST:11434") from error
    name = "127.0.0.1" if name in ("0.0.0.0", "::") else f"[{name}]" if ":" in name else name
    port = port or {"http": 80, "https": 443}.get(scheme, PORT)
    return f"{scheme or 'http'}://{name}:{port}"


def check_name(name: str) -> str:
    """`name` when Ollama accepts it and it names one version: `model:tag`. Raises UserError."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot name a version in Ollama: MODEL:TAG of letters, digits, '_', '.' and '-', at most 80 each",
            fix="add --name support-desk:v1.0",
        )
    if name.endswith(":latest"):
        raise UserError(f"{name!r}: latest is no version: its content would change", fix="add --name support-desk:v1.0")
    return name


def _version(base: str, api_key: str | None) -> str | None:
    try:
        status, body = call("GET", base + "/api/version", api_key=api_key, total=10.0)
    except UpstreamUnavailable as error:
        raise _away(base, error.message) from error
    if status != 200:
        return None
    try:
        value = json.loads(body)
    except ValueError:
        return None
    said = value.get("version") if isinstance(value, dict) else None
    return said if isinstance(said, str) else None


def _release(said: str | None) -> tuple[int, ...] | None:
    """Its three numbers; None for one that was built without (0.0.0)."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", said or "")
    numbers = tuple(map(int, found.groups())) if found else (0, 0, 0)
    return numbers if any(numbers) else None


def _away(base: str, why: str) -> UpstreamUnavailable:
    fix = "start it (ollama serve), or name another with --endpoint"
    return UpstreamUnavailable(f"no Ollama answers at {base}: {why}", fix=fix)


def _said(body: bytes) -> str:
    """A refusal in the server's own words, on one line."""
    try:
        value = json.loads(body)
        text = value.get("error", value) if isinstance(value, dict) else value
        text = text.get("message", text) if isinstance(text, dict) else text
    except ValueError:
        text = body.decode("utf-8", "replace")
    return " ".join(str(text).split())[:300]


def _object(line: bytes, base: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UpstreamUnavailable(f"{base}: a line of its progress is not JSON: {line[:60]!r}")
    return value


def _unquoted(text: str) -> str:
    """A value of the parameters' list, which Go has quoted where it is a text."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    escapes = re.sub(r"\\a", r"\\u0007", re.sub(r"\\v", r"\\u000b", re.sub(r"\\x([0-9a-f]{2})", r"\\u00\1", text)))
    escapes = re.sub(r"\\U([0-9a-f]{8})", lambda m: chr(int(m[1], 16)), escapes)
    try:
        return str(json.loads(escapes, strict=False))
    except ValueError:
        return text[1:-1]
