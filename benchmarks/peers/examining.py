"""Our side of the benchmark of evaluation, in a process of its own: `python -m benchmarks.peers.examining exam|compare …`.

exam FOLDER URL CASES CONCURRENCY     a whole exam over the model server at URL: lock, job, answers, scores, verdict
compare RESULTS TIMES                 two exams of the same cases compared, TIMES times
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tunekeeper import jobs
from tunekeeper.core.nouns.evaluation import Case, Suite
from tunekeeper.core.nouns.retraining import Model
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.deployment.slots import declare_slots
from tunekeeper.evaluation import Config, run_exam
from tunekeeper.evaluation.compare import exams
from tunekeeper.evaluation.exam import find_exam, results_of
from tunekeeper.evaluation.results import Result
from tunekeeper.rollout.moves import promote
from tunekeeper.workspace import create_workspace

MODEL = "desk"
SUITE = "suite: core\nmodel: desk\nscorers: [exact]\ncriteria: [{metric: accuracy, at_least: 0.4}]\ncases: cases.jsonl\n"


def examine(folder: Path, url: str, cases: Path, concurrency: int) -> dict[str, float]:
    """`seconds`, `cpu` of everything, and how many cases were `right`, of an exam of a version that answers at `url`."""
    (folder / "suites").mkdir(parents=True)
    (folder / "suites" / "core.yaml").write_text(SUITE)
    (folder / "suites" / "cases.jsonl").write_bytes(cases.read_bytes())
    ws = create_workspace(folder / ".tunekeeper", project=folder)
    declare_slots(ws, [Slot(id="blue", model=MODEL, version="v1.0", endpoint=f"{url}/v1", upstream_model="m")])
    promote(ws, MODEL, "blue", by="bench", reason="first")
    section = Config(concurrency=concurrency)
    used, start = _cpu(), time.perf_counter()
    found = run_exam(ws, Model(name=MODEL), section, "@champion", folder / "suites" / "core.yaml")
    seconds, cpu = time.perf_counter() - start, _cpu() - used
    exam = find_exam(ws, found["exam"])
    job = jobs.look(ws, exam.job or "")
    right = sum(result.scores["exact"][0] == 1.0 for result in results_of(ws, exam))
    return {"seconds": seconds, "cpu": cpu + (job.cpu_seconds or 0.0), "right": float(right), "job_cpu": job.cpu_seconds or 0.0}


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(path: Path, times: int) -> dict[str, Any]:
    """Median CPU milliseconds of the paired comparison, and what it said."""
    rows = json.loads(path.read_text())
    suite = Suite(
        id="core", model=MODEL, cases=tuple(Case(id=row["case"], messages=()) for row in rows), criteria=(), scorers=("exact",)
    )
    old, new = ([_result(row, name) for row in rows] for name in ("old", "new"))
    taken = []
    for _ in range(times):
        start = time.process_time()
        found = exams(suite, new, old)
        taken.append(1000 * (time.process_time() - start))
    low, high = found.difference.low, found.difference.high
    slices = {name: [now.low, now.high] for name, (_, now) in found.slices.items()}
    return {"ms": statistics.median(taken), "p": found.p, "difference": [low, high], "slices": slices}


def _result(row: dict[str, Any], name: str) -> Result:
    return Result(case=row["case"], category=row["category"], answer="x", scores={"exact": (float(row[name]), "")})


if __name__ == "__main__":
    verb, first, *rest = sys.argv[1:]
    if verb == "exam":
        url, cases, concurrency = rest
        print(json.dumps(examine(Path(first), url, Path(cases), int(concurrency))))
    else:
        print(json.dumps(compare(Path(first), int(rest[0]))))
