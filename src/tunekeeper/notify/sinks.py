"""The places that finished inferences are pushed to. A sink takes records whole or raises NotSent; a record that came twice is
told by its `request_id`.
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tunekeeper.notify.cloudwatch import CloudWatch
from tunekeeper.notify.posting import Away, Post, address, post, posted, refused
from tunekeeper.notify.records import Record, batches, fitted, line
from tunekeeper.notify.sinkconfig import SinkConfig

DATADOG = "https://http-intake.logs.datadoghq.com/api/v2/logs"
DATADOG_ITEMS, DATADOG_BYTES, DATADOG_ITEM_BYTES = 1000, 4_500_000, 950_000
"""Under what its intake takes: 1,000 logs and 5 MB (before compression) a request, 1 MB a log."""


class Sink(Protocol):
    """Takes records to one place."""

    def send(self, records: Sequence[Record]) -> None:
        """Deliver all of `records`, oldest first, within a bounded time, or raise NotSent: then all of them come again."""


class Stdout:
    """JSON lines on the standard output. A reader that is slow is waited for."""

    def __init__(self, descriptor: int = 1) -> None:
        """`descriptor`: where to write."""
        self._descriptor = descriptor

    def send(self, records: Sequence[Record]) -> None:
        """Write one line for each. Raises BrokenPipeError when nobody reads any more."""
        if self._descriptor == 1:
            sys.stdout.flush()
        for record in records:
            _write(self._descriptor, line(record))


class File:
    """JSON lines in a file; a full `NAME.jsonl` becomes `NAME.1.jsonl`, the one before `NAME.2.jsonl`."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        """`max_bytes`: length after which a new file is begun. `keep`: how many older ones are kept; 0: none."""
        self.path = path
        self.max_bytes = max_bytes
        self.keep = keep

    def send(self, records: Sequence[Record]) -> None:
        """Append one line for each. Raises Away when the disk does not take them."""
        try:
            for batch in self._batches([line(record) for record in records]):
                self._append(batch)
        except OSError as error:
            raise Away(f"{self.path.name}: {error.strerror}") from None

    def _batches(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Lines put together as far as they go into the file that is there by then."""
        held: list[bytes] = []
        size = self._size()
        for each in lines:
            if size and size + len(each) > self.max_bytes:
                if held:
                    yield b"".join(held)
                self._rotate()
                held, size = [], 0
            held.append(each)
            size += len(each)
        if held:
            yield b"".join(held)

    def _append(self, data: bytes) -> None:
        """Append all of `data` or nothing of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write(descriptor, data)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _rotate(self) -> None:
        if not self.path.exists():
            return
        if not self.keep:
            self.path.unlink()
            return
        for number in range(self.keep - 1, 0, -1):
            old = self._older(number)
            if old.exists():
                old.replace(self._older(number + 1))
        self.path.replace(self._older(1))

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")


class Datadog:
    """Datadog's HTTP log intake, version 2: an array of logs, compressed."""

    def __init__(self, config: SinkConfig, *, environ: Mapping[str, str] | None = None, post: Post = post) -> None:
        """`environ`: holds the key, looked up at each request; None: the process's own. Raises ConfigError for its `url`."""
        self._to = address(config.url or DATADOG, "Datadog's intake")
        self._config = config
        self._environ = os.environ if environ is None else environ
        self._post = post

    def send(self, records: Sequence[Record]) -> None:
        """Post all, in as many requests as the intake's limits ask for. Raises Away."""
        key = self._environ.get(self._config.key_env)
        if not key:
            raise Away(f"the variable {self._config.key_env} with the API key is not set")
        entries = [fitted(self._entry(record), DATADOG_ITEM_BYTES) for record in records]
        for batch in batches(entries, DATADOG_ITEMS, DATADOG_BYTES):
            body = gzip.compress(b"[" + b",".join(batch) + b"]", 5, mtime=0)
            headers = {"content-type": "application/json", "content-encoding": "gzip", "dd-api-key": key}
            answer = posted(self._post, self._to.host, self._to, body, headers, self._config.timeout)
            if not 200 <= answer.status < 300:
                raise refused(self._to.host, answer)

    def _entry(self, record: Record) -> Record:
        said = (record.get("model_id"), record.get("version"), record.get("status"), record.get("error"))
        own = {"ddsource": "tunekeeper", "service": self._config.service, "message": " ".join(str(word) for word in said if word)}
        tags = {"ddtags": ",".join(self._config.tags)} if self._config.tags else {}
        return {**record, **own, **tags}


def make_sink(config: SinkConfig, base: Path, *, environ: Mapping[str, str] | None = None) -> Sink:
    """The sink that an entry of `log.sinks` asks for; `base`: where paths start from. Raises ConfigError for an address."""
    if config.kind == "stdout":
        return Stdout()
    if config.kind == "file":
        return File(base / config.path, max_bytes=int(config.max_mb * 1e6), keep=config.keep)
    if config.kind == "datadog":
        return Datadog(config, environ=environ)
    return CloudWatch(config, environ=environ)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
