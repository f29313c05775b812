"""Questions to the log, answered over Parquet and the hot tail together. SQL is put together from the fixed pieces of this file;
whatever a caller gives is a parameter, and what can be grouped by is a closed list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tunekeeper.core.errors import OurFault
from tunekeeper.store.log import columns, pick
from tunekeeper.store.log.arms import ArmQuestion, ArmRow, arm_rows
from tunekeeper.store.log.listing import Cluster, Listing, Stored
from tunekeeper.store.log.plan import DOUBLED, joined
from tunekeeper.store.log.records import METRIC_TYPES
from tunekeeper.store.log.settled import HOUR, Divided, Settled, may_settle
from tunekeeper.store.log.statements import Kept, between, completed, of, once
from tunekeeper.store.log.tail import Hot, Tail, id_range
from tunekeeper.store.log.told import Told
from tunekeeper.store.log.windows import Question, WindowRow, rows

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
_TRIES = 6
"""How often a file is read that cannot be read."""
_GONE_TRIES = 240
"""How often files are listed anew of which one was gone when it was read."""
_GONE = ("No files found", "No such file")
"""How DuckDB and the system say so."""
_REMEMBERED = 4096
_KEPT_BYTES = 64 << 20
"""How much of what was read of feedback and token counts is kept, and of the rows that they speak of."""
_LATER = {"request_id": "string", "prompt_tokens": "int64", "completion_tokens": "int64", "cost_usd": "double"}
_LATER |= {"quality_score": "double"}
"""What one row needs for `completed`."""
_COUNTED = (
    "SELECT r.* REPLACE (coalesce(r.prompt_tokens, c.prompt_tokens) AS prompt_tokens, "
    "coalesce(r.completion_tokens, c.completion_tokens) AS completion_tokens, coalesce(r.cost_usd, c.cost_usd) AS cost_usd) "
    "FROM joined r LEFT JOIN counts c USING (request_id)"
)
_BODIES = (
    "SELECT request_id, request, response, request64, response64 FROM read_parquet($files, union_by_name = true) "
    "WHERE request_id BETWEEN $low AND $high AND request_id IN (SELECT unnest($ids))"
)
_KNOWN = "SELECT DISTINCT request_id FROM read_parquet($files) SEMI JOIN asked USING (request_id)"
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
        self._told = Told(_KEPT_BYTES)
        self._settled = Settled()
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
        import pyarrow as pa

        def ask(_: Any) -> tuple[list[dict[str, Any]], Hot]:
            hot = self.tail.read()  # before the Parquet files are listed: what is compacted in between is seen twice, never not
            found = hot.row(request_id).to_pylist() if request_id in hot else []
            if not found:
                near = [one for one in self._files(since, until, None) if one.overlaps(request_id, request_id)]
                found = sorted(pick.rows((one.path for one in near), request_id), key=lambda row: str(row["origin"]))[:1]
                found = [row for row in found if _within(row["timestamp"], since, until)]
            if not found:
                return [], hot
            ids = (request_id,)
            kept = pa.table({name: pa.array([found[0].get(name)], pa.type_for_alias(kind)) for name, kind in _LATER.items()})
            (later,) = completed(kept, self._counts(hot, since, ids), self._said(hot, since, ids)).to_pylist()
            return [found[0] | later], hot

        return self._retried(ask)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids the log holds; of the files nothing else is read."""
        import pyarrow as pa

        def ask(connection: Any) -> set[str]:
            hot = self.tail.read()  # before the Parquet files are listed: what is compacted in between is seen twice, never not
            found = {id for id in ids if id in hot}
            files = [one.path for one in self._files(None, None, None) if one.overlaps(min(ids), max(ids))]
            if files:
                connection.register("asked", pa.table({"request_id": list(ids)}))
                found.update(id for (id,) in connection.execute(_KNOWN, {"files": files}).fetchall())
            return found

        return self._retried(ask) if ids else set()

    def window(self, wanted: Filter, by: Sequence[str]) -> list[WindowRow]:
        """Counts, rates' numerators and latencies of a window, grouped."""
        return rows(*self._grouped(wanted, Question, by), by)

    def arms(self, wanted: Filter, by: Sequence[str]) -> list[ArmRow]:
        """Every number of a window, grouped."""
        return arm_rows(*self._grouped(wanted, ArmQuestion, by), by)

    def _grouped(self, wanted: Filter, kind: type[Question], by: Sequence[str]) -> tuple[pa.Table, pa.Table | None]:
        """The answers of both steps of a question."""
        where, parameters = wanted.conditions()
        question = kind(by=tuple(by), where=where)
        asked = question.all()
        parameters |= question.parameters
        shape = (asked, *sorted((name, str(value)) for name, value in parameters.items() if name not in ("since", "until")))

        def ask(connection: Any) -> tuple[pa.Table, pa.Table | None]:
            hot = self.tail.read()  # before the Parquet files are listed: what is compacted in between is seen twice, never not
            files, tail, _ = self._near(wanted, hot)
            connection.register("hot", tail)
            divided = Divided(files=files)
            if may_settle(by):
                divided = self._settled.divide(shape, files, (wanted.since, wanted.until), tail)
            source, places = joined(divided.files, id_range(tail), partial(self._is_doubled, connection))
            view = "WITH rows AS (" + source + ") "
            counted = connection.sql(view + asked, params=parameters | places).to_arrow_table()
            if may_settle(by):
                counted = self._settled.together(divided, counted, by.index(HOUR), len(by))
            later = None
            if self._register_told(connection, hot, wanted.since, files, tail):
                later = connection.sql(question.later(), params=parameters).to_arrow_table()
            return counted, later

        return self._retried(ask)

    def statements(self, since: datetime | None, ids: tuple[str, ...] | None = None) -> pa.Table:
        """All feedback given from `since` on, on these requests or all, each once, oldest first."""

        def ask(_: Any) -> pa.Table:
            return self._said(self.tail.read(), since, ids).sort_by([("timestamp", "ascending"), ("id", "ascending")])

        return self._retried(ask)

    def bodies(self, ids: Sequence[str], files: Callable[[], list[Path]]) -> dict[str, tuple[bytes | None, bytes | None]]:
        """Request and response bytes of these ids from the Parquet files that `files` lists."""
        if not ids:
            return {}
        one = ids[0] if len(ids) == 1 else None

        def ask(connection: Any) -> list[dict[str, Any]]:
            paths = [str(path) for path in files()]
            if one is not None:
                return pick.rows((each.path for each in self._listing.stored(paths) if each.overlaps(one, one)), one)
            parameters = {"files": paths, "ids": list(ids), "low": min(ids), "high": max(ids)}
            return connection.sql(_BODIES, params=parameters).to_arrow_table().to_pylist() if paths else []

        found = self._retried(ask)
        return {r["request_id"]: (_body(r["request"], r["request64"]), _body(r["response"], r["response64"])) for r in found}

    def _ask(self, sql: str, wanted: Filter, parameters: dict[str, Any]) -> tuple[pa.Table, Hot]:
        """Answer `sql` over the view `rows`, with the counts and scores that came later."""

        def ask(connection: Any) -> tuple[pa.Table, Hot]:
            hot = self.tail.read()  # before the Parquet files are listed: what is compacted in between is seen twice, never not
            files, tail, ids = self._near(wanted, hot)
            connection.register("hot", tail)
            source, places = joined(files, id_range(tail), partial(self._is_doubled, connection))
            counts = self._counts(hot, wanted.since, ids)
            view = "WITH rows AS (" + source + ") "
            if wanted.uncounted is not None:  # what is not asked for by its counts gets them afterwards, row by row
                connection.register("counts", counts)
                view = "WITH joined AS (" + source + "), rows AS (" + _COUNTED + ") "
            found = connection.sql(view + sql, params=parameters | places).to_arrow_table()
            return completed(found, counts, self._said(hot, wanted.since, ids)), hot

        return self._retried(ask)

    def _register_told(self, connection: Any, hot: Hot, since: datetime | None, files: Sequence[Stored], tail: pa.Table) -> int:
        """Make known what was said and counted later about requests of these files and the tail, and their rows; returns how many
        rows."""
        span = _span(files, tail)
        if span is None:
            return 0
        said, counts = between(self._said(hot, since), *span), between(self._counts(hot, since, None), *span)
        ids = sorted({*said["request_id"].to_pylist(), *counts["request_id"].to_pylist()})
        if not ids:
            return 0
        told = once([of(tail, ids), self._told.rows(connection, files, ids)], "request_id")
        for name, table in (("statements", said), ("counts", counts), ("told", told)):
            connection.register(name, table)
        return len(told)

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
        found = self._files(wanted.since, wanted.until, wanted.model)
        if ids is None:
            return found, tail, None
        return [one for one in found if ids and one.overlaps(min(ids), max(ids))], tail, ids

    def _files(self, since: datetime | None, until: datetime | None, model: str | None) -> list[Stored]:
        return self._listing.found("metrics", since, until, model)

    def _is_doubled(self, connection: Any, cluster: Cluster) -> bool:
        """Whether an id stands twice in these files; looked up once for the same files."""
        key = tuple((one.path, one.stamp) for one in cluster.files)
        if key not in self._doubled:
            if len(self._doubled) >= _REMEMBERED:
                self._doubled.clear()
            given = {"files": [one.path for one in cluster.files], "low": cluster.low, "high": cluster.high}
            self._doubled[key] = bool(connection.execute(DOUBLED, given).fetchall()[0][0])
        return self._doubled[key]

    def _said(self, hot: Hot, since: datetime | None, ids: tuple[str, ...] | None = None) -> pa.Table:
        fresh = columns.feedback_table(list(hot.feedback.values()), ["hot"] * len(hot.feedback))
        return self._stored("feedback", fresh, since, "id", ids)

    def _counts(self, hot: Hot, since: datetime | None, ids: tuple[str, ...] | None) -> pa.Table:
        fresh = columns.tokens_table(list(hot.tokens.values()), ["hot"] * len(hot.tokens))
        return self._stored("tokens", fresh, since, "request_id", ids)

    def _stored(
        self, kind: str, fresh: pa.Table, since: datetime | None, key: str, ids: tuple[str, ...] | None = None
    ) -> pa.Table:
        """Statements of one kind from the tail and from Parquet, on these requests or all, each key once; what was said later
        than a request lies in its own, later hour."""
        if ids is None:
            paths = self._listing.shared(kind, since)
        elif ids:
            low, high = min(ids), max(ids)
            paths = [one.path for one in self._listing.found(kind, since, None, None) if one.low <= high and low <= one.high]
        else:
            paths = []
        return once([fresh, self._statements.read(paths, columns.schema(kind))], key, ids)

    def _retried(self, ask: Callable[[Any], T]) -> T:
        """Ask again when a file was merged away or dropped between its listing and its reading: where the log is now kept for a
        shorter time, thousands go one after the other. Raises OurFault when it stays unreadable."""
        import duckdb
        import pyarrow as pa

        with self._lock:
            if self._connection is None:
                self._connection = _connect()
            patience = _GONE_TRIES
            while patience > 0:
                try:
                    return ask(self._connection)
                except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
                    failure = str(error).partition("\n")[0]
                    patience -= 1 if any(said in failure for said in _GONE) else _GONE_TRIES // _TRIES
        raise OurFault(f"the log under {self.root / 'log'} cannot be read: {failure}", fix="tunekeeper log verify")


def _connect() -> Any:
    import duckdb

    settings = {"autoinstall_known_extensions": False, "autoload_known_extensions": False, "threads": 2}
    connection = duckdb.connect(config=settings)
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET parquet_metadata_cache = true")  # by path, size and time: a file that was written anew is read anew
    return connection


def _within(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    low, high = _parameter(since), _parameter(until)
    return (low is None or moment >= low) and (high is None or moment < high)


def _span(files: Sequence[Stored], tail: pa.Table) -> tuple[str, str] | None:
    """The lowest and the highest request id that can be in these files and the tail; None when there is none."""
    hot = id_range(tail)
    ranges = [(one.low, one.high) for one in files] + ([] if hot is None else [hot])
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def _body(text: str | None, data: bytes | None) -> bytes | None:
    return data if text is None else text.encode()
