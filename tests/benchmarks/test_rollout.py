"""The benchmark of rollout: who is late is counted by who answered, and the figures are those of the rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import rollout
from benchmarks.bench import Rounds
from benchmarks.peers import switching
from benchmarks.peers.contender import NotMeasured


@contextmanager
def stuck(folder: Path, backends: switching.Backends) -> Iterator[switching.Proxy]:
    """One whose move does nothing: everything goes to `a` for ever."""
    yield switching.Proxy(url=f"http://{backends['a']}", move=lambda to: {})


def test_what_the_old_backend_answers_after_the_command_is_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "AFTER", 0.2)
    found = asyncio.run(rollout.switch(stuck, tmp_path, 2))
    assert found["errors"] == 0
    assert found["late"] >= 1
    assert found["late_ms"] > 0
    assert "in_force_ms" not in found, "nobody said so"


def test_ours_obeys_before_its_command_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "AFTER", 0.2)
    found = asyncio.run(rollout.switch(switching.ours, tmp_path, 2))
    assert (found["late"], found["late_ms"], found["errors"]) == (0, 0, 0)
    assert 0 < found["in_force_ms"] <= found["in_force_p99_ms"] <= found["command_ms"] * 10


def test_lateness_ends_where_the_next_command_begins() -> None:
    done = [rollout.Moved(to="b", returned=10.0, seconds=1.0, ms=3.0), rollout.Moved(to="a", returned=20.0, seconds=1.0, ms=5.0)]
    asked = [rollout.Asked(at, by) for at, by in ((9.5, "a"), (10.1, "a"), (11.0, "b"), (19.5, "a"), (20.2, "b"), (21.0, ""))]
    found = rollout._seen(asked, done, 3.0)
    assert (found["late"], found["errors"], found["rate"]) == (2, 1, 2.0)
    assert found["late_ms"] == pytest.approx(200)
    assert (found["in_force_ms"], found["in_force_p99_ms"]) == (4.0, 5.0)


def test_a_look_at_a_canary_is_one_that_held(tmp_path: Path) -> None:
    desk = rollout.canary(tmp_path, 120)
    assert rollout.looking(desk, 2)["ms"] > 0
    decided = rollout.deciding(2, 1)
    assert decided.samples[0]["ours"]["ms"] > 0
    assert decided.samples[0]["scipy"]["ms"] > 0


def test_a_peer_that_is_not_there_stays_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switching.shutil, "which", lambda program, path=None: None)
    for start in switching.PEERS.values():
        with pytest.raises(NotMeasured, match="install your system's package"), start(tmp_path, {"a": "x:1", "b": "x:2"}):
            pytest.fail("it started")
    quantities = dict.fromkeys(("late", "late_ms", "errors", "command_ms", "rate", "in_force_ms", "in_force_p99_ms"), 1.0)
    timed = Rounds([{"ours": {"ms": 2.0}, "scipy": {"ms": 4.0}}])
    found = {each.id: each for each in rollout.figures(Rounds([{"ours": quantities}]), timed, timed)}
    assert found["late_nginx"].as_json()["value"] == "not measured"
    assert (found["late_ours"].holds, found["errors_ours"].holds, found["in_force_p99"].holds) == (False, False, True)
    assert found["decision_to_scipy"].value == 0.5
