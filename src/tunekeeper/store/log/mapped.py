"""Rows of other systems' logs as records of ours: which column is which field, as somebody says who knows both.

A mapping is told, never guessed: of a row that lacks what is needed, `hint` says the columns that are likely meant.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.store.moments import moment_of

FIELDS = tuple(field.name for field in dataclasses.fields(Inference))
NEEDED = ("request_id", "timestamp", "model_id")
WHOLE = "."
"""Stands for the row itself: of a list of stored completions, each one is the response."""
_INSIDE = ("segments", "metadata")
_TIMES = re.compile(r"(.+)\*(\d+(?:\.\d+)?)")
_BETWEEN = re.compile(r"(.+)-(.+)")
_ENDINGS = {"success": "ok", "succeeded": "ok", "completed": "ok", "failure": "error", "failed": "error"}
_TOLD = 12
"""Columns that one line names."""
_NUMBERS = (
    "prompt_tokens",
    "completion_tokens",
    "latency_ms",
    "ttft_ms",
    "cost_usd",
    "confidence",
    "quality_score",
    "http_status",
)
_MEANT: dict[str, tuple[str, ...]] = {
    "request_id": ("id", "requestId", "RequestId", "trace_id", "traceId", "CorrelationId", "call_id", "run_id"),
    "timestamp": (
        *("startTime", "start_time", "request_time", "timestamp_ms", "TimeGenerated", "created_at", "createdAt", "created"),
        *("event_time", "datetime", "time", "date", "ts", "@timestamp"),
    ),
    "model_id": ("model", "model_name", "modelName", "ModelName", "DeploymentName", "provided_model_name", "deployment"),
    "prompt_tokens": (
        *("promptTokens", "PromptTokens", "input_tokens", "inputTokens", "usage.prompt_tokens", "usage.input_tokens"),
        *("usage.input", "usageDetails.input", "usage_details.input"),
    ),
    "completion_tokens": (
        *("completionTokens", "CompletionTokens", "output_tokens", "outputTokens", "usage.completion_tokens"),
        *("usage.output_tokens", "usage.output", "usageDetails.output", "usage_details.output"),
    ),
    "latency_ms": (
        *("execution_duration", "execution_time_ms", "request_duration_ms", "duration_ms", "durationMs", "DurationMs"),
        *("endTime-startTime", "end_time-start_time"),
    ),
    "cost_usd": ("spend", "totalCost", "calculatedTotalCost", "total_cost", "cost"),
    "status": ("state",),
    "request": ("messages", "RequestMessages", "request_body", "input", "inputs", "prompt", "question", "text"),
    "response": (
        *("ResponseMessages", "response_body", "output", "outputs", "completion", "answer", "prediction", "predicted_label"),
        *("label",),
    ),
    "confidence": ("probability", "proba", "score"),
}
"""Field → what others call it, for a hint alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Which column is which field."""

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Field, or `segments.NAME` and `metadata.NAME`, → column, path to it, `COLUMN*1000`, `COLUMN-COLUMN` or WHOLE."""
    model: str | None = None
    """Whose every row is; None: each row says it."""

    def __bool__(self) -> bool:
        return bool(self.columns) or self.model is not None

    def record(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as the fields of an inference: columns that are called as a field, and those that were told. Raises ValueError
        saying which column is not there or holds something else."""
        found = {name: row[name] for name in FIELDS if name in row and name not in self.columns}
        for field, column in self.columns.items():
            value = _column(row, column)
            outer, mark, inner = field.partition(".")
            if mark and value is not None:
                known = _opened(found.get(outer) or {})
                if not isinstance(known, Mapping):
                    raise ValueError(f"{outer} is no object")
                found[outer] = {**known, inner: value if outer == "metadata" else _text(value)}
            elif not mark:
                found[field] = value
        found = {name: made for name, value in found.items() if (made := _fitting(name, value)) is not None}
        return found if self.model is None else found | {"model_id": self.model}

    def left(self, keys: Sequence[str]) -> list[str]:
        """Of the columns of a row those that nothing takes."""
        if WHOLE in self.columns.values():
            return []
        parts = [part for column in self.columns.values() for part in (column, *_parts(column))]
        used = {*parts, *(part.split(".")[0] for part in parts)}
        return [key for key in keys if key not in used and not (key in FIELDS and key not in self.columns)]


AS_IT_IS = Told()
"""No mapping: columns are called as fields are."""


def told(given: Sequence[str], model: str | None = None) -> Told:
    """A mapping from `field=COLUMN`, several times. Raises UserError."""
    columns: dict[str, str] = {}
    for each in given:
        field, mark, column = each.partition("=")
        outer, inside, inner = field.partition(".")
        if not mark or not column:
            raise UserError(f"--map {each!r} names no column", fix="write field=COLUMN, e.g. --map timestamp=startTime")
        if (outer not in _INSIDE or not inner) if inside else field not in FIELDS:
            near = _elsewhere(field) or difflib.get_close_matches(field, FIELDS, 1)
            meant = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(FIELDS)}"
            raise UserError(f"--map {each!r}: an inference has no field {field!r}", fix=meant)
        if field in columns:
            raise UserError(f"--map names {field} twice", fix="name one column for it")
        columns[field] = column
    return Told(columns=columns, model=model)


def _elsewhere(name: str) -> list[str]:
    """The field that others, or an import of examples, call `name`."""
    if name in ("user", "assistant"):
        return ["request" if name == "user" else "response"]
    return [field for field, names in _MEANT.items() if name in names]


def hint(row: Mapping[str, Any], mapping: Told) -> str:
    """What to write for a row that lacks what an inference needs: the columns that are likely meant, or those that there are."""
    known = {field: column for field in _MEANT if field not in row and (column := _likely(row, field)) is not None}
    known |= mapping.columns
    lacking = [field for field in NEEDED if field not in known and field not in row]
    if lacking == ["model_id"] and mapping.model is not None:
        lacking = []
    told_apart = [pair for pair in known.items() if not (pair[0] == "model_id" and mapping.model)]
    words = [f"--map {shlex.quote(f'{field}={column}')}" for field, column in told_apart]
    words += ["--model NAME" if field == "model_id" else f"--map {field}=COLUMN" for field in lacking]
    columns = [str(key) for key in row][:_TOLD]
    there = f" (columns: {', '.join(columns)}{', …' if len(row) > _TOLD else ''})" if lacking else ""
    return f"say which column is which: {' '.join(words)}{there}"


def _likely(row: Mapping[str, Any], field: str) -> str | None:
    for name in _MEANT[field]:
        try:
            if _column(row, name) is not None:
                return name
        except ValueError:
            continue
    return None


def _parts(column: str) -> tuple[str, ...]:
    found = _TIMES.fullmatch(column)
    if found is not None:
        return (found[1],)
    both = _BETWEEN.fullmatch(column)
    return () if both is None else (both[1], both[2])


def _column(row: Mapping[str, Any], column: str) -> Any:
    """What a mapping names; None where the row has the column and nothing in it. Raises ValueError."""
    if column == WHOLE:
        return dict(row)
    if (path := _path(row, column)) is not None:
        return path[0]
    times = _TIMES.fullmatch(column)
    if times is not None:
        value = _named(row, times[1])
        return None if value in (None, "") else _number(value, times[1]) * float(times[2])
    both = _BETWEEN.fullmatch(column)
    if both is None:
        raise ValueError(f"there is no column {column!r}")
    end, start = (_named(row, name) for name in (both[1], both[2]))
    if end in (None, "") or start in (None, ""):
        return None
    return (_moment(end) - _moment(start)).total_seconds() * 1000


def _named(row: Mapping[str, Any], column: str) -> Any:
    found = _path(row, column)
    if found is None:
        raise ValueError(f"there is no column {column!r}")
    return found[0]


def _path(row: Mapping[str, Any], column: str) -> tuple[Any] | None:
    """The value under a column or a path of them, in a tuple; None where the row has no such column. Deeper things may lack."""
    if column in row:
        return (row[column],)
    outer, mark, inner = column.partition(".")
    if not mark or outer not in row:
        return None
    value = _opened(row[outer])
    if not isinstance(value, Mapping):
        return (None,)
    return _path(value, inner) or (None,)


def _fitting(name: str, value: Any) -> Any:
    """A value of somebody else's as the field `name` takes it; None for nothing. Raises ValueError."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if name in ("request", "response"):
        return _body(name, _opened(value))
    if name == "timestamp":
        return _moment(value)
    if name == "status":
        low = str(value).lower()
        return _ENDINGS.get(low, low)
    if name in _NUMBERS:
        return _number(value, name)
    if name in ("segments", "metadata", "attempts", "drift_flags"):
        return _opened(value)
    return _text(value) if isinstance(value, int | float) and name.endswith("_id") else value


def _body(name: str, value: Any) -> Any:
    """A request or an answer in OpenAI's shape: messages and texts are put where they belong in it."""
    message = isinstance(value, Mapping) and "role" in value
    if isinstance(value, Mapping) and not message:
        return value
    if name == "request":
        single = value if message else {"role": "user", "content": _text(value)}
        return {"messages": value if isinstance(value, list) else [single]}
    if isinstance(value, list) and value and all(isinstance(each, Mapping) and "message" in each for each in value):
        return {"choices": value}
    last = value[-1] if isinstance(value, list) and value and isinstance(value[-1], Mapping) and "role" in value[-1] else value
    said = last if isinstance(last, Mapping) else {"role": "assistant", "content": _text(last)}
    return {"choices": [{"index": 0, "message": said}]}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _opened(value: Any) -> Any:
    """JSON in a text as what it says; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def _number(value: Any, name: str) -> float | int:
    if isinstance(value, int | float):
        return value
    try:
        return int(value) if str(value).strip().lstrip("+-").isdigit() else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is no number: {value!r:.60}") from None


def _moment(value: Any) -> datetime:
    """A stamp, as `moment_of` reads it."""
    try:
        return moment_of(value)
    except ValueError:
        raise ValueError(f"{value!r:.60} is no moment (such as 2026-01-31T14:05 or 31.01.2026 14:05)") from None
