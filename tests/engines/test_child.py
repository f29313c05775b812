"""Supervised children: they hold their lock, live on without a parent, and choose another port when theirs is taken."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tunekeeper.core.errors import ConfigError
from tunekeeper.core.nouns.serving import Slot
from tunekeeper.engines import healthy, launch_command
from tunekeeper.engines.engine import lock_path


def start(command: list[str]) -> tuple[subprocess.Popen[bytes], dict[str, object]]:
    """A child and what it reported."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    line = child.stdout.readline()
    return child, json.loads(line) if line else {}


def end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


def is_held(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def wait_until(happened: object, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if happened():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def test_a_supervised_child_holds_its_lock_and_a_second_one_is_refused(tmp_path: Path) -> None:
    slot = Slot(id="desk-blue", model="desk", version="v1", engine="fake")
    command = launch_command(slot, tmp_path)
    assert command is not None
    child, report = start(command)
    try:
        assert is_held(lock_path(slot, tmp_path))
        assert json.loads(lock_path(slot, tmp_path).read_text()) == report
        assert report["pid"] == child.pid
        second = subprocess.run(command, capture_output=True, text=True, timeout=150)
        assert (second.returncode, "already serves this slot" in second.stderr) == (4, True)
    finally:
        end(child)
    assert not is_held(lock_path(slot, tmp_path))


@pytest.mark.parametrize("supervised", [True, False])
def test_without_its_parent_a_supervised_child_lives_on_and_another_ends(tmp_path: Path, supervised: bool) -> None:
    slot = Slot(id="s", model="m", engine="fake")
    command = launch_command(slot, tmp_path) or []
    if not supervised:
        command = command[: command.index("--lock")]
    script = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(60)"
    parent, report = start([sys.executable, "-c", script, *command])
    child, address = int(str(report["pid"])), str(report["listening"])
    assert healthy(address, engine="fake")

    parent.kill()
    parent.wait()

    if supervised:
        time.sleep(1.0)  # twice as long as another one needs to see it
        assert wait_until(lambda: healthy(address, engine="fake"))
        os.kill(child, signal.SIGKILL)
    else:
        assert wait_until(lambda: not healthy(address, engine="fake"))
    parent.communicate()


def test_a_parent_that_dies_while_a_server_loads_is_missed_all_the_same() -> None:
    loading = "import sys; from tunekeeper.engines import child; print('loading', flush=True); sys.stdin.read()"
    script = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"
    asked = [sys.executable, "-c", script, f"{loading}; child.stay(None, lambda: True, period=0.01)"]
    parent = subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "loading\n"
    parent.kill()
    parent.wait()
    parent.communicate(timeout=150)  # it has loaded, and ends: else its side of the pipe stays open


@pytest.mark.parametrize(
    ("main", "said"),
    [
        ("lambda: child.stay(None, lambda: False, period=0.001)", "the server stopped answering and was ended"),
        (
            "lambda: __import__('xllamacppp')",
            "the model server needs package xllamacppp, which is not installed (fix: pip install 'tunekeeper[local]')",
        ),
    ],
)
def test_why_a_server_ends_is_its_last_line(main: str, said: str) -> None:
    script = f"from tunekeeper.engines import child; child.run({main})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=150)
    assert (done.returncode, done.stderr.strip()) == (4, said)


def test_a_taken_port_is_refused_or_another_is_chosen(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        strict = [sys.executable, "-m", "tunekeeper.engines.fake_server", "--port", str(port)]
        done = subprocess.run(strict, capture_output=True, text=True, timeout=150)
        assert (done.returncode, f"port {port}" in done.stderr) == (4, True)

        slot = Slot(id="s", model="m", engine="fake", endpoint=f"http://127.0.0.1:{port}/v1")
        child, report = start(launch_command(slot, tmp_path) or [])
        end(child)

    assert report["listening"] != f"http://127.0.0.1:{port}"


def test_outside_servers_have_no_command_and_unknown_engines_are_named(tmp_path: Path) -> None:
    for engine in ("openai", "ollama", "vllm"):
        assert launch_command(Slot(id="s", model="m", engine=engine), tmp_path) is None
    with pytest.raises(ConfigError, match="'llamacp'"):
        launch_command(Slot(id="s", model="m", engine="llamacp"), tmp_path)


def test_the_command_of_llama_cpp_says_everything_the_slot_says(tmp_path: Path) -> None:
    for name in ("m.gguf", "a.gguf"):
        (tmp_path / name).write_bytes(b"")
    slot = Slot(
        id="desk-blue", model="desk", version="v1.0", engine="llamacpp", digest="sha256:1", adapter=0, api_key_env="KEY",
        files={"model": "m.gguf", "lora": "a.gguf"}, options={"parallel": 3, "context": 100, "threads": 2},
    )  # fmt: skip

    command = launch_command(slot, tmp_path) or []

    def given(option: str) -> str:
        return command[command.index(option) + 1]

    assert (given("--model"), given("--lora")) == (str(tmp_path / "m.gguf"), str(tmp_path / "a.gguf"))
    assert (given("--context"), given("--parallel"), given("--threads")) == ("300", "3", "2")
    assert (given("--alias"), given("--lora-digest"), given("--api-key-env")) == ("v1.0", "sha256:1", "KEY")
    assert {"--digest", "--mapped"}.isdisjoint(command), "the slot's digest is the adapter's, and of the base's it says nothing"
    assert given("--lock") == str(tmp_path / "run" / "engine-desk-blue.lock")


def test_an_adapter_beside_its_base_is_checked_with_it_and_a_whole_model_alone(tmp_path: Path) -> None:
    for name in ("m.gguf", "a.gguf"):
        (tmp_path / name).write_bytes(b"")
    whole = Slot(id="s", model="m", engine="llamacpp", digest="sha256:1", files={"model": "m.gguf"})
    beside = replace(whole, files=whole.files | {"lora": "a.gguf"}, options={"model_digest": "sha256:2", "mapped": True})

    command, other = launch_command(whole, tmp_path) or [], launch_command(beside, tmp_path) or []

    assert command[command.index("--digest") + 1] == "sha256:1"
    assert "--lora-digest" not in command
    assert (other[other.index("--digest") + 1], other[other.index("--lora-digest") + 1]) == ("sha256:2", "sha256:1")
    assert "--mapped" in other
