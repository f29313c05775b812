"""A look at a day of 1,000,000 logged requests: rates with intervals, latency, drift of the words, by segment; beside others.

Ours is the watch as the worker runs it: log, baseline, numbers overall and by category, rules, signals and alerts in the ledger.
pandas and scipy compute the same numbers from one Parquet file that holds what is needed of each request, and Evidently its own
presets from the same file: neither unpacks requests, reads feedback, nor writes anything down.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import bench
from benchmarks.bench import Figure, Middle, Rounds
from benchmarks.data import sentences
from benchmarks.export import own_memory
from benchmarks.peers.contender import REPOSITORY
from benchmarks.peers.starters import MAKE, PEERS
from tunekeeper.core.clock import ManualClock
from tunekeeper.core.ids import new_id, request_id
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.rollout.moves import promote
from tunekeeper.store.log import Spool
from tunekeeper.store.log.compact import compact
from tunekeeper.testing.desk import MODEL, SYSTEM, TOPICS
from tunekeeper.workspace import Workspace, create_workspace

DAY = datetime(2026, 1, 5, tzinfo=UTC)
"""The version goes live a day earlier; this is the day that is looked at."""
ROWS = 1_000_000
BASELINE = 1_000
SEGMENT = "category"
PEERS_OF = ("pandas", "evidently")
NEW_WORDS = ("parcelpass", "loginfee")
"""Words that come up on the day that is looked at."""
CLOSE = 1e-3
"""How far apart our number and pandas' may lie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One request of a user."""

    question: str
    """What was asked."""
    answer: str
    """What was said."""
    category: str
    """Its segment."""
    status: str
    """ok or error."""
    latency_ms: float
    """How long it took."""
    edited: bool
    """Whether its user put the answer right."""


def rows(count: int, seed: int, *, fresh: float) -> Iterator[Row]:
    """Requests of about 500 bytes. `fresh`: share with a word that is new."""
    chance = random.Random(seed)
    pool, names = sentences(random.Random(1)), tuple(TOPICS)
    for number in range(count):
        category = names[int(chance.random() * 4)]
        asked = f"{pool[int(chance.random() ** 2 * len(pool))]} {pool[int(chance.random() * len(pool))]}"
        new = f" {NEW_WORDS[number % 2]}" if chance.random() < fresh else ""
        status = "error" if chance.random() < 0.01 else "ok"
        garbled = chance.random() < 0.01
        yield Row(
            question=f"{asked}{new} Order {number}.",
            answer="I would rather not say." if garbled else f'{{"category": "{category}"}}',
            category=category,
            status=status,
            latency_ms=round(chance.lognormvariate(6, 0.5), 3),
            edited=status == "ok" and chance.random() < 0.04,
        )


def write(root: Path, count: int) -> tuple[Path, Path, Path]:
    """A workspace whose log holds day one and the day, and both as Parquet files for the peers."""
    clock = ManualClock(DAY - timedelta(days=1))
    ws = create_workspace(root / ".tunekeeper", clock=clock)
    declare_slots(ws, [Slot(id="blue", model=MODEL, version="v1.0", endpoint="http://127.0.0.1:9/v1")])
    promote(ws, MODEL, "blue", by="bench", reason="first")
    spool = Spool(ws.root, "bench", clock)
    base = _log(ws, spool, root / "base.parquet", rows(BASELINE, 1, fresh=0.0), BASELINE, clock.utc() + timedelta(seconds=1))
    day = _log(ws, spool, root / "day.parquet", rows(count, 2, fresh=0.02), count, DAY)
    spool.close()
    compact(ws.root)
    return ws.root, day, base


def _log(ws: Workspace, spool: Spool, path: Path, made: Iterator[Row], count: int, since: datetime) -> Path:
    step, key = timedelta(days=1) / (count + BASELINE), ws.request_key()
    names = ("question", "answer", "category", "status", "latency_ms", "edited", "length")
    kept: dict[str, list[Any]] = {name: [] for name in names}
    writer: pq.ParquetWriter | None = None
    for number, row in enumerate(made, 1):
        at = since + step * number
        id = request_id(at, key, ws.entropy)
        spool.ended(_record(id, at, row))
        if row.edited:
            said = {"id": new_id("fb", at, ws.entropy), "request_id": id, "timestamp": at + timedelta(seconds=60), "kind": "edit"}
            spool.feedback({**said, "value": f'{{"category": "{row.category}"}} ', "by": "user", "model_id": MODEL})
        if number % 64 == 0:
            spool.flush()
        for name in names[:-1]:
            kept[name].append(getattr(row, name))
        kept["length"].append(row.question.count(" ") + 1)
        if len(kept["length"]) == 100_000 or number == count:
            table = pa.table(kept)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
            kept = {name: [] for name in names}
    spool.flush()
    assert writer is not None
    writer.close()
    return path


