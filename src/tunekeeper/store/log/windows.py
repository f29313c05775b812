"""Windows of the log: what happened in a span of time, by group.

A window is asked in two steps. All its requests are counted as they were written, which reads few columns of the files and joins
nothing. Then the few requests about which something was said or counted later are looked up, and what that adds is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tunekeeper.core.errors import UserError
from tunekeeper.store.log.statements import COUNTS

if TYPE_CHECKING:
    import pyarrow as pa

_KEYS = {
    **{
        name: "CAST(" + name + " AS VARCHAR)"
        for name in (
            "model_id",
            "version",
            "variant",
            "endpoint",
            "slot_assigned",
            "slot",
            "route_version",
            "unit_kind",
            "unit",
            "rollout",
            "purpose",
            "key_id",
            "stream",
            "status",
            "http_status",
            "error",
            "finish_reason",
        )
    },
    "hour": "date_trunc('hour', timestamp)",
}
_SEGMENTS = tuple("segments[$segment" + str(place) + "]" for place in range(8))
_NUMBERS = (
    ", count(*) AS requests"
    ", count(*) FILTER (status IN ('error', 'truncated')) AS errors"
    ", count(*) FILTER (status = 'cancelled') AS cancelled"
    ", count(*) FILTER (status = 'interrupted') AS interrupted"
    ", quantile_cont(latency_ms, [0.5, 0.95, 0.99]) AS quantiles"
    ", CAST(sum(prompt_tokens) AS BIGINT) AS prompt_tokens, CAST(sum(completion_tokens) AS BIGINT) AS completion_tokens"
    ", sum(cost_usd) AS cost_usd"
)
_SAID = (
    "SELECT request_id, bool_or(kind = 'edit') AS edited, bool_or(kind = 'correction') AS corrected, "
    "arg_max(value, timestamp) FILTER (kind = 'thumb') AS thumb FROM statements GROUP BY request_id"
)
_ADDED = (
    ", count(*) FILTER (edited) AS edits"
    ", count(*) FILTER (corrected) AS corrections"
    ", count(*) FILTER (thumb = '\"up\"') AS thumbs_up"
    ", count(*) FILTER (thumb = '\"down\"') AS thumbs_down"
    ", CAST(sum(c.prompt_tokens) FILTER (told.prompt_tokens IS NULL) AS BIGINT) AS prompt_tokens"
    ", CAST(sum(c.completion_tokens) FILTER (told.completion_tokens IS NULL) AS BIGINT) AS completion_tokens"
    ", sum(c.cost_usd) FILTER (told.cost_usd IS NULL) AS cost_usd"
)
_SUMS = ("edits", "corrections", "thumbs_up", "thumbs_down")


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowRow:
    """What happened in one group of a window."""

    key: dict[str, str | None] = field(default_factory=dict)
    """What was grouped by → this group's value; empty when nothing was."""
    requests: int = 0
    """Requests accepted in the window."""
    errors: int = 0
    """Of them, ended as error or truncated."""
    cancelled: int = 0
    """Of them, ended by the client."""
    interrupted: int = 0
    """Of them, ended by the death of their gateway."""
    edits: int = 0
    """Of them, edited by the user at least once."""
    corrections: int = 0
    """Of them, corrected by a reviewer at least once."""
    thumbs_up: int = 0
    """Of them, those whose last thumb is up."""
    thumbs_down: int = 0
    """Of them, those whose last thumb is down."""
    p50_ms: float | None = None
    """Median latency in milliseconds; None where nothing was measured."""
    p95_ms: float | None = None
    """95th percentile of the latency, ms."""
    p99_ms: float | None = None
    """99th percentile of the latency, ms."""
    prompt_tokens: int | None = None
    """Sum over the requests that have a count; None when none has."""
    completion_tokens: int | None = None
    """As `prompt_tokens`, of the answers."""
    cost_usd: float | None = None
    """Sum over the requests that have a cost; None when none has."""


