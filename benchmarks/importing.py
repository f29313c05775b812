"""An import of many rows: seconds, rows a second and the largest memory of the import and of its search for near duplicates.

The import is `tunekeeper data import` of a file of generated chat rows into an empty draft, in a process of its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import bench
from benchmarks.bench import Figure
from benchmarks.data import SYSTEM, row, sentences
from tunekeeper.data.examples import encode

PROMISED_ROWS = 1_000_000
QUICK_ROWS = 5_000
MEASURED = """\
import json, resource, sys, time
from tunekeeper.cli.app import main
start = time.perf_counter()
code = main(sys.argv[1:])
own, child = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
seconds, cpu = time.perf_counter() - start, own.ru_utime + own.ru_stime
print(json.dumps({"code": code, "seconds": seconds, "cpu": cpu, "mb": own.ru_maxrss / 1024, "child_mb": child.ru_maxrss / 1024}))
"""
"""Runs the command in this very process, so that what it started is told apart from itself."""


def figures(quick: bool) -> list[Figure]:
    """The figures of one import; their goals stand where there are as many rows as they were set for."""
    rows = QUICK_ROWS if quick else PROMISED_ROWS
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as folder:
        found = _import(Path(folder), rows)
    whole = rows >= PROMISED_ROWS
    return [
        Figure(id="import_seconds", value=found["seconds"], unit="s"),
        Figure(id="import_rows_per_cpu_second", value=rows / found["cpu"], unit="rows/s", direction="higher"),
        Figure(id="import_memory", value=found["mb"], unit="MB", goal=1_500 if whole else None),
        Figure(id="import_near_memory", value=found["child_mb"] if whole else None, unit="MB", goal=3_500 if whole else None),
    ]


def _import(folder: Path, rows: int) -> dict[str, float]:
    chance = random.Random(7)
    pool = sentences(chance)
    with (folder / "rows.jsonl").open("wb") as file:
        file.writelines(encode(row(chance, pool, number)) for number in range(rows))
    (folder / "models").mkdir()
    (folder / "tunekeeper.yaml").write_text("project: bench\n")
    (folder / "models" / "desk.yaml").write_text(json.dumps({"model": "desk", "system": SYSTEM["content"]}))
    words = ("data", "import", folder / "rows.jsonl", "--model", "desk", "--dir", folder, "--json")
    done = subprocess.run([sys.executable, "-c", MEASURED, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if measured["code"]:
        raise RuntimeError(f"the import ended with {measured['code']:.0f}")
    return measured


def main() -> int:
    """Run it; returns the exit code."""
    given = bench.parser(__doc__, rounds=1).parse_args()
    bench.report("importing", 1, figures(given.quick), given.results)
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
