"""The harness of the benchmarks: who runs when, which number becomes the figure, and what is said about what is missing."""

from __future__ import annotations

import json

import pytest

from benchmarks import bench
from benchmarks.bench import Figure, Rounds, interleave


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


def test_a_benchmark_without_rounds_is_refused(capsys):
    with pytest.raises(ValueError, match="at least one round"):
        interleave({"a": dict}, 0)
    with pytest.raises(SystemExit):
        bench.parser("A benchmark.", rounds=3).parse_args(["--rounds", "0"])
    assert "0 is not a positive number" in capsys.readouterr().err


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
        Figure(id="rate", value=12345.6, unit="requests/s", goal=5000, direction="higher"),
        Figure(id="cpu_to_nginx", value=None, unit="x", goal=3.0, peer="nginx"),
    ]
    path = bench.report("gateway", 5, figures, tmp_path / "results")
    found = json.loads(path.read_text())
    assert path.name == "gateway.json"
    assert (set(found), found["rounds"]) == ({"machine", "rounds", "figures"}, 5)
    assert found["machine"]["cores"] >= 1
    missing = {"goal": 3.0, "direction": "lower", "holds": None, "peer": "nginx"}
    assert found["figures"][1] == {"id": "cpu_to_nginx", "value": "not measured", "unit": "x", **missing}
    assert found["figures"][0]["holds"] is True
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split() == ["rate", "12,346", "requests/s", "≥", "5000", "yes"]
    assert printed[2].split() == ["cpu_to_nginx", "not", "measured", "x", "≤", "3", "nginx"]