def group_key(name: str, place: int) -> str:
    """The SQL of one thing to group by: a field, `hour` or `segment:<name>`. Raises UserError for anything else."""
    if name.startswith("segment:") and place < len(_SEGMENTS):
        return _SEGMENTS[place]
    if name not in _KEYS:
        raise UserError(f"the log cannot be grouped by {name!r}", fix="one of " + ", ".join([*_KEYS, "segment:NAME"]))
    return _KEYS[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One window to ask for."""

    by: tuple[str, ...]
    """What is grouped by."""
    where: str
    """WHERE clause, or nothing."""

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters of the groups, to be given beside those of `where`."""
        return {
            "segment" + str(place): name.removeprefix("segment:")
            for place, name in enumerate(self.by)
            if name.startswith("segment:")
        }

    def all(self) -> str:
        """The SQL of the first step, over the view `rows`."""
        return "SELECT 0 AS nothing" + self.keys() + _NUMBERS + " FROM rows" + self.where + self.grouped()

    def later(self) -> str:
        """The SQL of the second step, over the tables `told` (the requests), `statements` and `counts`."""
        chosen = "SELECT request_id, prompt_tokens, completion_tokens, cost_usd" + self.keys() + " FROM told" + self.where
        names = "".join(", key" + str(place) for place in range(len(self.by)))
        return (
            "SELECT 0 AS nothing" + names + _ADDED + " FROM (" + chosen + ") AS told LEFT JOIN (" + _SAID + ") AS said "
            "USING (request_id) LEFT JOIN counts AS c USING (request_id)" + self.grouped()
        )

    def keys(self) -> str:
        """The columns of the groups: key0, key1, …"""
        return "".join(", " + group_key(name, place) + " AS key" + str(place) for place, name in enumerate(self.by))

    def grouped(self) -> str:
        """GROUP BY and ORDER BY them."""
        names = ", ".join("key" + str(place) for place in range(len(self.by)))
        return " GROUP BY " + names + " ORDER BY " + names if names else ""


def portions(
    hours: Sequence[tuple[datetime, int]], since: datetime | None, until: datetime | None, most: int
) -> list[tuple[datetime | None, datetime | None]]:
    """Spans one after the other, together `[since, until)`, of about `most` requests each: quiet hours are put together, a busy
    one is divided. `hours`: when each began and its requests, oldest first."""
    edges: list[datetime] = []
    held = 0
    for hour, count in hours:
        if held and held + count > most:
            edges.append(hour)
            held = 0
        pieces = max(1, -(-count // most))
        edges += [hour + timedelta(hours=1) * number / pieces for number in range(1, pieces)]
        held += count if pieces == 1 else count // pieces
    inside = [edge for edge in edges if (since is None or edge > since) and (until is None or edge < until)]
    return list(zip([since, *inside], [*inside, until], strict=True))


def rows(counted: pa.Table, later: pa.Table | None, by: Sequence[str]) -> list[WindowRow]:
    """The answers of both steps as one; `later` None when nothing was said or counted."""
    found = {group_values(row, by): _row(row, by) for row in counted.to_pylist() if row["requests"]}
    for added in [] if later is None else later.to_pylist():
        key = group_values(added, by)
        if key in found:
            found[key] = _with(found[key], added)
    return list(found.values())


def _with(row: WindowRow, added: Mapping[str, Any]) -> WindowRow:
    changes = {name: added[name] for name in _SUMS}
    for name in COUNTS:
        both = [value for value in (getattr(row, name), added[name]) if value is not None]
        changes[name] = sum(both) if both else None
    return replace(row, **changes)


def group_values(row: Mapping[str, Any], by: Sequence[str]) -> tuple[str | None, ...]:
    """The group a row of an answer is of: a value for each name of `by`."""
    return tuple(_text(row["key" + str(place)]) for place in range(len(by)))


def _row(row: Mapping[str, Any], by: Sequence[str]) -> WindowRow:
    key = dict(zip(by, group_values(row, by), strict=True))
    p50, p95, p99 = row["quantiles"] or (None, None, None)
    counts = {name: value for name, value in row.items() if name in WindowRow.__dataclass_fields__}
    return WindowRow(key=key, p50_ms=p50, p95_ms=p95, p99_ms=p99, **counts)


def _text(value: Any) -> str | None:
    return value.isoformat()[:13] if isinstance(value, datetime) else value
