"""Dataset versions: a first commit, one of 1.5 % edited rows, a difference with rows, a checkout; beside git and DVC.

Every contender commits the same two files of generated chat rows, whose sentences come from one pool as those of real traffic do:
a first one, and one in which 1.5 % of the rows, anywhere, have another answer. Ours is `tunekeeper data freeze` of the draft that
lies there, git is `git add` and `git commit`, DVC is `dvc add` and the commit of its pointer; start of the process included.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import bench, near
from benchmarks.bench import Figure, Rounds
from benchmarks.peers.starters import MAKE, PEERS
from tunekeeper.core.ids import digest_bytes
from tunekeeper.core.nouns.data import Example
from tunekeeper.data.examples import encode

PROMISED_ROWS = 1_000_000
EDITED = 0.015
MODEL = "desk"
SYSTEM = {
    "role": "system",
    "content": "Triage the ticket of a customer. Answer with JSON: a category, and a note of one sentence.",
}
TOPICS = ("billing", "bug", "refund", "shipping", "account", "how-to")
QUIET = {"DVC_NO_ANALYTICS": "1", "GIT_AUTHOR_NAME": "b", "GIT_AUTHOR_EMAIL": "b@b", "GIT_COMMITTER_NAME": "b"}
QUIET |= {"GIT_COMMITTER_EMAIL": "b@b", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
DIFF = """\
import sys, time
from pathlib import Path
from tunekeeper import data
from tunekeeper.workspace import open_workspace
ws = open_workspace(Path(sys.argv[1]))
taken = []
for _ in range(3):
    start = time.perf_counter()
    found = data.diff(ws, "{model}/d1", "{model}/d2")
    taken.append(time.perf_counter() - start)
print(sorted(taken)[1], found.counts["edited"])
"""


def sentences(rng: random.Random) -> list[str]:
    """3,000 sentences of made-up words."""
    words = ["".join(rng.choice("bdfgklmnprstv") + rng.choice("aeiou") for _ in range(rng.randint(1, 4))) for _ in range(4000)]
    return [" ".join(rng.choices(words, k=rng.randint(6, 14))).capitalize() + "." for _ in range(3000)]


def row(rng: random.Random, pool: Sequence[str], number: int) -> Example:
    """One conversation of about 700 bytes."""
    topic = rng.choice(TOPICS)
    asked = f"{' '.join(rng.choices(pool, k=3))} Order {rng.randrange(10**8)}."
    answer = f'{{"category":"{topic}","note":"{rng.choice(pool)}"}}'
    digest = digest_bytes(f"{asked}\0{answer}".encode())
    return Example(
        id=f"T-{number}",
        messages=(SYSTEM, {"role": "user", "content": asked}, {"role": "assistant", "content": answer}),
        fingerprint=digest,
        split="eval" if rng.random() < 0.1 else "train",
        source=f"file:traffic.jsonl:{number}",
        metadata={"category": topic, "created": f"2026-0{rng.randint(1, 9)}-{rng.randint(10, 28)}T10:00:00Z"},
    )


def edited(line: bytes, rng: random.Random, pool: Sequence[str]) -> bytes:
    """The same row with another note in its answer."""
    before, _, rest = line.partition(b'note\\":\\"')
    _, mark, after = rest.partition(b'\\"}')
    digest = digest_bytes(line).encode()
    return b'{"fingerprint":"' + digest + before[16 + 71 :] + b'note\\":\\"' + rng.choice(pool).encode() + mark + after


def write(folder: Path, rows: int, seed: int = 7) -> tuple[Path, Path]:
    """The two files."""
    rng = random.Random(seed)
    pool = sentences(rng)
    first, second = folder / "first.jsonl", folder / "second.jsonl"
    with first.open("wb") as one, second.open("wb") as other:
        for number in range(rows):
            line = encode(row(rng, pool, number), with_split=True)
            one.write(line)
            other.write(edited(line, rng, pool) if rng.random() < EDITED else line)
    return first, second


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a few commands took together."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all their processes."""
    peak: float
    """MB that the largest of their processes took."""
    said: str
    """What the last one printed."""


