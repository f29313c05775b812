"""One entry of `log.sinks`: a place that every finished inference is pushed to. Holds names of variables, never a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

from tunekeeper.core.errors import ConfigError

KEYS = {
    "stdout": (),
    "file": ("path", "max_mb", "keep"),
    "datadog": ("url", "key_env", "service", "tags", "timeout"),
    "cloudwatch": ("url", "region", "group", "stream", "timeout"),
}
"""Kind → the options that it has besides `kind`, `name` and `bodies`."""
COMMON = ("kind", "name", "bodies")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkConfig:
    """Where finished inferences are pushed, and what of them."""

    kind: Literal["stdout", "file", "datadog", "cloudwatch"]
    """stdout: JSON lines on the standard output of `up` and `serve`; file: JSON lines, rotated; datadog: its HTTP intake;
    cloudwatch: PutLogEvents with the keys of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN."""
    name: str = ""
    """What messages and `status` call it, and its cursor is kept under; empty: its kind."""
    bodies: bool = False
    """Whether requests and answers go along, redacted as they are stored."""
    path: str = "inferences.jsonl"
    """file: where, relative to the file that says this; it ends in `.jsonl` or `.ndjson`, so that an erasure finds it."""
    max_mb: float = 100.0
    """file: megabytes after which a new file is begun; `NAME.jsonl` becomes `NAME.1.jsonl`."""
    keep: int = 5
    """file: how many older files are kept, 0 to 1000."""
    url: str = ""
    """datadog: address of the intake, e.g. of another site; cloudwatch: an endpoint in place of the region's. Empty: the usual
    one."""
    key_env: str = "DD_API_KEY"
    """datadog: variable that holds the API key."""
    service: str = "tunekeeper"
    """datadog: name of the service."""
    tags: tuple[str, ...] = ()
    """datadog: tags, each `key:value`."""
    region: str = ""
    """cloudwatch: region, e.g. `eu-central-1`."""
    group: str = ""
    """cloudwatch: log group, which must exist."""
    stream: str = "tunekeeper"
    """cloudwatch: log stream, made where it is missing."""
    timeout: float = 10.0
    """datadog and cloudwatch: real seconds for connecting and for each read, above 0, at most 60."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name not in (*COMMON, *KEYS[self.kind]) and getattr(self, each.name) != each.default:
                raise ConfigError(f"a sink of kind {self.kind} has no {each.name}", fix=f"known: {_known(self.kind)}")
        if not NAME.fullmatch(self.label):
            raise ConfigError(f"{self.name!r} cannot name a sink", fix="use small letters, digits, '-' and '_', at most 63")
        if not self.path.endswith((".jsonl", ".ndjson")):
            raise ConfigError(f"a sink writes JSON lines, and {self.path!r} is called otherwise", fix="write path: NAME.jsonl")
        if not 0.001 <= self.max_mb <= 100_000:
            raise ConfigError(f"max_mb is {self.max_mb:g}; it must lie between 0.001 and 100,000 megabytes")
        if not 0 <= self.keep <= 1000:
            raise ConfigError(f"keep is {self.keep}; it must lie between 0 and 1000 files")
        if not 0 < self.timeout <= 60:
            raise ConfigError(f"timeout is {self.timeout:g}; it must lie above 0 and be at most 60 seconds")
        if self.kind == "cloudwatch" and not (self.region and self.group and self.stream):
            raise ConfigError("a sink of kind cloudwatch needs region, group and stream", fix="write region: and group:")

    @property
    def label(self) -> str:
        """The name that counts."""
        return self.name or self.kind


def _known(kind: str) -> str:
    return ", ".join((*COMMON, *KEYS[kind]))


def doubled(sinks: tuple[SinkConfig, ...]) -> str | None:
    """A name that two sinks have; None when all differ."""
    labels = [each.label for each in sinks]
    return next((label for label in labels if labels.count(label) > 1), None)
