"""Questions to the log, answered over Parquet and the hot tail together. SQL is put together from the fixed pieces of this file;
whatever a caller gives is a parameter, and what can be grouped by is a closed list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tunekeeper.core.errors import OurFault, UserError
from tunekeeper.store.log import columns, partitions
from tunekeeper.store.log.records import METRIC_TYPES
from tunekeeper.store.log.tail import Hot, Tail

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
_TRIES = 6
_HOT = "SELECT * FROM hot"
_BOTH = (
    "SELECT * FROM hot UNION ALL BY NAME SELECT * FROM read_parquet($files, union_by_name = true) "
    "WHERE request_id NOT IN (SELECT request_id FROM hot)"
)
_BOTH_ONCE = (
    "SELECT * FROM hot UNION ALL BY NAME SELECT * FROM (SELECT DISTINCT ON (request_id) * "
    "FROM read_parquet($files, union_by_name = true) ORDER BY request_id, origin) "
    "WHERE request_id NOT IN (SELECT request_id FROM hot)"
)
_DOUBLED = "SELECT count(*) > count(DISTINCT request_id) FROM read_parquet($files, union_by_name = true)"
_COUNTED = (
    "SELECT r.* REPLACE (coalesce(r.prompt_tokens, c.prompt_tokens) AS prompt_tokens, "
    "coalesce(r.completion_tokens, c.completion_tokens) AS completion_tokens, coalesce(r.cost_usd, c.cost_usd) AS cost_usd) "
    "FROM joined r LEFT JOIN counts c USING (request_id)"
)
_CONDITIONS = {
    "model": "model_id = $model",
    "since": "timestamp >= $since",
    "until": "timestamp < $until",
    "variant": "variant = $variant",
    "version": "version = $version",
    "rollout": "rollout = $rollout",
    "status": "status = $status",
    "purpose": "purpose IN (SELECT unnest($purpose))",
    "request_id": "request_id = $request_id",
    "request_ids": "request_id IN (SELECT unnest($request_ids))",
}
_COLUMNS = ", ".join('"' + name + '"' for name in METRIC_TYPES)
_ORDERS = {
    "oldest": " ORDER BY timestamp, request_id",
    "newest": " ORDER BY timestamp DESC, request_id DESC",
    "shuffled": " ORDER BY md5(request_id || $seed)",
}
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
    "hour": "strftime(timestamp, '%Y-%m-%dT%H')",
}
_SEGMENTS = tuple("segments[$segment" + str(place) + "]" for place in range(8))
_NUMBERS = (
    ", count(*) AS requests"
    ", count(*) FILTER (status IN ('error', 'truncated')) AS errors"
    ", count(*) FILTER (status = 'cancelled') AS cancelled"
    ", count(*) FILTER (status = 'interrupted') AS interrupted"
    ", count(*) FILTER (edited) AS edits"
    ", count(*) FILTER (corrected) AS corrections"
    ", count(*) FILTER (thumb = '\"up\"') AS thumbs_up"
    ", count(*) FILTER (thumb = '\"down\"') AS thumbs_down"
    ", quantile_cont(latency_ms, 0.5) AS p50_ms, quantile_cont(latency_ms, 0.95) AS p95_ms"
    ", quantile_cont(latency_ms, 0.99) AS p99_ms"
    ", CAST(sum(prompt_tokens) AS BIGINT) AS prompt_tokens, CAST(sum(completion_tokens) AS BIGINT) AS completion_tokens"
    ", sum(cost_usd) AS cost_usd"
)
_SAID = (
    "SELECT request_id, bool_or(kind = 'edit') AS edited, bool_or(kind = 'correction') AS corrected, "
    "arg_max(value, timestamp) FILTER (kind = 'thumb') AS thumb FROM statements GROUP BY request_id"
)


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
class Filter:
    """Which inferences are meant; None takes all."""

    model: str | None = None
    """Model id."""
    since: datetime | None = None
    """From this moment on."""
    until: datetime | None = None
    """Before this moment."""
    variant: str | None = None
    """Role at that moment."""
    version: str | None = None
    """Version that answered."""
    rollout: str | None = None
    """Rollout that was active."""
    status: str | None = None
    """How it ended."""
    purpose: tuple[str, ...] | None = None
    """Why it was asked."""
    request_id: str | None = None
    """One request."""
    request_ids: tuple[str, ...] | None = None
    """Any of these."""

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """The WHERE clause and its parameters."""
        given = {name: getattr(self, name) for name in _CONDITIONS if getattr(self, name) is not None}
        parameters = {name: _parameter(value) for name, value in given.items()}
        where = " WHERE " + " AND ".join(_CONDITIONS[name] for name in given) if given else ""
        return where, parameters


def _parameter(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo is not None else value
    return list(value) if isinstance(value, tuple) else value


class Reader:
    """One in-memory DuckDB that reads the files under `root`; safe to share between threads, which take turns."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tail = Tail(root)
        self._lock = threading.Lock()
        self._connection: Any = None

    def rows(
        self, wanted: Filter, *, order: str = "oldest", limit: int | None = None, seed: int | None = None
    ) -> tuple[pa.Table, Hot]:
        """Stored inferences without bodies, and the view of the tail they were found with."""
        where, parameters = wanted.conditions()
        tail = _ORDERS[order] + (" LIMIT $limit" if limit is not None else "")
        extra = {
            name: value for name, value in (("limit", limit), ("seed", None if seed is None else str(seed))) if value is not None
        }
        return self._ask("SELECT " + _COLUMNS + " FROM rows" + where + tail, wanted, parameters | extra)

    def window(self, wanted: Filter, by: Sequence[str]) -> list[WindowRow]:
        """Counts, rates' numerators and latencies of a window, grouped."""
        where, parameters = wanted.conditions()
        keys = [group_key(name, place) for place, name in enumerate(by)]
        names = ["key" + str(place) for place in range(len(by))]
        segments = {"segment" + str(i): name.removeprefix("segment:") for i, name in enumerate(by) if name.startswith("segment:")}
        chosen = "".join(", " + key + " AS " + name for key, name in zip(keys, names, strict=True))
        grouped = " GROUP BY " + ", ".join(names) + " ORDER BY " + ", ".join(names) if names else ""
        sql = "SELECT 0 AS nothing" + chosen + _NUMBERS + " FROM rows LEFT JOIN said USING (request_id)" + where + grouped
        table, _ = self._ask(sql, wanted, parameters | segments, said=True)
        rows = [{**row, "key": {name: row[key] for name, key in zip(by, names, strict=True)}} for row in table.to_pylist()]
        return [
            WindowRow(**{k: v for k, v in row.items() if k in WindowRow.__dataclass_fields__}) for row in rows if row["requests"]
        ]

    def statements(self, since: datetime | None) -> pa.Table:
        """All feedback given from `since` on, each once, oldest first."""

        def ask(connection: Any) -> pa.Table:
            self._register_statements(connection, self.tail.read(), since)
            return connection.sql("SELECT * FROM statements ORDER BY timestamp, id").to_arrow_table()

        return self._retried(ask)

    def bodies(self, ids: Sequence[str], files: Callable[[], list[Path]]) -> dict[str, tuple[bytes | None, bytes | None]]:
        """Request and response bytes of these ids from the Parquet files that `files` lists."""
        if not ids:
            return {}
        sql = (
            "SELECT request_id, request, response, request64, response64 FROM read_parquet($files, union_by_name = true) "
            "WHERE request_id BETWEEN $low AND $high AND request_id IN (SELECT unnest($ids))"
        )

        def ask(connection: Any) -> pa.Table | None:
            paths = [str(path) for path in files()]
            parameters = {"files": paths, "ids": list(ids), "low": min(ids), "high": max(ids)}
            return connection.sql(sql, params=parameters).to_arrow_table() if paths else None

        table = self._retried(ask)
        rows = [] if table is None else table.to_pylist()
        return {r["request_id"]: (_body(r["request"], r["request64"]), _body(r["response"], r["response64"])) for r in rows}

    def _ask(self, sql: str, wanted: Filter, parameters: dict[str, Any], *, said: bool = False) -> tuple[pa.Table, Hot]:
        def ask(connection: Any) -> tuple[pa.Table, Hot]:
            hot = self.tail.read()  # before the Parquet files are listed: what is compacted in between is seen twice, never not
            connection.register("hot", hot.metrics)
            files = [str(p) for p in partitions.files(self.root, "metrics", wanted.since, wanted.until, wanted.model)]
            given = parameters | ({"files": files} if files else {})
            # Finding that no id was written twice costs a third of always taking each once.
            doubled = said and files and connection.execute(_DOUBLED, {"files": files}).fetchall()[0][0]
            views = "WITH joined AS (" + (_BOTH_ONCE if doubled else _BOTH if files else _HOT) + "), rows AS ("
            views += (_COUNTED if self._register_counts(connection, hot, wanted.since) else "SELECT * FROM joined") + ")"
            if said:
                self._register_statements(connection, hot, wanted.since)
                views += ", said AS (" + _SAID + ")"
            return connection.sql(views + " " + sql, params=given).to_arrow_table(), hot

        return self._retried(ask)

    def _register_statements(self, connection: Any, hot: Hot, since: datetime | None) -> None:
        fresh = columns.feedback_table(list(hot.feedback.values()), ["hot"] * len(hot.feedback))
        connection.register("statements", self._stored("feedback", fresh, since, "id"))

    def _register_counts(self, connection: Any, hot: Hot, since: datetime | None) -> bool:
        fresh = columns.tokens_table(list(hot.tokens.values()), ["hot"] * len(hot.tokens))
        table = self._stored("tokens", fresh, since, "request_id")
        connection.register("counts", table)
        return len(table) > 0

    def _stored(self, kind: str, fresh: pa.Table, since: datetime | None, key: str) -> pa.Table:
        """Statements of one kind from the tail and from Parquet, each key once; what was said later than a request lies in its
        own, later hour."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        paths = partitions.files(self.root, kind, since, None)
        shape = columns.schema(kind)
        tables = [fresh, *(pq.read_table(path, schema=shape, partitioning=None) for path in paths)]
        whole = pa.concat_tables(tables)
        if len(tables) == 1 or len(whole) == 0:
            return whole
        numbered = whole.append_column("_row", pa.array(range(len(whole)), pa.int64()))
        first = numbered.group_by(key).aggregate([("_row", "min")])["_row_min"].combine_chunks()
        return whole if len(first) == len(whole) else whole.take(first)

    def _retried(self, ask: Callable[[Any], T]) -> T:
        """Ask again when a file was merged away between its listing and its reading. Raises OurFault when it stays unreadable."""
        import duckdb
        import pyarrow as pa

        with self._lock:
            if self._connection is None:
                self._connection = _connect()
            for _ in range(_TRIES):
                try:
                    return ask(self._connection)
                except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
                    failure = str(error).partition("\n")[0]
        raise OurFault(f"the log under {self.root / 'log'} cannot be read: {failure}", fix="tunekeeper log verify")


def _connect() -> Any:
    import duckdb

    settings = {"autoinstall_known_extensions": False, "autoload_known_extensions": False, "threads": 2}
    connection = duckdb.connect(config=settings)
    connection.execute("SET enable_progress_bar = false")
    return connection


def _body(text: str | None, data: bytes | None) -> bytes | None:
    return data if text is None else text.encode()
