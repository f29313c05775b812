"""A project from nothing, `up` and `down` on it, and what every command promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.outside.conftest import SECONDS, Running, call, environment, run

EMPTY = {
    ("status",): 0,
    ("config", "show", "--origin"): 0,
    ("config", "check"): 0,
    ("config", "schema"): 0,
    ("history", "desk"): 0,
    ("data", "ls", "--model", "desk"): 0,
    ("data", "log", "--model", "desk"): 0,
    ("model", "ls"): 0,
    ("train", "ls"): 0,
    ("eval", "ls"): 0,
    ("monitor", "windows", "--model", "desk"): 0,
    ("monitor", "alerts", "--model", "desk"): 0,
    ("incident", "ls", "--model", "desk"): 0,
    ("retrain", "why", "--model", "desk"): 0,
    ("key", "ls"): 0,
    ("key", "create", "--dry-run"): 0,
    ("log", "verify"): 0,
    ("log", "erase", "--user", "nobody"): 0,
    ("store", "verify"): 0,
    ("store", "upgrade"): 0,
    ("down",): 0,
    ("down", "--dry-run"): 0,
    ("show", "req_nobody"): 2,
    ("show", "nothing"): 2,
    ("rollback", "desk"): 2,
    ("route", "show", "desk"): 2,
    ("deploy", "status", "desk"): 2,
    ("deploy", "check", "desk"): 2,
    ("deploy", "halt", "desk"): 2,
    ("data", "freeze", "--model", "desk"): 2,
    ("data", "show", "latest", "--model", "desk"): 2,
    ("data", "tag", "desk/d1", "live"): 2,
    ("data", "revert", "desk/d1"): 2,
    ("data", "blame", "T1", "--model", "desk"): 2,
    ("data", "readmit", "T1", "--model", "desk"): 2,
    ("data", "merge", "desk/d1", "desk/d2"): 2,
    ("data", "export", "latest", "--model", "desk", "--out", "x"): 2,
    ("train", "run", "--model", "desk", "--dataset", "latest"): 2,
    ("train", "run", "--model", "nobody", "--dataset", "latest"): 2,
    ("export", "gguf", "v1.0", "--out", "x.gguf"): 2,
    ("eval", "run", "--model", "desk", "--version", "v1.0"): 2,
    ("model", "show", "v1.0", "--model", "desk"): 2,
    ("data", "nothing"): 2,
    ("data", "import"): 2,
}
"""What a command on a new project exits with."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "1: it's new"
    made = run("init", folder, "--model", "desk", "--json").json
    assert made["written"] == ["tunekeeper.yaml", ".gitignore", "models/desk.yaml"]
    return folder


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_every_command_prints_one_document_and_one_line_at_most(project: Path, words: tuple[str, ...]) -> None:
    where = () if words == ("config", "schema") else ("--dir", project)
    told = call(*words, *where, "--json")
    assert told.code == EMPTY[words], told
    if told.code == 0:
        assert (told.json is not None, told.err) == (True, "")
        return
    error = told.json["error"]
    assert (set(error), error["exit_code"]) == ({"kind", "message", "fix", "exit_code"}, told.code)
    assert error["message"] in told.error


def test_the_nearest_folder_above_is_the_project_and_origins_are_told(project: Path) -> None:
    told = run("config", "show", "--origin", "--json", cwd=project / "models").json
    assert told["project"] == {"value": "1: it's new", "origin": "tunekeeper.yaml:2"}
    assert told["desk.data.eval_share"]["origin"] == "default"
    assert call("status", "--dir", project, "--json").json["models"][0]["state"] == "not serving"
    assert call("init", project, "--model", "desk").code == 2, "what is there is left alone"
    assert call("init", project, "--model", "mail", "--dry-run", "--json").json["written"] == ["models/mail.yaml"]
    assert not (project / "models" / "mail.yaml").exists()
    assert run("status", cwd=project.parent).error.endswith("(fix: --dir PROJECT, or a new one: tunekeeper init DIR)")
    (project.parent / ".tunekeeper").mkdir()
    assert "or --data" in run("history", "desk", cwd=project.parent).error, "a gateway run alone lives there"


def test_a_reader_that_goes_away_is_no_verdict(project: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "tunekeeper", "config", "show", "--dir", str(project)]
    with os.fdopen(write) as nobody:
        done = subprocess.run(words, env=environment(), stdout=nobody, stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_up_runs_once_asks_for_keys_and_is_cleared_away_after_a_kill(project: Path) -> None:
    words = ("up", "--dir", project, "--port", "0", "--json")
    first = Running(*words)
    url = first.event("ready")["url"]
    assert httpx.get(f"{url}/livez", timeout=60).status_code == 200
    assert httpx.get(f"{url}/v1/models", timeout=60).status_code == 401
    key = run("key", "create", "--dir", project, "--json").json["key"]
    assert httpx.get(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=60).json()["data"] == []
    twice = run(*words)
    assert (twice.code, twice.json["error"]["kind"]) == (4, "Busy")
    assert set(call("status", "--dir", project, "--json").json["running"]) >= {"supervisor", "worker", "gateway-w1", "keeper"}
    os.kill(first.process.pid, signal.SIGKILL)
    first.stop()
    left = set(call("status", "--dir", project, "--json").json["running"])
    assert "gateway-w1" in left, "who answers outlives who watches"
    again = Running(*words)
    assert again.event("ready")["url"] == url, "a restarted supervisor takes the door back"
    assert httpx.get(f"{url}/livez", timeout=60).status_code == 200
    assert again.stop(signal.SIGTERM) == 0
    third = Running(*words)
    third.event("ready")
    os.kill(third.process.pid, signal.SIGKILL)
    third.stop()
    assert {each["name"] for each in run("down", "--dir", project, "--json").json["stopped"]} >= {"gateway-w1", "worker"}
    assert call("status", "--dir", project, "--json").json["running"] == {}
