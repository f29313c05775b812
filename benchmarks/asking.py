"""Asking a log of ten million records with a hot tail, beside plain DuckDB over the same Parquet files and SQLite.

Thirty days in the keeper's layout, one file for each hour, and a tail of 60 s at 500 requests/s that is not compacted yet. Asked
are the last day by hour and variant, the tail included, and single requests drawn from all days. The peers keep no tail apart:
plain DuckDB finds its rows in one more Parquet file, SQLite in its one table.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import bench
from benchmarks.bench import Figure, Rounds
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.ids import ALPHABET
from tunekeeper.store.log import Log, Spool, columns
from tunekeeper.store.log.partitions import write_table

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 30
MODEL = "support-desk"
TAIL_SECONDS, TAIL_RATE = 60, 500
PROMISED_ROWS = 10_000_000
"""Rows at which the goals are meant; with fewer, the figures are shown without a goal."""
KEPT = ("request_id", "timestamp", "model_id", "version", "variant", "purpose", "status", "latency_ms")
FEEDBACK_EVERY, TOKENS_EVERY = 100, 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A filled data directory and what the peers ask."""

    root: Path
    """The data directory, tail included."""
    tail: Path
    """The tail's rows as one Parquet file, for plain DuckDB."""
    now: datetime
    """The moment of asking: the end of the tail."""
    ids: list[str]
    """Request ids drawn from all compacted hours."""
    hot_ids: list[str]
    """Request ids drawn from the tail."""


class Maker:
    """Makes records by the column, the same for the same seed."""

    def __init__(self, seed: int = 1) -> None:
        self.chance = np.random.default_rng(seed)

    def metrics(self, start: datetime, seconds: float, rows: int) -> pa.Table:
        """`rows` records accepted in the `seconds` from `start` on, in order of their ids, without bodies."""
        ms = np.sort(self.chance.integers(0, int(seconds * 1000), rows)) + int(start.timestamp() * 1000)
        roles = self.chance.random(rows) < 0.1
        ended = self.chance.choice(3, rows, p=[0.97, 0.02, 0.01])
        numbers = pa.array(self.chance.integers(0, 997, rows))
        latency = np.round(self.chance.lognormal(6, 0.5, rows), 3)
        ids = self._ids(ms)
        team = pa.array(["a", "b", "c"]).take(pa.array(self.chance.integers(0, 3, rows)))
        values: dict[str, Any] = {
            "request_id": ids,
            "timestamp": pa.array(ms * 1000, pa.timestamp("us")),
            "model_id": _same(MODEL, rows),
            "version": pa.array(["v1.0.0", "v1.1.0"]).take(pa.array(roles.astype("i4"))),
            "variant": pa.array(["champion", "challenger"]).take(pa.array(roles.astype("i4"))),
            "purpose": _same("user", rows),
            "status": pa.array(["ok", "error", "cancelled"]).take(pa.array(ended)),
            "unit_kind": _same("user", rows),
            "unit": pc.binary_join_element_wise(_same("customer", rows), numbers.cast(pa.string()), "-"),
            "body_id": pc.binary_join_element_wise(_same("chatcmpl", rows), ids, "-"),
            "stream": pa.array(roles),
            "http_status": pa.array(np.where(ended == 1, 502, 200)),
            "prompt_tokens": pa.array(self.chance.integers(20, 400, rows)),
            "completion_tokens": pa.array(self.chance.integers(20, 400, rows)),
            "latency_ms": pa.array(latency),
            "ttft_ms": pa.array(latency / 8),
            "segments": pa.MapArray.from_arrays(pa.array(range(rows + 1), pa.int32()), _same("team", rows), team),
            "origin": ids,
        }
        shape = columns.schema("metrics")
        made = [values[f.name].cast(f.type) if f.name in values else pa.nulls(rows, f.type) for f in shape]
        return pa.Table.from_arrays(made, schema=shape).sort_by("request_id")

    def _ids(self, ms: np.ndarray[Any, Any]) -> pa.Array:
        letters = np.frombuffer(ALPHABET.encode(), dtype="u1")
        text = np.empty((len(ms), 34), dtype="u1")
        text[:, :4] = np.frombuffer(b"req_", dtype="u1")
        for place in range(10):
            text[:, 4 + place] = letters[(ms >> (45 - 5 * place)) & 31]
        text[:, 14:30] = letters[self.chance.integers(0, 32, (len(ms), 16))]
        text[:, 30:] = np.frombuffer(b"0123456789abcdef", dtype="u1")[self.chance.integers(0, 16, (len(ms), 4))]
        ends = np.arange(0, 34 * len(ms) + 1, 34, dtype="i4")
        return pa.StringArray.from_buffers(len(ms), pa.py_buffer(ends), pa.py_buffer(text.tobytes()))


