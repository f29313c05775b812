"""The same exam by inspect-ai: `python inspecting.py FOLDER URL CASES CONCURRENCY`, run by the peer's own interpreter."""

from __future__ import annotations

import json
import os
import resource
import sys
import time

folder, url, path, concurrency = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
os.environ |= {"BENCH_BASE_URL": f"{url}/v1", "BENCH_API_KEY": "none", "INSPECT_LOG_DIR": folder}

from inspect_ai import Task, eval  # type: ignore[import-not-found]  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # type: ignore[import-not-found]  # noqa: E402
from inspect_ai.model import ChatMessageUser  # type: ignore[import-not-found]  # noqa: E402
from inspect_ai.scorer import exact  # type: ignore[import-not-found]  # noqa: E402
from inspect_ai.solver import generate  # type: ignore[import-not-found]  # noqa: E402


def cpu() -> float:
    """CPU seconds of this process and its children."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


with open(path) as file:
    rows = [json.loads(line) for line in file]
samples = [Sample(id=row["id"], input=[ChatMessageUser(content=row["input"])], target=row["expected"]) for row in rows]
start, used = time.perf_counter(), cpu()
[log] = eval(
    Task(dataset=MemoryDataset(samples), solver=generate(), scorer=exact()),
    model="openai-api/bench/m",
    log_dir=folder,
    display="none",
    max_connections=concurrency,
    max_samples=concurrency,
    temperature=0.0,
    max_tokens=256,
)
seconds, spent = time.perf_counter() - start, cpu() - used
if log.status != "success":
    raise SystemExit(f"the exam ended as {log.status}: {log.error}")
right = sum(sample.scores["exact"].value == "C" for sample in log.samples)
print(json.dumps({"seconds": seconds, "cpu": spent, "right": float(right)}))