def _record(id: str, at: datetime, row: Row) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row.question}]
    message = {"role": "assistant", "content": row.answer}
    reply = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    return {
        "request_id": id, "timestamp": at, "model_id": MODEL, "version": "v1.0", "variant": "champion", "slot": "blue",
        "slot_assigned": "blue", "purpose": "user", "status": row.status, "http_status": 200 if row.status == "ok" else 502,
        "latency_ms": row.latency_ms, "segments": {SEGMENT: row.category}, "prompt_tokens": 60, "completion_tokens": 8,
        "request": json.dumps({"model": MODEL, "messages": messages}).encode(),
        "response": reply if row.status == "ok" else None,
    }  # fmt: skip


def measured(*command: str | Path) -> dict[str, Any]:
    """The JSON that a command prints last, with the most MB of memory of its own in `mb`."""
    words = list(map(str, command))
    with tempfile.TemporaryFile("w+") as out, subprocess.Popen(words, cwd=REPOSITORY, stdout=out, stderr=out) as child:
        with own_memory(child.pid) as most:
            child.wait()
        out.seek(0)
        text = out.read()
    if child.returncode:
        raise SystemExit(f"{' '.join(words)}: {text[-2000:]}")
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return {**found, "mb": most[0]}


def watching(root: Path, count: int, rounds: int) -> Rounds:
    """The same day by everybody who is there. Raises SystemExit when pandas' numbers are others than ours."""
    data, day, base = write(root, count)
    said: dict[str, Mapping[str, float]] = {}
    until = (DAY + timedelta(days=1)).isoformat()

    def once(name: str) -> dict[str, float]:
        if name == "ours":
            fresh = root / "fresh"
            subprocess.run(["cp", "--archive", "--link", str(data), str(fresh)], check=True)
            for file in ("state.db", "control.db"):  # a look writes, and each round's is the first one
                (fresh / file).unlink()
                (fresh / file).write_bytes((data / file).read_bytes())
            found = measured(sys.executable, "-m", "benchmarks.peers.ourwatch", fresh, until, SEGMENT, str(BASELINE))
            subprocess.run(["rm", "--recursive", "--force", str(fresh)], check=True)
        else:
            script = REPOSITORY / "benchmarks" / "peers" / "theirwatch.py"
            found = measured(PEERS / "evidently" / "bin" / "python", script, name, day, base)
        said[name] = found["signals"]
        return {"seconds": found["seconds"], "cpu": found["cpu"], "mb": found["mb"]}

    taking = ("ours", *(() if missing() else PEERS_OF))
    found = bench.interleave({name: partial(once, name) for name in taking}, rounds)
    if "pandas" in said:
        agree(said["ours"], said["pandas"])
    return found


def agree(ours: Mapping[str, float], theirs: Mapping[str, float]) -> None:
    """Raises SystemExit when a number of pandas is another one than ours."""
    for name, value in theirs.items():
        mine = ours.get(name)
        if mine is None or abs(mine - value) > CLOSE * max(1.0, abs(value)):
            raise SystemExit(f"{name} is {mine} by us and {value} by pandas: no figure")


def missing() -> dict[str, str]:
    """Peer → why it is not measured."""
    made = (PEERS / "evidently" / ".made").exists()
    return {} if made else dict.fromkeys(PEERS_OF, f'{MAKE} ARGS="evidently"')


def figures(rounds: Rounds, *, promised: bool) -> Iterator[Figure]:
    """The table. Goals stand at the number of requests they were set for."""

    def goal(value: float) -> float | None:
        return value if promised else None

    def of(name: str, quantity: str) -> Middle | None:
        return rounds.over(lambda one: one[name][quantity])

    def ratio(peer: str, quantity: str) -> Middle | None:
        return rounds.over(lambda one: one["ours"][quantity] / one[peer][quantity])

    yield bench.figure("watch", of("ours", "seconds"), "s", goal=goal(120.0))
    yield bench.figure("watch_cpu", of("ours", "cpu"), "s", goal=goal(120.0))
    yield bench.figure("watch_memory", of("ours", "mb"), "MB", goal=goal(1_000.0))
    for peer in PEERS_OF:
        yield bench.figure(f"watch_cpu_to_{peer}", ratio(peer, "cpu"), "x", peer=peer)
        yield bench.figure(f"watch_memory_to_{peer}", ratio(peer, "mb"), "x", peer=peer)
        for quantity, unit in (("seconds", "s"), ("cpu", "s"), ("mb", "MB")):
            yield bench.figure(f"{peer}_{quantity}", of(peer, quantity), unit, peer=peer)


def main() -> int:
    """Run it; returns the exit code."""
    parser = bench.parser(__doc__, rounds=3)
    parser.add_argument(
        "--rows", type=bench.positive, default=ROWS, help="requests of the day; default 1,000,000 (minutes, 2 GB)"
    )
    parser.add_argument("--folder", type=bench.folder, help="where the log is made; default: the system's temporary folder")
    given = parser.parse_args()
    count, rounds = (5_000, 1) if given.quick else (given.rows, given.rounds)
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-", dir=given.folder) as name:
        found = watching(Path(name), count, rounds)
    bench.report("monitoring", rounds, [*figures(found, promised=count >= ROWS)], given.results, missing())
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
