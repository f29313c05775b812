"""The inference log: appending beside plain `os.write` and SQLite, asking beside plain DuckDB over one Parquet file.

`os.write` of the very bytes that the spool writes is the floor of appending; one Parquet file that nobody writes to, without
partitions, spool or feedback to join, is the floor of asking.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import string
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import bench, sustained
from benchmarks.bench import Figure, Rounds
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.ids import request_id
from tunekeeper.store.log import Log, Spool
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.lines import encode
from tunekeeper.store.log.merge import merge

DAY = datetime(2026, 1, 5, tzinfo=UTC)
MODEL = "support-desk"
FLUSHES = (8, 64)
PROMISED_ROWS = 10_000_000
"""Rows at which the goals of asking are meant; with fewer, the figures are shown without a goal."""
PROMISED_RATE = 5_000
"""Records a second that are appended while the keeper works and somebody asks."""
COLUMNS = ("request_id", "timestamp", "model_id", "version", "variant", "purpose", "status", "latency_ms")

Record = dict[str, Any]


class Source:
    """Records of about 2 kB as the gateway gives them to the spool, the same for the same seed, spread evenly over one day or
    `span`."""

    def __init__(self, rows: int, seed: int = 1, span: timedelta = timedelta(days=1)) -> None:
        self.rows = rows
        self.span = span
        self.chance = random.Random(seed)
        self.pool = "".join(self.chance.choices(string.ascii_lowercase + "     ", k=1_000_000))

    def __iter__(self) -> Iterator[Record]:
        for number in range(self.rows):
            yield self._one(number, DAY + self.span * number / self.rows)

    def _text(self) -> str:
        start = self.chance.randrange(len(self.pool) - 800)
        return self.pool[start : start + 720]

    def _one(self, number: int, at: datetime) -> Record:
        wrong = number % 50 == 0
        challenger = number % 10 == 0
        asked = {"model": MODEL, "user": f"customer-{number % 997}", "messages": [{"role": "user", "content": self._text()}]}
        said = {"role": "assistant", "content": self._text()}
        return {
            "request_id": request_id(at, b"k" * 32, lambda size: number.to_bytes(size, "big")),
            "timestamp": at,
            "model_id": MODEL,
            "version": "v1.1.0" if challenger else "v1.0.0",
            "variant": "challenger" if challenger else "champion",
            "purpose": "user",
            "status": "error" if wrong else "ok",
            "latency_ms": round(self.chance.lognormvariate(6, 0.5), 3),
            "body_id": f"chatcmpl-{number}",
            "prompt_tokens": 200,
            "completion_tokens": 180,
            "request": json.dumps(asked).encode(),
            "response": json.dumps({"id": f"chatcmpl-{number}", "choices": [{"index": 0, "message": said}]}).encode(),
        }


def _rate(rows: int, work: Callable[[], object]) -> dict[str, float]:
    start = time.perf_counter()
    cpu = time.process_time()
    work()
    return {"rate": rows / (time.perf_counter() - start), "cpu_us": 1e6 * (time.process_time() - cpu) / rows}


def append_spool(folder: Path, records: list[Record], flush: int) -> dict[str, float]:
    """Through the spool, a flush for every `flush` records."""
    spool = Spool(folder, "bench", ManualClock(DAY))

    def work() -> None:
        for number, record in enumerate(records, 1):
            spool.ended(record)
            if number % flush == 0:
                spool.flush()
        spool.close()

    return _rate(len(records), work)


def append_write(folder: Path, records: list[Record], flush: int) -> dict[str, float]:
    """The spool's own bytes, made beforehand, to one file."""
    lines = [encode("E", record, record["request"], record["response"]) for record in records]
    batches = [b"".join(lines[start : start + flush]) for start in range(0, len(lines), flush)]
    fd = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> None:
        for batch in batches:
            done = 0
            while done < len(batch):
                done += os.write(fd, memoryview(batch)[done:])
        os.close(fd)

    return _rate(len(records), work)


