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
