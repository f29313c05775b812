"""Questions to the log, answered over Parquet and the hot tail together. SQL is put together from the fixed pieces of this file;
whatever a caller gives is a parameter, and what can be grouped by is a closed list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tunekeeper.core.errors import OurFault, UserError
from tunekeeper.store.log import columns
from tunekeeper.store.log.listing import Cluster, Listing, Stored
from tunekeeper.store.log.plan import DOUBLED, joined
from tunekeeper.store.log.records import METRIC_TYPES
from tunekeeper.store.log.statements import Kept, once
from tunekeeper.store.log.tail import Hot, Tail, id_range

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
_TRIES = 6
_REMEMBERED = 4096
_KEPT_BYTES = 64 << 20
"""How much of what was read of feedback and token counts is kept for the next question."""
_COUNTED = (
    "SELECT r.* REPLACE (coalesce(r.prompt_tokens, c.prompt_tokens) AS prompt_tokens, "
    "coalesce(r.completion_tokens, c.completion_tokens) AS completion_tokens, coalesce(r.cost_usd, c.cost_usd) AS cost_usd) "
    "FROM joined r LEFT JOIN counts c USING (request_id)"
)
_AMONG = "WHERE request_id BETWEEN $low AND $high AND request_id IN (SELECT unnest($ids))"
_COUNTS = ("prompt_tokens", "completion_tokens", "cost_usd")
_CONDITIONS = {
    "model": "model_id = $model",
    "since": "timestamp >= $since",
    "until": "timestamp < $until",
    "variant": "variant = $variant",
    "version": "version = $version",
    "rollout": "rollout = $rollout",
    "status": "status = $status",
    "request_id": "request_id = $request_id",
    "request_ids": "request_id IN (SELECT unnest($request_ids))",
    "uncounted": "(prompt_tokens IS NULL AND completion_tokens IS NULL) = $uncounted",
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
_STATED = (
    ", count(*) FILTER (edited) AS edits"
    ", count(*) FILTER (corrected) AS corrections"
    ", count(*) FILTER (thumb = '\"up\"') AS thumbs_up"
    ", count(*) FILTER (thumb = '\"down\"') AS thumbs_down"
)
"""Of requests on which something was said."""
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
    uncounted: bool | None = None
    """Whether neither the server nor the worker counted its tokens."""

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """The WHERE clause and its parameters."""
        given = {name: getattr(self, name) for name in _CONDITIONS if getattr(self, name) is not None}
        parameters = {name: _parameter(value) for name, value in given.items()}
        pieces = [_CONDITIONS[name] for name in given]
        if self.purpose is not None:  # one by one: a list in one parameter would be a join instead of a filter of the files
            purposes = {"purpose" + str(place): one for place, one in enumerate(self.purpose)}
            pieces.append("purpose IN (" + ", ".join("$" + name for name in purposes) + ")" if purposes else "false")
            parameters |= purposes
        where = " WHERE " + " AND ".join(pieces) if pieces else ""
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
        self._listing = Listing(root)
        self._statements = Kept(_KEPT_BYTES)
        self._doubled: dict[tuple[Any, ...], bool] = {}
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

    def one(self, request_id: str, since: datetime | None, until: datetime | None) -> tuple[list[dict[str, Any]], Hot]:
        """The row of one request accepted in `[since, until)`, or none, and the view of the tail it was looked for in. What the
        tail holds is found in it whenever it was accepted."""
        hot = self.tail.read()
        row = hot.row(request_id)
        if len(row) == 0:
            table, hot = self.rows(Filter(request_id=request_id, since=since, until=until))
            return table.to_pylist()[:1], hot
        (found,) = row.to_pylist()
        counted = self._retried(lambda _: self._counts(hot, since, (request_id,))).to_pylist()
        for counts in counted:
            found |= {name: counts[name] for name in _COUNTS if found[name] is None}
        return [found], hot

    def window(self, wanted: Filter, by: Sequence[str]) -> list[WindowRow]:
        """Counts, rates' numerators and latencies of a window, grouped."""
        where, parameters = wanted.conditions()
        keys = [group_key(name, place) for place, name in enumerate(by)]
        names = ["key" + str(place) for place in range(len(by))]
        segments = {"segment" + str(i): name.removeprefix("segment:") for i, name in enumerate(by) if name.startswith("segment:")}
        chosen = "".join(", " + key + " AS " + name for key, name in zip(keys, names, strict=True))
        grouped = " GROUP BY " + ", ".join(names) + " ORDER BY " + ", ".join(names) if names else ""
        select = "SELECT 0 AS nothing" + chosen + _NUMBERS
        stated = select + _STATED + " FROM rows LEFT JOIN said USING (request_id)" + where + grouped
        table, _ = self._ask(select + " FROM rows" + where + grouped, wanted, parameters | segments, stated=stated)
        return [_window_row(row, by) for row in table.to_pylist() if row["requests"]]

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
        sql = "SELECT request_id, request, response, request64, response64 FROM read_parquet($files, union_by_name = true) " + (
            "WHERE request_id = $id" if len(ids) == 1 else _AMONG
        )

        def ask(connection: Any) -> pa.Table | None:
            paths = [str(path) for path in files()]
            many = {"ids": list(ids), "low": min(ids), "high": max(ids)}
            parameters = {"files": paths} | ({"id": ids[0]} if len(ids) == 1 else many)
            return connection.sql(sql, params=parameters).to_arrow_table() if paths else None

        table = self._retried(ask)
        rows = [] if table is None else table.to_pylist()
        return {r["request_id"]: (_body(r["request"], r["request64"]), _body(r["response"], r["response64"])) for r in rows}

    def _ask(self, sql: str, wanted: Filter, parameters: dict[str, Any], *, stated: str | None = None) -> tuple[pa.Table, Hot]:
        """Answer `sql` over the view `rows`, or `stated` over `rows` and `said` where there is feedback."""

        def ask(connection: Any) -> tuple[pa.Table, Hot]:
            hot = self.tail.read()  # before the Parquet files are listed: what is compacted in between is seen twice, never not
            files, tail, ids = self._near(wanted, hot)
            connection.register("hot", tail)
            source, places = joined(files, id_range(tail), partial(self._is_doubled, connection))
            views = "WITH joined AS (" + source + "), rows AS ("
            views += (_COUNTED if self._register_counts(connection, hot, wanted.since, ids) else "SELECT * FROM joined") + ")"
            chosen = sql
            if stated is not None and self._register_statements(connection, hot, wanted.since):
                views += ", said AS (" + _SAID + ")"
                chosen = stated
            return connection.sql(views + " " + chosen, params=parameters | places).to_arrow_table(), hot

        return self._retried(ask)

    def _near(self, wanted: Filter, hot: Hot) -> tuple[list[Stored], pa.Table, tuple[str, ...] | None]:
        """The files and the part of the tail that can hold what is wanted, and the ids that are asked for by name. A request
        that the tail holds needs no file."""
        ids = wanted.request_ids if wanted.request_id is None else (wanted.request_id,)
        if ids is not None and len(ids) == 1:
            tail = hot.row(ids[0])
            if len(tail):
                return [], tail, ids
        else:
            tail = hot.metrics
        found = self._listing.stored(self._listing.files("metrics", wanted.since, wanted.until, wanted.model))
        if ids is None:
            return found, tail, None
        return [one for one in found if ids and one.overlaps(min(ids), max(ids))], tail, ids

    def _is_doubled(self, connection: Any, cluster: Cluster) -> bool:
        """Whether an id stands twice in these files; looked up once for the same files."""
        key = tuple((one.path, one.stamp) for one in cluster.files)
        if key not in self._doubled:
            if len(self._doubled) >= _REMEMBERED:
                self._doubled.clear()
            given = {"files": [one.path for one in cluster.files], "low": cluster.low, "high": cluster.high}
            self._doubled[key] = bool(connection.execute(DOUBLED, given).fetchall()[0][0])
        return self._doubled[key]

    def _register_statements(self, connection: Any, hot: Hot, since: datetime | None) -> int:
        fresh = columns.feedback_table(list(hot.feedback.values()), ["hot"] * len(hot.feedback))
        table = self._stored("feedback", fresh, since, "id")
        connection.register("statements", table)
        return len(table)

    def _register_counts(self, connection: Any, hot: Hot, since: datetime | None, ids: tuple[str, ...] | None) -> int:
        table = self._counts(hot, since, ids)
        connection.register("counts", table)
        return len(table)

    def _counts(self, hot: Hot, since: datetime | None, ids: tuple[str, ...] | None) -> pa.Table:
        fresh = columns.tokens_table(list(hot.tokens.values()), ["hot"] * len(hot.tokens))
        return self._stored("tokens", fresh, since, "request_id", ids)

    def _stored(
        self, kind: str, fresh: pa.Table, since: datetime | None, key: str, ids: tuple[str, ...] | None = None
    ) -> pa.Table:
        """Statements of one kind from the tail and from Parquet, on these requests or all, each key once; what was said later
        than a request lies in its own, later hour."""
        paths = self._listing.shared(kind, since)
        if ids is not None:
            found = self._listing.stored(paths) if ids else []
            paths = [one.path for one in found if one.overlaps(min(ids), max(ids))]
        return once([fresh, self._statements.read(paths, columns.schema(kind))], key, ids)

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
    connection.execute("SET parquet_metadata_cache = true")  # by path, size and time: a file that was written anew is read anew
    return connection


def _window_row(row: dict[str, Any], by: Sequence[str]) -> WindowRow:
    key = {name: _text(row["key" + str(place)]) for place, name in enumerate(by)}
    p50, p95, p99 = row["quantiles"] or (None, None, None)
    counts = {name: value for name, value in row.items() if name in WindowRow.__dataclass_fields__}
    return WindowRow(key=key, p50_ms=p50, p95_ms=p95, p99_ms=p99, **counts)


def _text(value: Any) -> str | None:
    return value.isoformat()[:13] if isinstance(value, datetime) else value


def _body(text: str | None, data: bytes | None) -> bytes | None:
    return data if text is None else text.encode()
