"""Training without a project. That it makes a PEFT folder is seen from outside (tests/outside/test_train_and_export.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import tunekeeper
from tests.patience import PATIENCE, until
from tunekeeper.core.errors import Busy, DataError, UserError
from tunekeeper.jobs.config import Config
from tunekeeper.jobs.folder import read_json, started, take, write_json
from tunekeeper.store.ledgers.jobs import load_job, save_job
from tunekeeper.training import train_folder
from tunekeeper.workspace import create_workspace

from .conftest import BASE, chat_lines


def test_nothing_is_written_when_the_input_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")


@pytest.mark.real
def test_what_is_too_long_to_be_learned_is_counted(tmp_path: Path) -> None:
    lines = chat_lines(6)
    long = json.loads(lines[0])
    long["messages"][-1]["content"] += " and so on" * 200
    (tmp_path / "rows.jsonl").write_text("".join(lines) + json.dumps(long) + "\n")
    recipe = {"rank": 2, "epochs": 1, "batch": 6, "max_tokens": 256}
    done = train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out", recipe=recipe)
    assert (done["rows"], done["left_out"]) == (6, 1)
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def begin(folder: Path) -> subprocess.Popen[bytes]:
    words = ("--checkpoint", str(BASE), "--data", "rows.jsonl", "--out", "out", "--recipe", "long.yaml")
    return subprocess.Popen(
        [sys.executable, "-m", "tunekeeper", "train", "run", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(tunekeeper.__file__).parent.parent)},
    )


def is_held(folder: Path) -> bool:
    lock = take(folder)
    if lock is not None:
        os.close(lock)
    return lock is None


@pytest.mark.real
def test_a_killed_command_is_gone_on_with_and_one_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(chat_lines(4)))
    (tmp_path / "long.yaml").write_text("epochs: 1000\n")
    scratch = tmp_path / ".out-training"
    killed = begin(tmp_path)
    until(lambda: any(scratch.glob("workspace/work/job_*/child.json")))
    killed.kill()
    killed.communicate(timeout=PATIENCE)
    (named,) = scratch.glob("workspace/work/job_*/child.json")
    child = (read_json(named) or {})["pid"]
    assert started(child), "what it started goes on"
    again = begin(tmp_path)
    until(lambda: is_held(scratch))
    with pytest.raises(Busy, match="another training is about to write it"):
        train_folder(BASE, tmp_path / "rows.jsonl", tmp_path / "out")
    again.send_signal(signal.SIGTERM)
    _, said = again.communicate(timeout=PATIENCE)
    assert (again.returncode, said.decode().splitlines()[-1]) == (130, "interrupted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.yaml", "rows.jsonl"]
    until(lambda: not started(child))


@pytest.mark.real
def test_what_was_killed_too_often_goes_on_with_what_it_has_when_it_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(chat_lines(4)))
    (tmp_path / "long.yaml").write_text("epochs: 1000\n")
    scratch = tmp_path / ".out-training"
    first = begin(tmp_path)
    until(lambda: any(scratch.glob("workspace/work/job_*/child.json")))
    (folder,) = scratch.glob("workspace/work/job_*")
    first.kill()
    first.communicate(timeout=PATIENCE)
    for name in ("wrapper.json", "child.json"):
        os.kill((read_json(folder / name) or {})["pid"], signal.SIGKILL)
    until(lambda: not is_held(folder))
    ws = create_workspace(scratch / "workspace")
    with ws.state.write(by="test") as tx:  # as if it were the last attempt that one command makes
        save_job(tx, replace(load_job(tx, folder.name), attempt=Config().attempts))
    write_json(folder / "task.json", {**(read_json(folder / "task.json") or {}), "attempt": Config().attempts})
    (folder / "files" / "done.txt").write_text("so far")
    again = begin(tmp_path)
    until(lambda: again.poll() is not None or ((read_json(folder / "task.json") or {}).get("attempt") == 1 and is_held(folder)))
    assert again.poll() is None, (again.communicate()[1] or b"").decode()
    assert (folder / "files" / "done.txt").read_text() == "so far"
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=PATIENCE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.yaml", "rows.jsonl"]
