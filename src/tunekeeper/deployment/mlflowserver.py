"""An MLflow tracking server, asked over its REST API: who it is, how one is let in, and what it says when something is wrong.

    server = MlflowServer.of(environ)                      # MLFLOW_TRACKING_URI and MLflow's variables for tokens and passwords
    server.ask("GET", "registered-models/get", query={"name": "support-desk"})

No redirect is followed, so a token goes nowhere but to the address it was given for; every answer is bounded, and no message
holds a secret. Why this is not MLflow's own package: docs/mlflow.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tunekeeper.core.errors import ArtifactError, ConfigError, NotFound, UpstreamUnavailable, UserError

if TYPE_CHECKING:
    import httpx

API = "/api/2.0/mlflow/"
MOST_ANSWER = 32 << 20
"""Bytes of the longest answer that is read as JSON."""
CONNECT = 10.0
"""Seconds to wait for a connection."""
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_HERE = "mlflow server --backend-store-uri URI, then export MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
_FROM_FOLDER = (
    "mlflow migrate-filestore --source FOLDER --target sqlite:///mlflow.db, "
    "mlflow server --backend-store-uri sqlite:///mlflow.db, then export MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
)
_KEYS = "export MLFLOW_TRACKING_TOKEN=…, or MLFLOW_TRACKING_USERNAME=… and MLFLOW_TRACKING_PASSWORD=…"


class Refused(UserError):
    """The server says no in its own words."""

    def __init__(self, message: str, code: str, *, fix: str | None = None) -> None:
        """`code`: MLflow's error code, e.g. RESOURCE_ALREADY_EXISTS."""
        super().__init__(message, fix=fix)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class MlflowServer:
    """One server and how it lets us in."""

    url: str
    """Its address without user, password or query, e.g. https://mlflow.example.org/base."""
    user: str = field(default="", repr=False)
    """Name for HTTP basic authentication; with a password it wins over the token, as in MLflow."""
    password: str = field(default="", repr=False)
    """Its password."""
    token: str = field(default="", repr=False)
    """Bearer token."""
    verify: bool | str = True
    """Whether its certificate is checked, or the file of the authority that signed it."""
    certificate: str | None = None
    """File with our own certificate and key, where it asks for one."""
    timeout: float = 120.0
    """Seconds to wait for each piece of an answer."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> MlflowServer:
        """The server that `environ` names with MLflow's own variables. Raises ConfigError naming the variable that is wrong."""
        said = environ.get("MLFLOW_TRACKING_URI", "").strip()
        if not said:
            raise ConfigError("MLFLOW_TRACKING_URI is not set", fix="export MLFLOW_TRACKING_URI=http://127.0.0.1:5000")
        scheme, host = _parts(said)
        if scheme not in ("http", "https"):
            kind = f"{scheme}: " if scheme else "a folder "
            why = f"MLFLOW_TRACKING_URI: {kind}is a store and no server; one is asked over http"
            if scheme in ("", "file"):
                raise ConfigError(f"{why}, and MLflow itself opens folders no more", fix=_FROM_FOLDER)
            raise ConfigError(why, fix=_HERE)
        registry = environ.get("MLFLOW_REGISTRY_URI", "").strip()
        if registry and registry.rstrip("/") != said.rstrip("/"):
            raise ConfigError(
                "MLFLOW_REGISTRY_URI names another server; a version is registered where its run is", fix="unset it"
            )
        parts = urlsplit(said)
        return cls(
            url=f"{scheme}://{host}{parts.path.rstrip('/')}",
            user=environ.get("MLFLOW_TRACKING_USERNAME") or unquote(parts.username or ""),
            password=environ.get("MLFLOW_TRACKING_PASSWORD") or unquote(parts.password or ""),
            token=environ.get("MLFLOW_TRACKING_TOKEN", ""),
            verify=_verify(environ),
            certificate=environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None,
            timeout=_seconds(environ, "MLFLOW_HTTP_REQUEST_TIMEOUT", 120.0),
        )

    @property
    def local(self) -> bool:
        """Whether it runs on this machine, so that its folders are ours as well."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The JSON object that it answers at `path` of its API.

        Raises NotFound for what it does not have, Refused with its words, ConfigError when it does not let us in or is no
        MLflow, UpstreamUnavailable when it does not answer or is busy.
        """
        url = self.url + (path if path.startswith("/") else API + path)
        with self._answer(method, url, json=body, params=query) as answer:
            return _object(self._read(answer), f"{method} {path}", self.url)

    def find(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """As `ask` with GET; None for what it does not have."""
        try:
            return self.ask("GET", path, query=query)
        except NotFound:
            return None

    def pages(
        self, method: str, path: str, key: str, asked: Mapping[str, Any], *, most: int = 10_000
    ) -> Iterator[dict[str, Any]]:
        """Every row under `key` of a list that comes in pages, at most `most` of them."""
        token, seen = "", 0
        while True:
            wanted = {**asked, **({"page_token": token} if token else {})}
            said = self.ask(method, path, wanted) if method == "POST" else self.ask(method, path, query=wanted)
            rows = said.get(key) or []
            for row in rows if isinstance(rows, list) else []:
                seen += 1
                if seen > most:
                    return
                if isinstance(row, dict):
                    yield row
            following = str(said.get("next_page_token") or "")
            if not following or following == token:
                return
            token = following

    def put(self, url: str, file: Path) -> None:
        """Send a file. Raises as `ask`."""
        with file.open("rb") as content:
            head = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
            pieces = iter(lambda: content.read(1 << 18), b"")
            with self._answer("PUT", url, content=pieces, headers=head) as answer:
                self._read(answer)

    def get(self, url: str, target: Path, most: int) -> int:
        """Write what is at `url` to `target` and return its bytes. Raises as `ask`, and ArtifactError beyond `most` bytes."""
        size = 0
        with self._answer("GET", url) as answer, target.open("wb") as file:
            for piece in answer.iter_bytes(1 << 18):
                size += len(piece)
                if size > most:
                    raise ArtifactError(f"{self.shown(url)}: more than {most:,} bytes, which no such file of an adapter has")
                file.write(piece)
        return size

    def shown(self, text: str) -> str:
        """`text` in one line, without any secret of ours."""
        for secret in sorted(filter(None, self._secrets()), key=len, reverse=True):
            text = text.replace(secret, "…")
        return " ".join(text.split())[:300]

    def _secrets(self) -> tuple[str, ...]:
        import base64

        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode() if self.user and self.password else ""
        return self.token, self.password, pair

    @contextmanager
    def _answer(self, method: str, url: str, **more: Any) -> Iterator[httpx.Response]:
        import httpx

        headers = more.pop("headers", {})
        if self.token and not (self.user and self.password):
            headers = {**headers, "Authorization": f"Bearer {self.token}"}
        where = self.shown(f"{method} {urlsplit(url).path}")
        try:
            with self._client() as client, client.stream(method, url, headers=headers, **more) as answer:
                if answer.status_code >= 300:
                    raise self._wrong(answer.status_code, self._read(answer), where, answer.headers.get("location", ""))
                yield answer
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise UpstreamUnavailable(
                f"no MLflow answers at {self.url}: {self.shown(f'{type(error).__name__} {error}')}",
                fix="check MLFLOW_TRACKING_URI, then repeat the command: it goes on where it was",
            ) from None

    def _client(self) -> httpx.Client:
        import httpx

        try:
            return httpx.Client(
                auth=(self.user, self.password) if self.user and self.password else None,
                verify=self.verify if self.url.startswith("https:") else False,  # authorities take 50 ms to load
                cert=self.certificate,
                timeout=httpx.Timeout(self.timeout, connect=CONNECT),
                trust_env=not self.local,  # a proxy for the outside has nothing to do with a server of this machine
            )
        except OSError as error:
            raise ConfigError(f"a certificate file that MLFLOW_TRACKING_… names cannot be read: {error}") from None

    def _read(self, answer: httpx.Response) -> bytes:
        found = bytearray()
        for piece in answer.iter_bytes(1 << 16):
            found += piece
            if len(found) > MOST_ANSWER:
                raise UpstreamUnavailable(f"{self.url}: an answer of more than {MOST_ANSWER >> 20} MiB was given up")
        return bytes(found)

    def _wrong(self, status: int, body: bytes, where: str, location: str) -> Exception:
        """The error that an answer other than 2xx is."""
        if status < 400:
            scheme, host = _parts(location)
            sent = f"{scheme}://{host}" if host else "elsewhere"
            return ConfigError(f"{self.url} sends on to {self.shown(sent)}, where no key of ours goes", fix="name that address")
        told = _json(body)
        code = str(told.get("error_code") or "")
        words = self.shown(str(told.get("message") or ""))
        if status in (401, 403):
            return ConfigError(f"{self.url} does not let us in: status {status} at {where}", fix=_KEYS)
        if status in (408, 425, 429) or status >= 500:
            busy = f"{self.url}: status {status} at {where}{f': {words}' if words else ''}"
            return UpstreamUnavailable(busy, fix="repeat the command: it goes on where it was")
        if code == _MISSING:
            return NotFound(f"{self.url}: {words}")
        if not code:
            return ConfigError(f"{self.url} is no MLflow server: status {status} at {where}", fix="check MLFLOW_TRACKING_URI")
        return Refused(f"{self.url}: {words or code}", code)


def _object(body: bytes, where: str, url: str) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{url} is no MLflow server: {where} is not answered with JSON", fix="check MLFLOW_TRACKING_URI")
    return found


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _parts(uri: str) -> tuple[str, str]:
    """(scheme, host and port) of an address; empty where it has none. Raises ConfigError for a port that is none."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError("MLFLOW_TRACKING_URI is not an address", fix="write http://HOST:PORT") from None
    if parts.scheme in ("http", "https") and not host:
        raise ConfigError("MLFLOW_TRACKING_URI names no host", fix="write http://HOST:PORT")
    shown = f"[{host}]" if ":" in host else host
    scheme = parts.scheme if re.fullmatch(r"[a-z][a-z0-9+.-]*", parts.scheme) else ""
    return scheme, shown + (f":{port}" if port is not None else "")


def _verify(environ: Mapping[str, str]) -> bool | str:
    """MLFLOW_TRACKING_SERVER_CERT_PATH, MLFLOW_TRACKING_INSECURE_TLS; both together contradict each other, as in MLflow."""
    insecure = environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    path = environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", "")
    if insecure and path:
        raise ConfigError(
            "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH contradict each other", fix="unset one"
        )
    return path or not insecure


def _seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigError(f"{name}: {text!r} is no number of seconds", fix=f"export {name}=120")
    return float(text)
