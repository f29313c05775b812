"""Counts of one worker, their sum over all workers, and Prometheus text (names: DASH-07).

Each worker writes its own snapshot file about once a second and when it is asked to; whichever is scraped asks the others and
adds up all files. A worker that starts again under its old name goes on from its snapshot, so no counter ever falls. Labels come
from published routes and slots only.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from tunekeeper.core.nouns.serving import RouteTable
from tunekeeper.store.gauges import Family, load_gauges
from tunekeeper.store.refusedfile import refused

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[str, ...]
Stamp = tuple[int, int]
"""What tells a snapshot file from the one before."""
MAX_SERIES = 500
PLAIN = {
    "shadow_sent": "Copies sent to shadow slots.",
    "shadow_dropped": "Copies not sent because the budget was spent or the slot was not ready.",
    "shadow_logged": "Copies whose record is written.",
    "connections_refused": "Client connections beyond the limit, of all or of one address.",
    "rate_limited": "Requests refused because their key's rate was reached.",
    "budget_exceeded": "Requests refused because their key's budget was spent.",
}


@lru_cache(maxsize=4096)
def _names(model: str, variant: str | None, status: str) -> tuple[str, str, str, str]:
    """The series of one kind of request: its arm, its ending, its prompt and its completion tokens."""
    arm = f"{model}\t{variant or 'none'}"
    return arm, f"{arm}\t{status}", f"{arm}\tprompt", f"{arm}\tcompletion"


class Snapshot(msgspec.Struct):
    """What is kept of one worker."""

    requests: dict[str, int] = {}
    """model, variant, status (tab-separated) → requests."""
    seconds: dict[str, list[float]] = {}
    """model, variant → counts per bucket (the last: beyond all), then the sum of seconds."""
    tokens: dict[str, int] = {}
    """model, variant, direction → tokens."""
    cost: dict[str, float] = {}
    """model, variant → USD."""
    feedback: dict[str, int] = {}
    """kind → statements."""
    plain: dict[str, float] = {}
    """name → value of counters without labels."""
    errors: dict[str, int] = {}
    """model, variant, error code → requests."""
    first: dict[str, list[float]] = {}
    """model, variant → as `seconds`, to the first token of a stream."""


class Metrics:
    """One worker's counters."""

    def __init__(self, folder: Path, name: str) -> None:
        """`folder`: the workspace's `run`. `name`: the worker's."""
        self.name = name
        self._folder = folder
        self._path = self.path_of(name)
        self.mine = _read(self._path) or Snapshot()
        self._changed = False
        self.disk_level = 0

    def count(self, record: Mapping[str, Any]) -> None:
        """Count one ended request; only users' requests are traffic."""
        if record.get("purpose", "user") != "user":
            return
        self._changed = True
        mine = self.mine
        arm, key, prompt, completion = _names(record["model_id"], record.get("variant"), record["status"])
        if key not in mine.requests and len(mine.requests) >= MAX_SERIES:
            arm, key, prompt, completion = _names("other", "other", "other")
        mine.requests[key] = mine.requests.get(key, 0) + 1
        seconds = record.get("latency_ms", 0.0) / 1000
        _observe(mine.seconds, arm, seconds)
        if record.get("stream") and "ttft_ms" in record:
            _observe(mine.first, arm, record["ttft_ms"] / 1000)
        if "error" in record:  # a code of ours
            error = f"{arm}\t{record['error']}"
            mine.errors[error] = mine.errors.get(error, 0) + 1
        for name, field in ((prompt, "prompt_tokens"), (completion, "completion_tokens")):
            if field in record:
                mine.tokens[name] = mine.tokens.get(name, 0) + record[field]
        if "cost_usd" in record:
            mine.cost[arm] = mine.cost.get(arm, 0.0) + record["cost_usd"]

    def count_feedback(self, kind: str) -> None:
        """Count one statement."""
        self._changed = True
        self.mine.feedback[kind] = self.mine.feedback.get(kind, 0) + 1

    def set_plain(self, values: Mapping[str, float]) -> None:
        """Set counters without labels (shadow deliveries, refused connections)."""
        if any(self.mine.plain.get(name) != value for name, value in values.items()):
            self.mine.plain.update(values)
            self._changed = True

    def path_of(self, name: str) -> Path:
        """The snapshot file of a worker."""
        return self._folder / f"metrics-{name}.json"

    def others(self) -> list[Path]:
        """The snapshot files of other workers, living or not."""
        return [path for path in sorted(self._folder.glob("metrics-*.json")) if path != self._path]

    def save(self, *, anew: bool = False) -> None:
        """Write the snapshot if anything changed, or `anew` in any case. A full disk loses a snapshot, never a request."""
        if not self._changed and not anew:
            return
        hidden = self._path.with_suffix(".new")
        try:
            hidden.write_bytes(msgspec.json.encode(self.mine))
            os.replace(hidden, self._path)
            self._changed = False
        except OSError:
            pass  # tried again in a second; /metrics itself reads this worker's own numbers from memory

    def text(self, table: RouteTable) -> bytes:
        """The Prometheus text of all workers together, with gauges of what `table` says."""
        others = [_read(path) for path in self.others()]
        total = _sum([self.mine, *[other for other in others if other is not None]])
        families = load_gauges(self._folder.parent)
        lines = _lines(total, table, _bases(families))
        # All workers write to the same disk: the one that is asked speaks for it.
        lines += _family("tunekeeper_disk_level", "gauge", "Room for the log: 0 enough, 1 low, 2 no bodies, 3 no shadow, 4 full.")
        lines.append(_line("tunekeeper_disk_level", (), [], self.disk_level))
        lines += _family("tunekeeper_routing_file_refused", "gauge", "1 while the file of serve --routing cannot be obeyed.")
        lines.append(_line("tunekeeper_routing_file_refused", (), [], refused(self._folder.parent) is not None))
        for family in families:
            kind = "counter" if family.name.endswith("_total") else "gauge"
            lines += _family(family.name, kind, family.help.replace("\n", " "))
            lines += [_line(family.name, family.labels, list(values), number) for values, number in family.series]
        return ("\n".join(lines) + "\n").encode()


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file that is replaced as a whole; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _observe(rows: dict[str, list[float]], arm: str, seconds: float) -> None:
    row = rows.get(arm)
    if row is None:
        row = rows[arm] = [0.0] * (len(BUCKETS) + 2)
    row[bisect_left(BUCKETS, seconds)] += 1
    row[-1] += seconds