def append_sqlite(folder: Path, records: list[Record], flush: int) -> dict[str, float]:
    """Into a SQLite table with WAL, indexed by request id, a transaction for every `flush` records."""
    names = [name for name in records[0] if name != "timestamp"]
    with closing(sqlite3.connect(folder / "log.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # as durable as the spool: against the death of the process
        connection.execute(f"CREATE TABLE log (timestamp, {', '.join(names)}, PRIMARY KEY (request_id))")
        insert = f"INSERT INTO log VALUES (?{', ?' * len(names)})"

        def work() -> None:
            for start in range(0, len(records), flush):
                connection.execute("BEGIN")
                for record in records[start : start + flush]:
                    connection.execute(insert, (record["timestamp"].timestamp(), *(record[name] for name in names)))
                connection.execute("COMMIT")

        return _rate(len(records), work)


def appending(folder: Path, rows: int, rounds: int) -> Rounds:
    """Every way of appending, with both sizes of flush, on fresh files each round."""
    records = list(Source(rows))
    fresh = (folder / f"append-{number}" for number in count())

    def run(append: Callable[[Path, list[Record], int], dict[str, float]], flush: int) -> bench.Contender:
        def once() -> dict[str, float]:
            place = next(fresh)
            place.mkdir()
            found = append(place, records, flush)
            _remove(place)
            return found

        return once

    ways = {"spool": append_spool, "write": append_write, "sqlite": append_sqlite}
    runs = {f"{name}_{flush}": run(append, flush) for flush in FLUSHES for name, append in ways.items()}
    return bench.interleave(runs, rounds)


def compacting(folder: Path, rows: int, rounds: int) -> Rounds:
    """Microseconds of CPU for a record of sealed segments, openings beside endings as a gateway writes them."""
    records = list(Source(rows, span=timedelta(minutes=1)))
    opening = ("request_id", "timestamp", "model_id", "version", "variant", "purpose")

    def once() -> dict[str, float]:
        place = folder / "compacted"
        spool = Spool(place, "bench", ManualClock(DAY))
        for record in records:
            spool.opened({name: record[name] for name in opening})
            spool.ended(record)
            if spool.pending >= 64:
                spool.flush()
        spool.close()
        found = _rate(rows, partial(compact, place))
        _remove(place)
        return found

    once()  # what loads libraries is not what a record costs
    return bench.interleave({"compact": once}, rounds)


def beside(folder: Path, rows: int) -> Rounds:
    """One run of appending at the promised rate beside the keeper and a reader."""
    records = list(Source(rows, span=timedelta(minutes=1)))
    return Rounds([{"sustained": sustained.run(folder / "sustained", records, PROMISED_RATE)}])


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def fill(folder: Path, rows: int) -> tuple[Log, Path, list[str], float]:
    """Put `rows` records through spool and compaction, and into one Parquet file. Returns the log, that file, every 997th request
    id, and the seconds that our side took (appending and compacting, not making the records)."""
    root, plain = folder / "data", folder / "plain.parquet"
    root.mkdir()
    clock = ManualClock(DAY)
    spool = Spool(root, "bench", clock)
    ids: list[str] = []
    seconds = 0.0
    schema = pa.schema([(name, pa.string()) for name in COLUMNS] + [("request", pa.string()), ("response", pa.string())])
    schema = schema.set(1, pa.field("timestamp", pa.timestamp("us", "UTC")))
    schema = schema.set(COLUMNS.index("latency_ms"), pa.field("latency_ms", pa.float64()))
    with pq.ParquetWriter(plain, schema, compression="zstd") as writer:
        for batch in _batches(Source(rows), 4096):
            start = time.perf_counter()
            for number, record in enumerate(batch, 1):
                spool.ended(record)
                if number % 64 == 0:
                    spool.flush()
            spool.flush()
            seconds += time.perf_counter() - start
            ids += [record["request_id"] for record in batch[::997]]
            kept = [{name: record[name] for name in COLUMNS} | _bodies(record) for record in batch]
            writer.write_table(pa.Table.from_pylist(kept, schema=schema))
    start = time.perf_counter()
    spool.close()
    compact(root)
    merge(root, DAY + timedelta(days=2))
    return Log(root, clock), plain, ids, seconds + time.perf_counter() - start


def _bodies(record: Record) -> dict[str, str]:
    return {name: record[name].decode() for name in ("request", "response")}


def _batches(source: Source, size: int) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in source:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def asking(log: Log, plain: Path, ids: list[str], repeats: int, rounds: int) -> Rounds:
    """One day by hour and variant, and single requests, of ours and of plain DuckDB. Raises SystemExit when they disagree: a
    wrong answer has no speed."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    day = (
        "SELECT epoch(date_trunc('hour', timestamp)) AS hour, variant, count(*) AS requests,"
        " count(*) FILTER (status = 'error') AS errors, quantile_cont(latency_ms, [0.5, 0.95, 0.99])"
        " FROM read_parquet($file)"
        " WHERE model_id = $model AND purpose = 'user' AND timestamp >= $since AND timestamp < $until GROUP BY ALL ORDER BY ALL"
    )
    until = DAY + timedelta(days=1)
    given = {"file": str(plain), "model": MODEL, "since": DAY, "until": until}
    one = (
        "SELECT request, * EXCLUDE (request) REPLACE (epoch_us(timestamp) AS timestamp)"
        " FROM read_parquet($file) WHERE request_id = $id"
    )

    def ours_day() -> list[Any]:
        return list(log.window(MODEL, DAY, until, by=("hour", "variant")))

    def theirs_day() -> list[Any]:
        return list(connection.execute(day, given).fetchall())

    mine, theirs = ours_day(), theirs_day()
    if [(row.requests, row.errors) for row in mine] != [(row[2], row[3]) for row in theirs]:
        raise SystemExit("the log and plain DuckDB count differently: no figure")

    def theirs_one(id: str) -> Any:
        return connection.execute(one, {"file": str(plain), "id": id}).fetchone()

    chosen = ids[:: max(1, len(ids) // repeats)][:repeats]
    if log.load(chosen[0]).request != json.loads(theirs_one(chosen[0])[0]):
        raise SystemExit("the log and plain DuckDB give different requests: no figure")

    def ours() -> dict[str, float]:
        return {
            "day_ms": bench.median_ms([ours_day] * repeats),
            "one_ms": bench.median_ms([partial(log.load, id) for id in chosen]),
        }

    def duck() -> dict[str, float]:
        return {
            "day_ms": bench.median_ms([theirs_day] * repeats),
            "one_ms": bench.median_ms([partial(theirs_one, id) for id in chosen]),
        }

    return bench.interleave({"ours": ours, "duckdb": duck}, rounds)


def keeping(compacted: Rounds, ran: Rounds) -> list[Figure]:
    """What compaction costs, and what writer, keeper and reader reach beside each other."""
    quantities = ("rate", "lag_s", "keeper_us", "ask_ms")
    rate, lag, keeper, ask = (ran.median("sustained", quantity) for quantity in quantities)
    nearly = 0.98 * PROMISED_RATE  # a paced writer is never faster than its pace
    return [
        Figure(id="compact_cpu", value=compacted.median("compact", "cpu_us"), unit="us", goal=25),
        Figure(id="append_beside_readers", value=rate, unit="records/s", goal=nearly, direction="higher"),
        Figure(id="keeper_behind", value=lag, unit="s", goal=5),
        Figure(id="keeper_cpu_beside_readers", value=keeper, unit="us"),
        Figure(id="window_beside_writers", value=ask, unit="ms"),
    ]


def figures(append: Rounds, ask: Rounds, ingest: float, rows: int) -> list[Figure]:
    """The table. The goals of asking stand where there are as many rows as they were set for."""
    found = []
    for flush in FLUSHES:
        ours, floor, sqlite = f"spool_{flush}", f"write_{flush}", f"sqlite_{flush}"
        found += [
            Figure(
                id=f"append_flush_{flush}", value=append.median(ours, "rate"), unit="records/s", goal=5000, direction="higher"
            ),
            Figure(id=f"append_flush_{flush}_cpu", value=append.median(ours, "cpu_us"), unit="us"),
            Figure(
                id=f"append_flush_{flush}_to_write",
                value=append.ratio(ours, floor, "rate"),
                unit="x",
                direction="higher",
                peer="os.write",
            ),
            Figure(
                id=f"append_flush_{flush}_to_sqlite",
                value=append.ratio(ours, sqlite, "rate"),
                unit="x",
                goal=1.0,
                direction="higher",
                peer="sqlite",
            ),
        ]
    promised = rows >= PROMISED_ROWS
    return [
        *found,
        Figure(id="append_and_compact", value=ingest, unit="records/s", goal=5000, direction="higher"),
        Figure(id="day_by_hour", value=ask.median("ours", "day_ms"), unit="ms", goal=150 if promised else None),
        Figure(id="day_by_hour_to_duckdb", value=ask.ratio("ours", "duckdb", "day_ms"), unit="x", peer="duckdb"),
        Figure(id="one_request", value=ask.median("ours", "one_ms"), unit="ms", goal=20 if promised else None),
        Figure(id="one_request_to_duckdb", value=ask.ratio("ours", "duckdb", "one_ms"), unit="x", peer="duckdb"),
    ]


def main() -> int:
    """Run it; returns the exit code."""
    parser = bench.parser(__doc__, rounds=3)
    parser.add_argument("--rows", type=bench.positive, default=100_000, help="rows of the log that is asked; default 100,000")
    given = parser.parse_args()
    rows, appended, repeats = (given.rows, 20_000, 10) if not given.quick else (min(given.rows, 20_000), 4_000, 5)
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as name:
        folder = Path(name)
        append = appending(folder, appended, given.rounds)
        kept = keeping(compacting(folder, appended, given.rounds), beside(folder, min(rows, 50_000)))
        log, plain, ids, seconds = fill(folder, rows)
        ask = asking(log, plain, ids, repeats, given.rounds)
    print(f"{rows:,} rows")
    bench.report("log", given.rounds, [*figures(append, ask, rows / seconds, rows), *kept], given.results)
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