def _same(value: str, rows: int) -> pa.Array:
    return pa.repeat(value, rows)


def bodies(metrics: pa.Table) -> pa.Table:
    """Short bodies of these requests."""
    ids = metrics["request_id"]
    asked = pc.binary_join_element_wise('{"messages":[{"role":"user","content":"question of ', ids, '"}]}', "")
    said = pc.binary_join_element_wise('{"choices":[{"message":{"role":"assistant","content":"answer to ', ids, '"}}]}', "")
    nothing = pa.nulls(len(metrics), pa.binary())
    return pa.Table.from_arrays([ids, asked, said, nothing, nothing], schema=columns.schema("bodies"))


def _fill_hour(root: Path, hour: datetime, metrics: pa.Table) -> None:
    name = columns.hour_of(hour)
    write_table(root / "log" / "bodies" / name / MODEL, "merged-0.parquet", "bodies", bodies(metrics))
    write_table(root / "log" / "metrics" / name / MODEL, "merged-0.parquet", "metrics", metrics)
    about = metrics.take(list(range(0, len(metrics), FEEDBACK_EVERY)))
    ids = about["request_id"]
    said = {"id": ids, "request_id": ids, "timestamp": about["timestamp"], "model_id": about["model_id"], "origin": ids}
    said |= {"kind": _same("thumb", len(ids)), "value": _same('"up"', len(ids)), "metadata": _same("{}", len(ids))}
    _write(root, name, "feedback", said)
    about = metrics.take(list(range(0, len(metrics), TOKENS_EVERY)))
    counted = {name: about[name] for name in ("request_id", "prompt_tokens", "completion_tokens", "cost_usd", "origin")}
    _write(root, name, "tokens", counted)


def _write(root: Path, hour: str, kind: str, values: dict[str, Any]) -> None:
    shape = columns.schema(kind)
    rows = len(values["request_id"])
    made = [values[f.name] if f.name in values else pa.nulls(rows, f.type) for f in shape]
    write_table(root / "log" / kind / hour / "_", "merged-0.parquet", kind, pa.Table.from_arrays(made, schema=shape))


