"""Near duplicates: ours beside the same check on datasketch and gaoya, each judged by an exact index, and a million rows of ours.

Each runs in a process of its own, from reading the file to the last verified pair. `make bench-peers ARGS=near` makes theirs.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks import bench
from benchmarks.bench import Figure, Rounds
from benchmarks.peers.starters import MAKE, PEERS
from tunekeeper.data.nearfile import texts_of
from tunekeeper.text.shingles import shingles

THRESHOLD = 0.7
ROWS, MANY = 100_000, 1_000_000
"""Rows beside the peers, and of ours alone: the numbers that the goals were set for."""
LIBRARIES = ("datasketch", "gaoya")
REPOSITORY = Path(__file__).resolve().parents[1]
OURS = (
    "import json, sys; from pathlib import Path; from tunekeeper.data.duplicates import near_pairs_of_file as near\n"
    "pairs = [(i, j) for i, j, _ in near(Path(sys.argv[1]), float(sys.argv[2]), of='conversation')]\n"
    "Path(sys.argv[3]).write_text(json.dumps(pairs))"
)
LAUNCH = (
    "import json, os, subprocess, sys\n"
    "_, status, used = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0)\n"
    "print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3]))"
)
"""A small process between: what this one holds would count as the most that its child held."""

Pair = tuple[int, int]


class Traffic:
    """Instruction rows that share sentences, as traffic does: greetings, signatures, a stock of usual ones, beside their own.

    Many rows are an earlier one with some words changed, so that similarities from 0.4 to 1 all occur. The same for a seed.
    """

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.words = ["".join(self.rng.choices(letters, k=self.rng.randint(2, 10))) for _ in range(8000)]
        self.weights = list(accumulate(1 / (10 + rank) for rank in range(len(self.words))))
        self.stock = [self._sentence() for _ in range(2000)]
        self.greetings = [self._sentence() for _ in range(20)]
        self.signatures = [self._sentence() for _ in range(20)]
        self.answers = [f"{self._sentence()} {self._sentence()}" for _ in range(500)]

    def _sentence(self) -> str:
        return " ".join(self.rng.choices(self.words, cum_weights=self.weights, k=self.rng.randint(6, 14))).capitalize() + "."

    def _fresh(self) -> str:
        own = [
            self.rng.choice(self.stock) if self.rng.random() < 0.6 else self._sentence() for _ in range(self.rng.randint(2, 6))
        ]
        return " ".join([self.rng.choice(self.greetings), *own, self.rng.choice(self.signatures)])

    def _varied(self, text: str) -> str:
        words = text.split()
        for _ in range(self.rng.choice((0, 1, 1, 2, 2, 3, 4, 6))):
            words[self.rng.randrange(len(words))] = self.rng.choice(self.words)
        return " ".join(words)

    def rows(self, count: int) -> Iterator[dict[str, Any]]:
        """`count` rows as a draft has them."""
        recent: list[tuple[str, str]] = []
        for number in range(count):
            if recent and self.rng.random() < 0.25:
                asked, answer = self.rng.choice(recent)
                asked = self._varied(asked)
            else:
                asked, answer = self._fresh(), self.rng.choice(self.answers)
                recent = [*recent[-499:], (asked, answer)]
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
            yield {"id": f"ex_{number}", "messages": messages, "metadata": {}, "source": f"file:traffic.jsonl:{number + 1}"}


def write(path: Path, rows: int) -> Path:
    """A file of that many rows."""
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in Traffic().rows(rows))
    return path


def exact(texts: Sequence[frozenset[str]], threshold: float) -> set[Pair]:
    """Every pair of `texts`, as shingles, at the threshold or above, equal ones beside the first of them only.

    Of two similar texts the rarest shingles must share one (the prefix filter): nothing is left to chance.
    """
    first: dict[frozenset[str], int] = {}
    found = {(first[words], j) for j, words in enumerate(texts) if words and first.setdefault(words, j) != j}
    often = Counter(word for words in first for word in words)
    holders: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
    for words, j in first.items():
        rarest = sorted(words, key=lambda word: (often[word], word))[: len(words) - ceil(threshold * len(words)) + 1]
        for other in {other for word in rarest for other in holders[word]}:
            if threshold * len(words) <= len(other) <= len(words) / threshold:
                shared = len(words & other)
                if shared >= threshold * (len(words) + len(other) - shared):
                    found.add((first[other], j))
        for word in rarest:
            holders[word].append(words)
    return found


def exact_of(path: Path) -> set[Pair]:
    """The exact pairs of a file."""
    return exact([shingles(text) for text in texts_of(path, "conversation", path.name)], THRESHOLD)


def measured(command: list[str], out: Path, truth: set[Pair] | None) -> dict[str, float]:
    """CPU seconds and peak MB of a command with all its children, and how good the pairs are that it leaves in `out`. Raises
    SystemExit when it fails."""
    there = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run([sys.executable, "-c", LAUNCH, *command], env=there, stdout=subprocess.PIPE, check=True)
    code, cpu, peak = json.loads(done.stdout)
    if code:
        raise SystemExit(f"{' '.join(command[:3])} … ended with {code}: no figure")
    pairs = {(i, j) for i, j in json.loads(out.read_text())}
    sample = {"cpu": cpu, "peak_mb": peak, "pairs": float(len(pairs))}
    if truth:
        right = len(pairs & truth)
        sample |= {"precision": right / max(1, len(pairs)), "recall": right / len(truth)}
    return sample


def ours(path: Path, out: Path, truth: set[Pair] | None) -> dict[str, float]:
    """Ours, as an import asks for it."""
    return measured([sys.executable, "-c", OURS, str(path), str(THRESHOLD), str(out)], out, truth)


def contenders(path: Path, out: Path, truth: set[Pair]) -> dict[str, bench.Contender]:
    """Ours and the libraries whose environment is there."""
    found: dict[str, bench.Contender] = {"ours": lambda: ours(path, out, truth)}
    if missing():
        return found
    script = [str(PEERS / "near" / "bin" / "python"), str(REPOSITORY / "benchmarks" / "peers" / "nearly.py")]

    def peer(library: str) -> Callable[[], dict[str, float]]:
        return lambda: measured([*script, library, str(path), str(THRESHOLD), str(out)], out, truth)

    return found | {library: peer(library) for library in LIBRARIES}


def missing() -> dict[str, str]:
    """Peer → why it is not measured."""
    made = (PEERS / "near" / ".made").exists()
    return {} if made else dict.fromkeys(LIBRARIES, f'{MAKE} ARGS="near"')


def figures(quick: bool, rounds: int = 3) -> list[Figure]:
    """Run it. `quick`: few rows, for a look; a ratio of rows that take a second says little, so it has no goals but recall."""
    rows, many, rounds = (5_000, 20_000, 1) if quick else (ROWS, MANY, rounds)
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as name:
        folder = Path(name)
        path, out = write(folder / "rows.jsonl", rows), folder / "pairs.json"
        beside = bench.interleave(contenders(path, out, exact_of(path)), rounds)
        path.unlink()
        alone = ours(write(folder / "many.jsonl", many), out, None)
    return table(beside, alone, promised=not quick)


def table(beside: Rounds, alone: bench.Sample, *, promised: bool) -> list[Figure]:
    """The figures of rounds beside the peers, and of one large run of ours."""

    def goal(value: float) -> float | None:
        return value if promised else None

    def middle(contender: str, quantity: str) -> bench.Middle | None:
        return beside.over(lambda one: one[contender][quantity])

    def ratio(peer: str, quantity: str) -> bench.Middle | None:
        return beside.over(lambda one: one["ours"][quantity] / one[peer][quantity])

    cpu = beside.median("ours", "cpu")
    grown = None if cpu is None else alone["cpu"] / cpu
    found = [
        bench.figure("near_cpu", middle("ours", "cpu"), "s"),
        bench.figure("near_cpu_to_datasketch", ratio("datasketch", "cpu"), "x", goal=goal(0.3), peer="datasketch"),
        bench.figure("near_cpu_to_gaoya", ratio("gaoya", "cpu"), "x", peer="gaoya"),
        bench.figure("near_peak", middle("ours", "peak_mb"), "MB"),
        bench.figure("near_peak_to_datasketch", ratio("datasketch", "peak_mb"), "x", peer="datasketch"),
        bench.figure("near_precision", middle("ours", "precision"), "", goal=1.0, direction="higher"),
        bench.figure("near_recall", middle("ours", "recall"), "", goal=0.95, direction="higher"),
        *(
            bench.figure(f"near_recall_of_{each}", middle(each, "recall"), "", direction="higher", peer=each)
            for each in LIBRARIES
        ),
    ]
    return [
        *found,
        Figure(id="near_million_cpu", value=alone["cpu"], unit="s"),
        Figure(id="near_million_to_tenth", value=grown, unit="x", goal=goal(12.0)),
        Figure(id="near_million_peak", value=alone["peak_mb"], unit="MB", goal=goal(3500.0)),
    ]


def main() -> int:
    """Run it; returns the exit code."""
    given = bench.parser(__doc__, rounds=3).parse_args()
    bench.report("near", given.rounds, figures(given.quick, given.rounds), given.results, missing())
    return 0


if __name__ == "__main__":
    sys.exit(main())