def run(folder: Path, *commands: Sequence[str]) -> Ran:
    """Run commands one after the other; one that fails ends the benchmark."""
    os.sync()
    wall = cpu = peak = 0.0
    said = ""
    for command in commands:
        with tempfile.TemporaryFile() as out:
            start = time.perf_counter()
            child = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **QUIET})
            _, status, used = os.wait4(child.pid, 0)
            wall += time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            said = out.read().decode("utf-8", "replace")
        if child.returncode:
            raise SystemExit(f"{' '.join(command)}: {said[-2000:]}")
        cpu, peak = cpu + used.ru_utime + used.ru_stime, max(peak, used.ru_maxrss / 1024)
    return Ran(wall=wall, cpu=cpu, peak=peak, said=said)


def size(folder: Path) -> float:
    """MB of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def two_commits(folder: Path, target: Path, store: Path, files: tuple[Path, Path], *commands: Sequence[str]) -> dict[str, float]:
    """Commit one file, then the other in its place; `store`: the folder that grows by it."""
    sample: dict[str, float] = {}
    for name, file in zip(("first", "second"), files, strict=True):
        target.unlink(missing_ok=True)
        shutil.copyfile(file, target)
        before = size(store)
        ran = run(folder, *commands)
        sample |= {f"{name}_s": ran.wall, f"{name}_cpu_s": ran.cpu, f"{name}_peak_mb": ran.peak}
        sample[f"{name}_mb"] = size(store) - before
    return sample


def ours(root: Path, files: tuple[Path, Path]) -> dict[str, float]:
    """`tunekeeper data freeze` twice, then `data diff` and `data checkout`."""
    program = str(Path(sys.executable).with_name("tunekeeper"))
    folder = root / "ours"
    run(root, [program, "init", str(folder), "--model", MODEL])
    data = folder / ".tunekeeper"
    draft = data / "data" / MODEL / "draft.jsonl"
    draft.parent.mkdir(parents=True)
    sample = two_commits(folder, draft, data / "blobs", files, [program, "data", "freeze", "--model", MODEL])
    asked = run(folder, [sys.executable, "-c", DIFF.format(model=MODEL), str(data)])
    seconds, count = asked.said.split()
    lines = zip(*(file.open("rb") for file in files), strict=True)
    if int(count) != sum(one != other for one, other in lines):
        raise SystemExit(f"data diff finds {count} edited rows, which is wrong: no figure")
    out = run(folder, [program, "data", "checkout", f"{MODEL}/d2", "--out", "out"])
    if size(folder / "out") < 0.9 * size_of(files[1]):
        raise SystemExit("data checkout wrote too little: no figure")
    command = run(folder, [program, "data", "diff", f"{MODEL}/d1", f"{MODEL}/d2"])
    sample |= {"diff_s": float(seconds), "diff_command_s": command.wall, "checkout_s": out.wall}
    sample["peak_mb"] = max(sample["first_peak_mb"], sample["second_peak_mb"], asked.peak, out.peak, command.peak)
    shutil.rmtree(folder)
    return sample


def size_of(file: Path) -> float:
    """MB of a file."""
    return file.stat().st_size / 1e6


def git(root: Path, files: tuple[Path, Path]) -> dict[str, float]:
    """`git add` and `git commit` of the file, twice."""
    folder = root / "git"
    folder.mkdir()
    run(folder, ["git", "init", "--quiet"])
    commands = (["git", "add", "draft.jsonl"], ["git", "commit", "--quiet", "--message", "data"])
    sample = two_commits(folder, folder / "draft.jsonl", folder / ".git", files, *commands)
    shutil.rmtree(folder)
    return sample


def dvc(root: Path, files: tuple[Path, Path]) -> dict[str, float]:
    """`dvc add` of the file and the commit of its pointer, twice."""
    program, folder = str(PEERS / "dvc" / "bin" / "dvc"), root / "dvc"
    folder.mkdir()
    run(folder, ["git", "init", "--quiet"], [program, "init", "--quiet"])
    add = [program, "add", "--quiet", "draft.jsonl"]
    commands = (add, ["git", "add", "draft.jsonl.dvc", ".gitignore"], ["git", "commit", "--quiet", "--message", "data"])
    sample = two_commits(folder, folder / "draft.jsonl", folder / ".dvc", files, *commands)
    shutil.rmtree(folder)
    return sample


def contenders(root: Path, files: tuple[Path, Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """Who takes part, and why somebody does not."""
    found: dict[str, Any] = {"ours": lambda: ours(root, files)}
    missing = {}
    if shutil.which("git"):
        found["git"] = lambda: git(root, files)
    else:
        missing["git"] = "git is not installed"
    if "git" in found and (PEERS / "dvc" / "bin" / "dvc").exists():
        found["dvc"] = lambda: dvc(root, files)
    else:
        missing["dvc"] = f'{MAKE} ARGS="dvc"'
    return found, missing


def figures(rounds: Rounds, promised: bool) -> Iterator[Figure]:
    """The table. The goals stand where there are as many rows as they were set for."""

    def goal(value: float) -> float | None:
        return value if promised else None

    def own(id: str, quantity: str, unit: str, most: float | None = None) -> Figure:
        return bench.figure(id, rounds.over(lambda one: one["ours"][quantity]), unit, goal=None if most is None else goal(most))

    def beside(id: str, peer: str, quantity: str, most: float | None = None) -> Figure:
        found = rounds.over(lambda one: one["ours"][quantity] / one[peer][quantity])
        return bench.figure(id, found, "x", goal=None if most is None else goal(most), peer=peer)

    yield beside("first_commit_to_git", "git", "first_s", 0.65)
    yield beside("first_commit_cpu_to_git", "git", "first_cpu_s")
    yield beside("second_commit_to_dvc", "dvc", "second_s", 0.55)
    yield beside("second_commit_cpu_to_dvc", "dvc", "second_cpu_s")
    yield own("first_commit", "first_s", "s")
    yield own("second_commit", "second_s", "s")
    yield own("diff_with_rows", "diff_s", "s", 0.5)
    yield own("diff_command", "diff_command_s", "s", 0.5)
    yield own("checkout", "checkout_s", "s", 5)
    yield own("stored_first", "first_mb", "MB")
    yield own("added_by_second", "second_mb", "MB", 3)
    yield own("peak_memory", "peak_mb", "MB", 1500)
    for peer in ("git", "dvc"):
        for quantity, unit in (("first_s", "s"), ("second_s", "s"), ("second_mb", "MB")):
            yield bench.figure(f"{peer}_{quantity}", rounds.over(partial(_of, peer, quantity)), unit, peer=peer)


def _of(contender: str, quantity: str, one: Mapping[str, bench.Sample]) -> float:
    return one[contender][quantity]


def main() -> int:
    """Run it; returns the exit code."""
    parser = bench.parser(__doc__, rounds=3)
    parser.add_argument(
        "--rows", type=bench.positive, default=PROMISED_ROWS, help="rows of the dataset; default 1,000,000 (minutes, 6 GB)"
    )
    parser.add_argument("--folder", type=bench.folder, help="where the files are made; default: the system's temporary folder")
    given = parser.parse_args()
    rows = min(given.rows, 5_000) if given.quick else given.rows
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-", dir=given.folder) as name:
        files = write(Path(name), rows)
        taking_part, missing = contenders(Path(name), files)
        megabytes = size_of(files[0])
        rounds = bench.interleave(taking_part, 1 if given.quick else given.rounds)
    found = [*figures(rounds, rows >= PROMISED_ROWS), *near.figures(given.quick, given.rounds)]
    print(f"{rows:,} rows, {megabytes:,.0f} MB")
    bench.report("data", given.rounds, found, given.results, missing | near.missing())
    return 0


if __name__ == "__main__":
    sys.exit(bench.run(main))
