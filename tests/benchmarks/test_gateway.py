"""The gateway's benchmark: which number becomes which figure, and that what did not answer has none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import gateway
from benchmarks.bench import Rounds, middle
from benchmarks.gateway import Amount, Own, Traffic, Turn, figures
from benchmarks.peers import ours, starters
from benchmarks.peers.contender import Contender, Cores, Dialect, NotMeasured

CHUNKS = ("first_chunk_ms", "paced_chunk_ms")
SOON = Amount(many=0.2, lonely=0.1, streams=0.1, warm=0.1)
GOALS = {
    "cpu_to_nginx": 3.0,
    "added_latency_to_nginx": 2.0,
    "first_chunk_over_nginx": 1.0,
    "paced_chunk_over_nginx": 1.0,
    "rate_to_litellm": 100.0,
    "rate_to_portkey": 30.0,
    "rate_to_tensorzero": 3.0,
    "cpu_two_workers": 1.1,
    "ready": 1.0,
    "memory_idle": 80.0,
    "memory_1000_streams_again": 1.1,
    "log_unlike_answers": 0.0,
    "traffic_to_ours": 1.0,
}


def sample(cpu: float, rate: float, alone: float = 1.0, first: float = 1.0) -> dict[str, float]:
    chunks = {"first_chunk_ms": first, "paced_chunk_ms": first / 2}
    return {"cpu_us": cpu, "worker_us": cpu, "rate": rate, "alone_ms": alone, **chunks, "traffic_us": 20.0}


def test_without_peers_every_promise_stands_there_unmeasured():
    found = {one.id: one for one in figures(Rounds([{"direct": sample(0, 9e4), "ours": sample(100, 9e3)}]), Own())}
    assert {name: one.goal for name, one in found.items() if one.goal is not None} == GOALS
    assert [name for name in GOALS if found[name].value is not None] == ["traffic_to_ours"]
    assert len(found) == len(figures(Rounds([]), Own()))  # no name twice


def test_ours_is_divided_by_a_peer_of_the_same_round():
    rounds = Rounds(
        [
            {
                "direct": sample(1, 50_000, 0.05, 0.4),
                "ours": sample(100 * slow, 9_000 / slow, 0.05 + 0.2 * slow, 0.5 + slow),
                "ours2": sample(105 * slow, 10_000 / slow),
                "nginx": sample(40 * slow, 20_000 / slow, 0.05 + 0.1 * slow, slow),
                "nginx2": sample(50 * slow, 20_000 / slow),
                "tensorzero": sample(400 * slow, 2_000 / slow, 0.55, 9.0),
            }
            for slow in (1, 3, 2)
        ]
    )
    own = Own(ready=middle([0.4, 0.6, 0.5]), idle_mb=middle([40.0]), streaming_mb=60.0, again=1.05, unlike=0.0)
    found = {one.id: one for one in figures(rounds, own)}
    assert (found["cpu_per_request"].value, found["cpu_per_request"].spread) == (200.0, (100.0, 300.0))
    for name, value in {
        "cpu_to_nginx": 2.5,
        "added_latency_to_nginx": 2.0,
        "first_chunk_over_nginx": 0.5,
        "paced_chunk_over_nginx": 0.25,
        "rate_to_tensorzero": 4.5,
        "cpu_two_workers": 1.05,
        "ready": 0.5,
        "log_unlike_answers": 0.0,
    }.items():
        assert (found[name].value, found[name].holds) == (pytest.approx(value), True), name
    assert found["cpu_to_nginx"].spread == (2.5, 2.5)  # however slow the machine was
    assert found["rate_to_litellm"].holds is None
    assert found["cpu_two_workers_nginx"].value == pytest.approx(1.25)


def test_a_contender_that_does_not_answer_has_no_figure_and_is_not_asked_again(repository):
    nobody = Contender(url="http://127.0.0.1:1")
    with gateway.upstream(Cores.of_machine()) as floor:
        turn = Turn(nobody, Traffic(pid=floor.workers[0], cores=None), SOON)
        assert turn() == {}
        assert turn.lost is not None
        assert turn.lost.startswith("the clients failed: ")
        turn.contender = floor
        assert turn() == {}  # even if it came back


def test_a_contender_that_failed_in_one_round_has_no_median_of_the_others():
    rounds = Rounds([{"direct": sample(0, 9e4), "ours": sample(100, 9e3), "nginx": sample(50, 2e4)}, {"nginx": {"rate": 2e4}}])
    left = {one.id: one.value for one in figures(gateway.without(rounds, {"nginx"}), Own())}
    assert left["cpu_per_request"] == 100.0
    assert [name for name, value in left.items() if "nginx" in name and value is not None] == []


def test_a_turn_measures_what_it_asked(repository):
    with gateway.upstream(Cores.of_machine()) as floor:
        turn = Turn(Contender(url=floor.url, pid=floor.workers[0]), Traffic(pid=floor.workers[0], cores=None), SOON)
        found = turn()
    assert turn.lost is None
    assert set(found) == {"rate", "traffic_us", "traffic_share", "worker_us", "cpu_us", "alone_ms", *CHUNKS}
    assert turn.answered > gateway.CONNECTIONS
    assert min(found[name] for name in ("rate", "traffic_us", "alone_ms", *CHUNKS)) > 0


@pytest.mark.timeout(1200)  # a dozen processes one after another, on a machine that may be busy
def test_our_gateway_has_everything_on_and_its_log_has_all_that_was_answered(tmp_path):
    cores = Cores(traffic=None, contender=None, pair=None)
    with gateway.upstream(cores) as floor, ours.ours(tmp_path, floor.url, cores) as one:
        ours.prove(one, tmp_path / "data")
        assert gateway.memory_mb(one.workers[0]) > 1
        found = gateway.load(one, Traffic(pid=floor.workers[0], cores=None), 2, 0.1)
    assert ours.logged(tmp_path / "data") >= found["requests"] + 2  # the first answer of its start, and the proof


def test_a_gateway_with_something_off_is_not_measured(tmp_path):
    with gateway.upstream(Cores(traffic=None, contender=None, pair=None)) as floor:
        bare = Contender(url=floor.url, dialect=Dialect(headers={"authorization": "Bearer x"}))
        with pytest.raises(NotMeasured, match="the key check is not on"):
            ours.prove(bare, tmp_path)


def test_a_peer_that_nobody_knows_is_refused(repository):
    command = [sys.executable, "-m", "benchmarks.gateway", "--peers", "nginx,apache"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert "no peer is called 'apache'; known: " + ", ".join(starters.ALL) in done.stderr


def test_the_result_of_a_figure_is_json():
    assert json.dumps([one.as_json() for one in figures(Rounds([]), Own(ready=middle([1.0])))])