def _read(path: Path) -> Snapshot | None:
    """A snapshot; None where there is none, or one that cannot be added to ours: of a release with other buckets or labels."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (OSError, msgspec.DecodeError):
        return None
    ours = len(BUCKETS) + 2
    rows = all(key.count("\t") == 1 and len(row) == ours for kept in (found.seconds, found.first) for key, row in kept.items())
    names = all(key.count("\t") == 2 for kept in (found.requests, found.tokens, found.errors) for key in kept)
    return found if rows and names and all(key.count("\t") == 1 for key in found.cost) else None


def _sum(parts: list[Snapshot]) -> Snapshot:
    total = Snapshot()
    for part in parts:
        for name in ("requests", "tokens", "cost", "feedback", "plain", "errors"):
            into: dict[str, Any] = getattr(total, name)
            for key, value in getattr(part, name).items():
                into[key] = into.get(key, 0) + value
        for rows, sums in ((part.seconds, total.seconds), (part.first, total.first)):
            for key, row in rows.items():
                old = sums.get(key)
                sums[key] = list(row) if old is None else [a + b for a, b in zip(old, row, strict=True)]
    return total


def _lines(total: Snapshot, table: RouteTable, bases: Mapping[tuple[str, ...], str]) -> list[str]:
    lines = _family("model_inference_requests_total", "counter", "Requests by model, variant and ending.")
    lines += [
        _line("model_inference_requests_total", ("model_id", "variant", "status"), k.split("\t"), v)
        for k, v in sorted(total.requests.items())
    ]
    lines += _family("model_inference_latency_seconds", "histogram", "Seconds from accept to the last byte.")
    for key, row in sorted(total.seconds.items()):
        lines += _histogram("model_inference_latency_seconds", key.split("\t"), row)
    lines += _family("model_time_to_first_token_seconds", "histogram", "Seconds from accept to the first token of a stream.")
    for key, row in sorted(total.first.items()):
        lines += _histogram("model_time_to_first_token_seconds", key.split("\t"), row)
    lines += _family("model_inference_errors_total", "counter", "Requests that did not end well, by the code they ended with.")
    lines += [
        _line("model_inference_errors_total", ("model_id", "variant", "error"), k.split("\t"), v)
        for k, v in sorted(total.errors.items())
    ]
    lines += _family("model_tokens_total", "counter", "Tokens as the model server counted them.")
    lines += [
        _line("model_tokens_total", ("model_id", "variant", "direction"), k.split("\t"), v)
        for k, v in sorted(total.tokens.items())
    ]
    lines += _family("model_cost_usd_total", "counter", "Tokens times the slot's price.")
    lines += [_line("model_cost_usd_total", ("model_id", "variant"), k.split("\t"), v) for k, v in sorted(total.cost.items())]
    lines += _family("tunekeeper_feedback_total", "counter", "Statements about answers, by kind.")
    lines += [_line("tunekeeper_feedback_total", ("kind",), [k], v) for k, v in sorted(total.feedback.items())]
    for name, value in sorted(total.plain.items()):
        lines += [
            *_family(f"tunekeeper_{name}_total", "counter", PLAIN.get(name, name)),
            _line(f"tunekeeper_{name}_total", (), [], value),
        ]
    return lines + _table_lines(table, bases)


def _bases(families: Iterable[Family]) -> dict[tuple[str, ...], str]:
    """(Model, version) → the base it was made from, where the worker has told it."""
    told = next((each for each in families if each.name == "model_version_info"), None)
    return {} if told is None else {values[:2]: values[2] for values, _ in told.series if len(values) == 3}


def _table_lines(table: RouteTable, bases: Mapping[tuple[str, ...], str]) -> list[str]:
    lines = _family("model_deployment_info", "gauge", "What each slot holds.")
    for slot in table.slots.values():
        base = bases.get((slot.model, slot.version or ""), "")
        values = [slot.model, slot.version or "", slot.id, base, slot.digest or ""]
        lines.append(_line("model_deployment_info", ("model_id", "version", "slot", "base", "adapter_hash"), values, 1))
    lines += _family("model_canary_weight_ratio", "gauge", "Share of traffic assigned to the challenger, 0 to 1.")
    for route in table.routes.values():
        weight = sum(share.weight for share in route.shares if share.variant == "challenger")
        lines.append(_line("model_canary_weight_ratio", ("model_id",), [route.model], weight / 10_000))
    lines += _family("tunekeeper_route_generation", "gauge", "Generation of the published table this worker obeys.")
    return [*lines, _line("tunekeeper_route_generation", (), [], table.generation)]


def _histogram(name: str, labels: list[str], row: list[float]) -> list[str]:
    lines, running = [], 0.0
    for edge, count in zip((*[f"{edge:g}" for edge in BUCKETS], "+Inf"), row, strict=False):
        running += count
        lines.append(_line(f"{name}_bucket", ("model_id", "variant", "le"), [*labels, edge], running))
    lines.append(_line(f"{name}_sum", ("model_id", "variant"), labels, row[-1]))
    return [*lines, _line(f"{name}_count", ("model_id", "variant"), labels, running)]


def _family(name: str, kind: str, help: str) -> list[str]:
    return [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]


def _line(name: str, names: tuple[str, ...], values: list[str], value: float) -> str:
    pairs = ",".join(f'{n}="{_escaped(v)}"' for n, v in zip(names, values, strict=True))
    number = f"{int(value)}" if value == int(value) else repr(float(value))
    return f"{name}{{{pairs}}} {number}" if pairs else f"{name} {number}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
