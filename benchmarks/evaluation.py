"""An exam's machinery around a model that answers at once, beside inspect-ai; the paired comparison, beside statsmodels.

Both examine the same cases over HTTP, as many at once, against the model server of the gateway's benchmark, and must find as many
answers right. Ours is a whole exam: suite locked, job begun in a process of its own, answers kept as they come, scores in the
ledger, verdict. The comparison is of two exams in memory: what flipped, McNemar, intervals overall and by category.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks import bench
from benchmarks.bench import Figure, Middle, Rounds
from benchmarks.peers.contender import REPOSITORY, Cores, child, first_line
from benchmarks.peers.starters import MAKE, PEERS
from benchmarks.traffic import ANSWER

CONCURRENCY = 8
CATEGORIES = 12
REPEATS = 7
CLOSE = 1e-6
"""How far apart the same probability by two libraries may be."""


def write_cases(path: Path, cases: int) -> Path:
    """Cases of which the model server answers half as expected."""
    lines = (
        {
            "id": f"c{number}",
            "input": f"Ticket {number}: which form do I need?",
            "expected": ANSWER.strip() if number % 2 else "Form 7.",
        }
        for number in range(cases)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_results(path: Path, cases: int, seed: int = 7) -> Path:
    """What two exams found: about 85 % right before, 88 % now, in twelve categories."""
    chance = random.Random(seed)

    def row(number: int) -> dict[str, Any]:
        before = chance.random() < 0.85
        now = chance.random() < (0.97 if before else 0.37)
        return {"case": f"c{number}", "category": f"k{number % CATEGORIES}", "old": int(before), "new": int(now)}

    path.write_text(json.dumps([row(number) for number in range(cases)]))
    return path


def asked(*command: str | Path) -> dict[str, Any]:
    """The JSON that a command prints last. Raises SystemExit with what a failing one said."""
    words = list(map(str, command))
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=3600, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr[-2000:] or done.stdout[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def examining(root: Path, cases: int, rounds: int) -> Rounds:
    """The exam by everybody who is there. Raises SystemExit when they disagree about what is right."""
    path = write_cases(root / "cases.jsonl", cases)
    fresh = (root / f"exam-{number}" for number in count())
    commands: dict[str, list[str | Path]] = {"ours": [sys.executable, "-m", "benchmarks.peers.examining", "exam"]}
    if "inspect-ai" not in missing():
        commands["inspect"] = [_python("inspect"), REPOSITORY / "benchmarks" / "peers" / "inspecting.py"]
    with child([sys.executable, "-m", "benchmarks.traffic", "upstream"], Cores.of_machine().traffic) as process:
        url = str(first_line(process)["listening"])

        def once(command: list[str | Path]) -> dict[str, float]:
            found = asked(*command, next(fresh), url, path, str(CONCURRENCY))
            if found["right"] != cases // 2:
                raise SystemExit(f"{command[0]}: {found['right']:.0f} of {cases} right, not {cases // 2}: no figure")
            return {"rate": cases / found["seconds"], "cpu_ms": 1000 * found["cpu"] / cases}

        return bench.interleave({name: partial(once, command) for name, command in commands.items()}, rounds)


def comparing(root: Path, cases: int, rounds: int) -> Rounds:
    """The comparison by both. Raises SystemExit when a probability or an interval is another one."""
    path = write_results(root / "results.json", cases)
    said: dict[str, Any] = {}

    def once(name: str, *command: str | Path) -> dict[str, float]:
        said[name] = asked(*command, path, str(REPEATS))
        return {"ms": float(said[name]["ms"])}

    commands: dict[str, list[str | Path]] = {"ours": [sys.executable, "-m", "benchmarks.peers.examining", "compare"]}
    if "statsmodels" not in missing():
        commands["statsmodels"] = [_python("evidently"), REPOSITORY / "benchmarks" / "peers" / "comparing.py"]
    found = bench.interleave({name: partial(once, name, *command) for name, command in commands.items()}, rounds)
    if len(said) > 1:
        agree(said["ours"], said["statsmodels"])
    return found


def agree(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raises SystemExit when mid-p or the interval of a category differs."""
    pairs = [(ours["p"], theirs["p"])]
    pairs += [
        (mine, other)
        for name in theirs["slices"]
        for mine, other in zip(ours["slices"][name], theirs["slices"][name], strict=True)
    ]
    if len(ours["slices"]) != len(theirs["slices"]) or any(abs(mine - other) > CLOSE for mine, other in pairs):
        raise SystemExit("the comparison and statsmodels say different things: no figure")


def _python(name: str) -> Path:
    return PEERS / name / "bin" / "python"


def missing() -> dict[str, str]:
    """Peer → why it is not measured."""
    homes = {"inspect-ai": "inspect", "statsmodels": "evidently"}
    return {peer: f'{MAKE} ARGS="{home}"' for peer, home in homes.items() if not (PEERS / home / ".made").exists()}


def figures(exams: Rounds, compared: Rounds, *, promised: bool) -> Iterator[Figure]:
    """The table. Goals stand at the number of cases they were set for."""

    def over(rounds: Rounds, name: str, quantity: str) -> Middle | None:
        return rounds.over(lambda one: one[name][quantity])

    def ratio(rounds: Rounds, peer: str, quantity: str) -> Middle | None:
        return rounds.over(lambda one: one["ours"][quantity] / one[peer][quantity])

    def goal(value: float) -> float | None:
        return value if promised else None

    higher: dict[str, Any] = {"direction": "higher"}
    yield bench.figure("exam_rate", over(exams, "ours", "rate"), "cases/s", **higher)
    yield bench.figure("exam_cpu_per_case", over(exams, "ours", "cpu_ms"), "ms")
    yield bench.figure("exam_rate_to_inspect", ratio(exams, "inspect", "rate"), "x", goal=goal(1.0), peer="inspect-ai", **higher)
    yield bench.figure("exam_cpu_to_inspect", ratio(exams, "inspect", "cpu_ms"), "x", goal=goal(1.0), peer="inspect-ai")
    yield bench.figure("inspect_rate", over(exams, "inspect", "rate"), "cases/s", peer="inspect-ai", **higher)
    yield bench.figure("inspect_cpu_per_case", over(exams, "inspect", "cpu_ms"), "ms", peer="inspect-ai")
    yield bench.figure("compare_10k_cases", over(compared, "ours", "ms"), "ms", goal=goal(500.0))
    yield bench.figure("compare_to_statsmodels", ratio(compared, "statsmodels", "ms"), "x", peer="statsmodels")
    yield bench.figure("statsmodels_compare", over(compared, "statsmodels", "ms"), "ms", peer="statsmodels")


def main() -> int:
    """Run it; returns the exit code."""
    parser = bench.parser(__doc__, rounds=3)
    parser.add_argument("--cases", type=bench.positive, default=2_000, help="cases of an exam; default 2,000")
    given = parser.parse_args()
    cases, pairs, rounds = (100, 1_000, 1) if given.quick else (given.cases, 10_000, given.rounds)
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as name:
        exams = examining(Path(name), cases, rounds)
        compared = comparing(Path(name), pairs, rounds)
    found = figures(exams, compared, promised=not given.quick)
    bench.report("evaluation", rounds, [*found], given.results, missing())
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
