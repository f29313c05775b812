"""CloudWatch Logs: PutLogEvents over its JSON interface, signed with Signature Version 4 by hand.

Keys come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN; roles of a machine or
container are not looked up.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tunekeeper.notify.posting import Address, Answer, Away, Post, address, post, posted, refused
from tunekeeper.notify.records import Record, fitted
from tunekeeper.notify.sinkconfig import SinkConfig

TARGET = "Logs_20140328"
TYPE = "application/x-amz-json-1.1"
ITEMS, BYTES, OVERHEAD, ITEM_BYTES = 10_000, 1_048_576, 26, 250_000
"""What PutLogEvents takes at once: events, and their bytes with 26 more for each; one event is under the older limit, 256 KB."""
SPAN = timedelta(hours=23)
"""Longest from the first event of a request to its last: a day at most is allowed."""
Event = tuple[datetime, bytes]


class CloudWatch:
    """One log stream. The group must exist; the stream is made when it is missing."""

    def __init__(
        self,
        config: SinkConfig,
        *,
        environ: Mapping[str, str] | None = None,
        post: Post = post,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`environ`: holds the keys; None: the process's own. `now`: Unix seconds to sign with. Raises ConfigError for `url`."""
        self._config = config
        self._to = address(config.url or f"https://logs.{config.region}.amazonaws.com/", "CloudWatch Logs")
        self._environ = os.environ if environ is None else environ
        self._post = post
        self._now = now

    def send(self, records: Sequence[Record]) -> None:
        """Put all, oldest first, in as many requests as the limits ask for. Raises Away. Events older than 14 days it
        takes and drops."""
        events = sorted(((_moment(record), fitted(record, ITEM_BYTES)) for record in records), key=lambda event: event[0])
        for batch in split(events):
            self._put(batch)

    def _put(self, batch: Sequence[Event]) -> None:
        told = [{"timestamp": int(at.timestamp() * 1000), "message": data.decode()} for at, data in batch]
        given = {"logGroupName": self._config.group, "logStreamName": self._config.stream, "logEvents": told}
        answer = self._call("PutLogEvents", given)
        if _kind(answer) == "ResourceNotFoundException":
            made = self._call("CreateLogStream", {key: value for key, value in given.items() if key != "logEvents"})
            if made.status != 200 and _kind(made) != "ResourceAlreadyExistsException":
                raise Away(f"{self._to.host}: no log group {self._config.group!r}, or it may not be written to: {_kind(made)}")
            answer = self._call("PutLogEvents", given)
        if answer.status != 200:
            raise _refused(self._to.host, answer)

    def _call(self, action: str, given: Mapping[str, Any]) -> Answer:
        body = msgspec.json.encode(given)
        headers = {"content-type": TYPE, "host": self._to.netloc, "x-amz-target": f"{TARGET}.{action}"}
        signed = signed_headers(self._to, headers, body, self._keys(), self._config.region, "logs", self._now())
        return posted(self._post, self._to.host, self._to, body, signed, self._config.timeout)

    def _keys(self) -> tuple[str, str, str | None]:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        for name in names:
            if not self._environ.get(name):
                raise Away(f"the variable {name} is not set")
        return self._environ[names[0]], self._environ[names[1]], self._environ.get("AWS_SESSION_TOKEN") or None


def split(events: Sequence[Event]) -> list[list[Event]]:
    """Events in order of time, in groups that one request may hold."""
    found: list[list[Event]] = []
    total = 0
    for at, data in events:
        size = len(data) + OVERHEAD
        if not found or len(found[-1]) >= ITEMS or total + size > BYTES or at - found[-1][0][0] > SPAN:
            found.append([])
            total = 0
        found[-1].append((at, data))
        total += size
    return found


def signed_headers(
    to: Address,
    headers: Mapping[str, str],
    body: bytes,
    keys: tuple[str, str, str | None],
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """`headers` (lower-case names, `host` among them) of a POST to `to` with the date and the signature of AWS Signature
    Version 4. `keys`: id, secret, session token or None. `now`: Unix seconds. The path has nothing to encode and no query."""
    key_id, secret, token = keys
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    given = {**headers, "x-amz-date": stamp, **({"x-amz-security-token": token} if token else {})}
    names = ";".join(sorted(given))
    lines = "".join(f"{name}:{given[name].strip()}\n" for name in sorted(given))
    canonical = f"POST\n{to.path}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    told = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**given, "authorization": told}


def _moment(record: Record) -> datetime:
    return datetime.fromisoformat(record["timestamp"])


def _kind(answer: Answer) -> str:
    """The error that an answer names, without its namespace; empty for none."""
    if answer.status == 200:
        return ""
    try:
        said = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return f"{answer.status} {answer.reason}"
    kind = said.get("__type") if isinstance(said, dict) else None
    return kind.rsplit("#", 1)[-1] if isinstance(kind, str) and kind.isascii() and len(kind) < 200 else f"{answer.status}"


def _refused(who: str, answer: Answer) -> Away:
    plain = refused(who, answer)
    kind = _kind(answer)
    return plain if not kind or kind in plain.message else Away(f"{plain.message} {kind}", retry_after=plain.retry_after)
