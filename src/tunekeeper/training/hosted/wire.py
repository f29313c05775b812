"""HTTP to a provider: bounded waits, its own words in every error, patience with one that is busy. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from tunekeeper.core.errors import ArtifactError, ConfigError, UpstreamUnavailable, UserError
from tunekeeper.jobs.child import no_room

MOST_ANSWER = 32 << 20
_PIECE = 1 << 18
_LONGEST_REST = 300.0
_REDIRECTS = 5
MOVED = (301, 302, 303, 307, 308)
T = TypeVar("T")


class Unanswered(UpstreamUnavailable):
    """The provider could not be asked now: no connection, too many requests, a fault of its own. Worth another try."""

    def __init__(self, message: str, after: float | None = None) -> None:
        """`after`: seconds that it asks to wait."""
        super().__init__(message)
        self.after = after


class Gone(UserError):
    """The provider does not have what it was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One answer, whatever its status."""

    status: int
    """HTTP status."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    """The whole body; of a download only what says why there is none."""

    @property
    def told(self) -> dict[str, Any] | None:
        """The body's JSON object, empty without a body; None where the body is none: somebody else's page."""
        try:
            found = json.loads(self.body) if self.body.strip() else {}
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def value(self) -> dict[str, Any]:
        """The body's JSON object; empty where it is none."""
        return self.told or {}

    @property
    def words(self) -> str:
        """What it says is wrong, in one line."""
        told = self.value.get("error", self.value.get("message", self.value.get("detail")))
        text = told.get("message", told) if isinstance(told, dict) else told
        return " ".join(str(text or self.body[:200].decode("utf-8", "replace") or "no reason given").split())[:300]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wire:
    """Asks one provider."""

    name: str
    """The provider, for messages."""
    endpoint: str
    """Address that paths are put behind, e.g. https://api.openai.com/v1."""
    api_key: str = field(repr=False)
    """Bearer token; never part of a message."""
    key_env: str = ""
    """Name of the variable it came from."""
    patience: float = 3600.0
    """Seconds without an answer after which it is given up."""
    shortest: float = 1.0
    """Seconds of the first rest; each later one is twice as long."""
    timeout: float = 60.0
    """Seconds to connect and for each read or write."""
    rest: Callable[[float], None] = time.sleep
    """How it waits."""
    told: Callable[[str], None] = lambda why: None
    """Who hears why it waits."""

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`, asked for until the provider answers."""
        return self.patiently(lambda: self.once("GET", path))

    def once(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One exchange of JSON. Raises Unanswered, Gone, UserError with its words, ConfigError for a key it does not take."""
        reply = self.send(method, path, body)
        if not 200 <= reply.status < 300:
            kind = Gone if reply.status in (404, 410) else UserError
            raise kind(f"{self.name} refused {method} {path.partition('?')[0]}: status {reply.status}: {reply.words}")
        if reply.told is None:  # of a proxy before it: an empty list taken from it would be a second job
            raise Unanswered(f"{self.name} {method} {path.partition('?')[0]}: its answer is no JSON object")
        return reply.told

    def patiently(self, act: Callable[[], T]) -> T:
        """`act` again after a rest for as long as it is Unanswered. Raises UpstreamUnavailable when the patience is used up."""
        pause, waited = self.shortest, 0.0
        while True:
            try:
                return act()
            except Unanswered as error:
                wanted = max(pause, error.after or 0.0)
                if waited + wanted > self.patience:
                    asked = f"; it asks to wait {error.after:,.0f} s" if error.after else ""
                    why = f"{error.message}{asked}; given up after {waited:.0f} s of waiting"
                    raise UpstreamUnavailable(why, fix="repeat the command: it goes on where it was") from error
                self.told(f"{error.message}; asked again in {wanted:.0f} s")
                self.rest(wanted)
                waited += wanted
                pause = min(pause * 2, _LONGEST_REST)

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] = {}) -> Reply:
        """One exchange, any status but those worth another try. Raises Unanswered, ConfigError."""
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        return self._checked(method, self._url(path), data, {**sent, **self._authorization(), **headers})

    def send_form(self, path: str, fields: Mapping[str, str]) -> Reply:
        """POST fields as multipart form data."""
        mark = secrets.token_hex(16)
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}", **self._authorization()}
        return self._checked("POST", self._url(path), _form(mark, fields) + f"--{mark}--\r\n".encode(), headers)

    def send_file(self, path: str, file: Path, name: str, fields: Mapping[str, str]) -> Reply:
        """POST `file` as multipart form data under the name `name`, a piece at a time."""
        mark = secrets.token_hex(16)
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        before = _form(mark, fields) + (head + "Content-Type: application/jsonl\r\n\r\n").encode()
        after = f"\r\n--{mark}--\r\n".encode()
        length = len(before) + file.stat().st_size + len(after)
        headers = {"Content-Type": f"multipart/form-data; boundary={mark}", "Content-Length": str(length)}
        return self._checked("POST", self._url(path), _pieces(file, before, after), {**headers, **self._authorization()})

    def put_file(self, url: str, file: Path, headers: Mapping[str, str] = {}) -> Reply:
        """PUT `file` to an address that the provider signed; it is not told our key."""
        return self._checked("PUT", url, _pieces(file), {"Content-Length": str(file.stat().st_size), **headers})

    def download(self, path: str, target: Path, most: int) -> None:
        """Write what is at `path` to `target`, whole or not at all. Raises as `once`, and ArtifactError beyond `most` bytes."""
        url, headers = self._url(path), self._authorization()
        for _ in range(_REDIRECTS):
            reply = self._checked("GET", url, None, {"Accept": "application/octet-stream", **headers}, target=target, most=most)
            if reply.status == 200:
                return
            if reply.status not in MOVED or "location" not in reply.headers:
                raise UserError(f"{self.name} refused GET {path.partition('?')[0]}: status {reply.status}: {reply.words}")
            there = urljoin(url, reply.headers["location"])
            if urlsplit(there)[:2] != urlsplit(url)[:2]:
                headers = {}  # the key is for the provider, not for the store that it sends us to
            url = there
        raise UserError(f"{self.name}: GET {path.partition('?')[0]} was sent on more than {_REDIRECTS} times")

    def _url(self, path: str) -> str:
        return self.endpoint.rstrip("/") + path

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def _checked(self, method: str, url: str, data: Any, headers: Mapping[str, str], **bounds: Any) -> Reply:
        where = f"{self.name} {method} {urlsplit(url).path}"
        reply = self._exchange(method, url, data, headers, where, **bounds)
        if reply.status in (401, 403) and self.api_key and "Authorization" not in headers:  # what was signed has run out
            raise Unanswered(f"{where}: status {reply.status}: {reply.words}")
        if reply.status in (401, 403):
            raise ConfigError(
                f"{where}: status {reply.status}: {reply.words}", fix=f"export {self.key_env}=…" if self.key_env else None
            )
        code = reply.value.get("error") if reply.status == 429 else None
        if isinstance(code, dict) and code.get("code") == "insufficient_quota":
            raise UserError(f"{where}: {reply.words}")  # the money is used up: no waiting mends that
        if reply.status in (408, 425, 429) or reply.status >= 500:
            raise Unanswered(f"{where}: status {reply.status}: {reply.words}", _seconds(reply.headers.get("retry-after")))
        return reply

    def _exchange(
        self,
        method: str,
        url: str,
        data: Any,
        headers: Mapping[str, str],
        where: str,
        *,
        target: Path | None = None,
        most: int = MOST_ANSWER,
    ) -> Reply:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{self.name}: {url!r} is not an http address", fix="set training.backend_options.endpoint")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=self.timeout)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: the answer says why
                connection.request(method, path, data, {"Connection": "close", **headers})
            response = connection.getresponse()
            told = {key.lower(): value for key, value in response.getheaders()}
            if target is not None and response.status == 200:
                _store(response, target, most, where)
                return Reply(status=200, headers=told, body=b"")
            return Reply(status=response.status, headers=told, body=response.read(MOST_ANSWER))
        except (OSError, http.client.HTTPException) as error:
            if no_room(error):
                raise  # our own disk is full: no waiting mends that
            raise Unanswered(f"{where}: {type(error).__name__} {error}".rstrip()) from error
        finally:
            connection.close()


def id_of(value: Mapping[str, Any]) -> str:
    """The id in an answer. Raises Unanswered where there is none: whether something was made is then asked anew."""
    found = value.get("id")
    if not isinstance(found, str) or not found:
        raise Unanswered("an answer without an id")
    return found


def _store(response: http.client.HTTPResponse, target: Path, most: int, where: str) -> None:
    part = target.with_name(f".{target.name}.part")
    size, wanted = 0, response.length
    try:
        with part.open("wb") as file:
            while piece := response.read1(_PIECE):
                size += len(piece)
                if size > most:
                    raise ArtifactError(f"{where}: more than {most:,} bytes", fix="raise training.backend_options.most_bytes")
                file.write(piece)
        if wanted is not None and size != wanted:
            raise http.client.IncompleteRead(b"", wanted - size)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _form(mark: str, fields: Mapping[str, str]) -> bytes:
    parts = (f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
    return "".join(parts).encode()


def _pieces(file: Path, before: bytes = b"", after: bytes = b"") -> Iterator[bytes]:
    if before:
        yield before
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece
    if after:
        yield after


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; a date counts as none."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