def fill(folder: Path, rows: int) -> Made:
    """A data directory under `folder` with `rows` compacted records over 30 days and the tail after them."""
    root, maker, ids = folder / "data", Maker(), []
    hours = 24 * DAYS
    for number in range(hours):
        hour = START + timedelta(hours=number)
        metrics = maker.metrics(hour, 3600 if number < hours - 1 else 1800, rows * (number + 1) // hours - rows * number // hours)
        _fill_hour(root, hour, metrics)
        ids.append(metrics["request_id"][int(maker.chance.integers(0, len(metrics)))].as_py())
    begun = START + timedelta(hours=hours) - timedelta(minutes=30)
    tail = maker.metrics(begun, TAIL_SECONDS, min(TAIL_SECONDS * TAIL_RATE, rows))
    path = folder / "tail.parquet"
    pq.write_table(tail, path)
    _append(root, tail, begun)
    now = begun + timedelta(seconds=TAIL_SECONDS)
    return Made(root=root, tail=path, now=now, ids=ids[::-1], hot_ids=tail["request_id"][::997].to_pylist())


def _append(root: Path, tail: pa.Table, at: datetime) -> None:
    """The tail as the gateway writes it: a segment for every five seconds."""
    spool = Spool(root, "bench", ManualClock(at), max_seconds=1e9, max_bytes=1 << 40)
    texts = bodies(tail).select(["request", "response"]).to_pylist()
    given = [name for name in tail.column_names if name != "origin" and tail[name].null_count < len(tail)]
    for number, (row, both) in enumerate(zip(tail.select(given).to_pylist(), texts, strict=True), 1):
        stamped = row | {"timestamp": row["timestamp"].replace(tzinfo=UTC), "segments": dict(row["segments"])}
        spool.ended(stamped | {name: text.encode() for name, text in both.items()})
        if number % 64 == 0:
            spool.flush()
        if number % (5 * TAIL_RATE) == 0:
            spool.flush()
            spool.seal()
    spool.close()


class Duck:
    """Plain DuckDB over every Parquet file of the log and that of the tail."""

    def __init__(self, made: Made) -> None:
        self.connection = duckdb.connect(config={"threads": 2})
        self.files = [str(made.root / "log" / "metrics" / "*" / "*" / "*.parquet"), str(made.tail)]
        self.bodies = str(made.root / "log" / "bodies" / "*" / "*" / "*.parquet")
        self.now = made.now.replace(tzinfo=None)

    def day(self) -> list[Any]:
        """The last day by hour and variant: (hour, variant, requests, errors, [p50, p95, p99])."""
        sql = (
            "SELECT date_trunc('hour', timestamp) AS hour, variant, count(*), count(*) FILTER (status = 'error'),"
            " quantile_cont(latency_ms, [0.5, 0.95, 0.99]) FROM read_parquet($files) WHERE model_id = $model"
            " AND purpose = 'user' AND timestamp >= $since AND timestamp < $until GROUP BY ALL ORDER BY ALL"
        )
        given = {"files": self.files, "model": MODEL, "since": self.now - timedelta(days=1), "until": self.now}
        return self.connection.execute(sql, given).fetchall()

    def one(self, id: str) -> Any:
        """One request with its bodies; a plain reader does not know the hour, but the files' own statistics."""
        sql = "SELECT * FROM read_parquet($files) WHERE request_id = $id"
        row = self.connection.execute(sql, {"files": self.files, "id": id}).fetchone()
        return row, self.connection.execute(sql, {"files": [self.bodies], "id": id}).fetchone()


class Lite:
    """SQLite: one table without bodies, keyed by request id, indexed by time."""

    def __init__(self, made: Made, path: Path) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.execute("PRAGMA journal_mode=OFF")
        self.connection.execute("PRAGMA synchronous=OFF")
        self.connection.execute(f"CREATE TABLE log ({', '.join(KEPT)}, PRIMARY KEY (request_id)) WITHOUT ROWID")
        self.now = int(made.now.timestamp() * 1_000_000)
        files = [*sorted((made.root / "log" / "metrics").glob("*/*/*.parquet")), made.tail]
        for file in files:
            table = pq.read_table(file, columns=list(KEPT), partitioning=None)
            values = [
                column.cast(pa.int64()) if name == "timestamp" else column for name, column in zip(KEPT, table, strict=True)
            ]
            rows = zip(*(value.to_pylist() for value in values), strict=True)
            self.connection.executemany(f"INSERT INTO log VALUES ({', '.join('?' * len(KEPT))})", rows)
        self.connection.commit()
        self.connection.execute("CREATE INDEX by_time ON log (timestamp)")
        self.connection.commit()

    def day(self) -> list[Any]:
        """As `Duck.day`, the quantiles taken from the ordered latencies."""
        sql = (
            "SELECT timestamp / 3600000000, variant, status, latency_ms FROM log WHERE model_id = ? AND purpose = 'user'"
            " AND timestamp >= ? AND timestamp < ? ORDER BY 1, 2, 4"
        )
        groups: dict[Any, list[Any]] = {}
        for hour, variant, status, latency in self.connection.execute(sql, (MODEL, self.now - 86_400_000_000, self.now)):
            groups.setdefault((hour, variant), []).append((status == "error", latency))
        return [
            (*key, len(rows), sum(wrong for wrong, _ in rows), [rows[int(q * (len(rows) - 1))][1] for q in (0.5, 0.95, 0.99)])
            for key, rows in groups.items()
        ]

    def one(self, id: str) -> Any:
        """One request, without its bodies."""
        return self.connection.execute("SELECT * FROM log WHERE request_id = ?", (id,)).fetchone()


def asking(made: Made, folder: Path, repeats: int, rounds: int) -> Rounds:
    """Every way of asking in every round. Raises SystemExit when they disagree: a wrong answer has no speed."""
    log, duck, lite = Log(made.root, ManualClock(made.now)), Duck(made), Lite(made, folder / "log.db")
    ours = partial(log.window, MODEL, made.now - timedelta(days=1), made.now, ("hour", "variant"))
    chosen = made.ids[:: max(1, len(made.ids) // repeats)][:repeats]
    counted = [(row.requests, row.errors) for row in ours()]
    for peer in (duck.day(), lite.day()):
        if counted != [(row[2], row[3]) for row in peer]:
            raise SystemExit("the log and its peer count differently: no figure")
    for id in (chosen[0], made.hot_ids[0]):
        if id not in str(log.load(id).request):
            raise SystemExit("the log gives another request: no figure")
    log.load(made.ids[-1])  # the oldest: from here on every footer is known

    def warm() -> dict[str, float]:
        fresh = Log(made.root, ManualClock(made.now))
        cold = bench.median_ms([lambda: fresh.load(chosen[0])])
        return {
            "cold_ms": cold,
            "day_ms": bench.median_ms([ours] * repeats),
            "one_ms": bench.median_ms([partial(log.load, id) for id in chosen]),
            "hot_one_ms": bench.median_ms([partial(log.load, id) for id in made.hot_ids[:repeats]]),
        }

    def peer(other: Duck | Lite) -> bench.Contender:
        def once() -> dict[str, float]:
            few = max(1, repeats // 5)  # they take seconds
            return {
                "day_ms": bench.median_ms([other.day] * few),
                "one_ms": bench.median_ms([partial(other.one, id) for id in chosen[:few]]),
            }

        return once

    return bench.interleave({"ours": warm, "duckdb": peer(duck), "sqlite": peer(lite)}, rounds)


def figures(ask: Rounds, rows: int) -> list[Figure]:
    """The table. The goals stand where there are as many rows as they were set for."""
    day, one = (150.0, 20.0) if rows >= PROMISED_ROWS else (None, None)
    return [
        Figure(id="day_by_hour", value=ask.median("ours", "day_ms"), unit="ms", goal=day),
        Figure(id="day_by_hour_to_duckdb", value=ask.ratio("ours", "duckdb", "day_ms"), unit="x", peer="duckdb"),
        Figure(id="day_by_hour_to_sqlite", value=ask.ratio("ours", "sqlite", "day_ms"), unit="x", peer="sqlite"),
        Figure(id="one_request", value=ask.median("ours", "one_ms"), unit="ms", goal=one),
        Figure(id="one_request_to_duckdb", value=ask.ratio("ours", "duckdb", "one_ms"), unit="x", peer="duckdb"),
        Figure(id="one_request_to_sqlite", value=ask.ratio("ours", "sqlite", "one_ms"), unit="x", peer="sqlite"),
        Figure(id="one_request_in_tail", value=ask.median("ours", "hot_one_ms"), unit="ms", goal=one),
        Figure(id="first_request_of_a_reader", value=ask.median("ours", "cold_ms"), unit="ms"),
    ]


def main() -> int:
    """Run it; returns the exit code."""
    parser = bench.parser(__doc__, rounds=3)
    parser.add_argument("--rows", type=bench.positive, default=PROMISED_ROWS, help="compacted records; default 10,000,000")
    parser.add_argument("--folder", type=bench.folder, help="where the files are made; default the system's temporary folder")
    given = parser.parse_args()
    rows, repeats = (given.rows, 20) if not given.quick else (min(given.rows, 100_000), 5)
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-", dir=given.folder) as name:
        ask = asking(fill(Path(name), rows), Path(name), repeats, given.rounds)
    print(f"{rows:,} rows")
    bench.report("asking", given.rounds, figures(ask, rows), given.results)
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
