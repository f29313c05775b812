"""The harness of the benchmarks: who runs when, which number becomes the figure, and what is said about what is missing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import bench
from benchmarks.bench import Figure, Rounds, interleave
from tests.patience import gone, until


def test_every_contender_runs_once_a_round_and_another_one_starts_each_time():
    ran = []

    def contender(name):
        return lambda: ran.append(name) or {"rate": 1.0}

    rounds = interleave({name: contender(name) for name in "abc"}, 3)
    assert ran == list("abcbcacab")
    assert [set(sample) for sample in rounds.samples] == [set("abc")] * 3


def test_a_ratio_is_taken_inside_each_round_before_the_median():
    pairs = ((10.0, 1.0), (20.0, 20.0), (30.0, 15.0))
    rounds = Rounds([{"ours": {"ms": mine}, "peer": {"ms": theirs}} for mine, theirs in pairs])
    assert rounds.median("ours", "ms") == 20.0
    assert rounds.ratio("ours", "peer", "ms") == 2.0  # the ratio of the medians would be 20 / 15
    assert rounds.difference("ours", "peer", "ms") == 9.0


def test_a_peer_that_did_not_take_part_gives_no_number():
    rounds = Rounds([{"ours": {"ms": 1.0}}])
    assert rounds.ratio("ours", "nginx", "ms") is None
    assert rounds.median("nginx", "ms") is None


def test_a_figure_says_how_far_the_rounds_lie_apart_and_leaves_out_those_without_it():
    rounds = Rounds([{"a": {"ms": 3.0}}, {"a": {"ms": 1.0}}, {"a": {}}, {"b": {"ms": 9.0}}, {"a": {"ms": 2.5}}])
    one = bench.figure("ms", rounds.over(lambda sample: sample["a"]["ms"]), "ms", goal=2.0)
    assert (one.value, one.spread, one.holds) == (2.5, (1.0, 3.0), False)
    assert one.as_json()["spread"] == [1.0, 3.0]
    none = bench.figure("ms", rounds.over(lambda sample: sample["c"]["ms"]), "ms", goal=2.0)
    assert (none.value, none.spread, none.holds) == (None, None, None)
    assert "spread" not in none.as_json()


def test_what_was_measured_by_nothing_is_no_ratio():
    assert Rounds([{"a": {"us": 1.0}, "b": {"us": 0.0}}]).ratio("a", "b", "us") is None


def test_a_benchmark_without_rounds_is_refused(capsys):
    with pytest.raises(ValueError, match="at least one round"):
        interleave({"a": dict}, 0)
    with pytest.raises(SystemExit):
        bench.parser("A benchmark.", rounds=3).parse_args(["--rounds", "0"])
    assert "'0' is not a positive number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "goal", "direction", "holds"),
    [
        (3.0, 3.0, "lower", True),
        (3.1, 3.0, "lower", False),
        (3.0, 3.0, "higher", True),
        (2.9, 3.0, "higher", False),
        (None, 3.0, "lower", None),
        (2.0, None, "lower", None),
    ],
)
def test_a_goal_holds_in_its_direction_and_says_nothing_without_a_value(value, goal, direction, holds):
    assert Figure(id="x", value=value, unit="x", goal=goal, direction=direction).holds is holds


def test_the_result_names_the_machine_the_rounds_and_every_figure_also_those_not_measured(tmp_path, capsys):
    figures = [
        Figure(id="rate", value=12345.6, unit="requests/s", goal=5000, direction="higher", spread=(9000.4, 23456.0)),
        Figure(id="cpu_to_nginx", value=None, unit="x", goal=3.0, peer="nginx"),
    ]
    path = bench.report("gateway", 5, figures, tmp_path / "results", {"nginx": "install it"})
    found = json.loads(path.read_text())
    assert path.name == "gateway.json"
    assert (set(found), found["rounds"]) == ({"machine", "rounds", "figures", "missing"}, 5)
    assert found["missing"] == {"nginx": "install it"}
    assert found["machine"]["cores"] >= 1
    missing = {"goal": 3.0, "direction": "lower", "holds": None, "peer": "nginx"}
    assert found["figures"][1] == {"id": "cpu_to_nginx", "value": "not measured", "unit": "x", **missing}
    assert found["figures"][0]["holds"] is True
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split() == ["rate", "12,346", "9,000", "to", "23,456", "requests/s", "≥", "5000", "yes"]
    assert printed[3] == "nginx: not measured: install it"
    assert printed[2].split() == ["cpu_to_nginx", "not", "measured", "x", "≤", "3", "nginx"]


ENDLESS = """
import subprocess, sys, tempfile, time
from benchmarks import bench

SLEEP = "import time; time.sleep(600)"
LAUNCH = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL).pid)"

def main():
    with tempfile.TemporaryDirectory(prefix="tunekeeper-bench-") as folder:
        command = [sys.executable, "-c", LAUNCH, sys.executable, "-c", SLEEP]
        orphan = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip()
        print(folder, orphan, flush=True)
        time.sleep(600)

sys.exit(bench.run(main))
"""
"""A benchmark whose child went and left one of its own behind, as a launcher does that is killed."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_so_in_one_line_and_leaves_no_process_and_no_folder(repository: Path, number: signal.Signals):
    command = [sys.executable, "-c", ENDLESS]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        folder, below = child.stdout.readline().split()
        assert psutil.pid_exists(int(below))
        child.send_signal(number)
        _, said = child.communicate()
    assert (child.returncode, said) == (130, "interrupted: nothing was written\n")
    assert not Path(folder).exists()
    until(lambda: gone(int(below)))


NO_COUNTS, NO_TIMES, NO_FOLDERS = ("0", "-1", "x", "²"), ("nan", "0", "inf", "s"), ("/no/such/folder", "\0")


@pytest.mark.parametrize(
    ("of", "text"),
    [
        *((bench.positive, text) for text in NO_COUNTS),
        *((bench.seconds, text) for text in NO_TIMES),
        *((bench.folder, text) for text in NO_FOLDERS),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused_in_one_line(
    of: object, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = bench.parser("A benchmark.", rounds=3)
    asked.add_argument("--what", type=of)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "argv", ["bench", f"--what={text}"])
    with pytest.raises(SystemExit, match="2"):
        asked.parse_args()
    assert "error: argument --what: " in capsys.readouterr().err.splitlines()[-1]


def test_arguments_that_make_sense_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["bench", "--rounds", "2", "--results", str(tmp_path / "a" / "b")])
    given = bench.parser("A benchmark.", rounds=3).parse_args()
    assert (given.rounds, given.results) == (2, tmp_path / "a" / "b")
    assert (bench.positive("12"), bench.seconds("0.5"), bench.folder(str(tmp_path))) == (12, 0.5, tmp_path)
