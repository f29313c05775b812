"""The command tree as a whole: what every command promises."""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import subprocess
import sys

import pytest

from tunekeeper.cli.app import COMMANDS, main
from tunekeeper.cli.reference import commands

WITHOUT_DIR = {"init", "demo", "config schema", "train bases", "monitor prometheus", "deploy probe"}
"""Those that are told their folder as an argument, or need none."""


def test_every_entry_of_the_table_is_there():
    for name, (target, help) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        assert hasattr(importlib.import_module(module), attribute), name
        assert help.endswith("."), name


@pytest.mark.parametrize(("name", "command"), [pytest.param(name, each, id=name) for name, each in commands()])
def test_every_command_keeps_the_conventions(name, command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    assert "--dir" in options or name in WITHOUT_DIR
    assert f"Example: tunekeeper {name}" in (command.help or "")
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name} says nothing"


def test_help_is_printed_from_the_table(tell):
    told = tell("--help")
    assert told.code == 0
    for name, (_, help) in COMMANDS.items():
        assert f"  {name}" in told.out, name
        assert help in " ".join(told.out.split()), name


def test_a_bare_group_prints_its_help(tell):
    told = tell("config")
    assert told.code in (0, 2)
    assert "schema" in told.out + told.err


def test_a_mistyped_command_or_option_is_one_line_with_the_near_one(tell):
    told = tell("statsu")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("error: No such command 'statsu'. Did you mean 'status'")
    assert told.err.count("\n") == 1
    told = tell("status", "--jsn")
    assert told.code == 2
    assert "tunekeeper status --help" in told.err


def test_the_version_is_told(tell):
    assert tell("--version").out.startswith("tunekeeper 0.")


def test_a_command_begins_with_pythons_own_search_for_garbage_switched_on(tell, project):
    gc.disable()  # as it is while a process imports its command
    try:
        tell("config", "show")
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_an_argument_that_is_not_utf8_is_one_line_unless_it_names_a_file(tell, project, tmp_path):
    told = tell("route", "show", "caf\udce9", "--dir", project, "--json")
    assert told.code == 2
    assert told.json["error"] == {
        "kind": "UserError", "message": "argument 'caf\\udce9' is not UTF-8", "fix": "write it in UTF-8", "exit_code": 2,
    }  # fmt: skip
    (tmp_path / "caf\udce9.gguf").write_bytes(b"no model")
    told = tell("export", "inspect", tmp_path / "caf\udce9.gguf", "--json")
    assert (told.code, "caf\udce9.gguf" in told.json["error"]["message"]) == (2, True)


def test_a_folder_that_leads_to_itself_is_one_line(tell, project, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for words in (("status", "--dir", tmp_path / "loop"), ("route", "show", "m", "--data", tmp_path / "loop")):
        told = tell(*words, "--json")
        assert told.code == 2
        assert told.json["error"]["message"].endswith("loop': a link that leads to itself")
    assert tell("history", "support-desk", "--limit", "9" * 30, "--dir", project).code in (0, 2)


@pytest.mark.parametrize("code", ["ascii", "latin-1", "cp1252"])
def test_any_text_is_printed_where_output_is_not_utf8(project, code, monkeypatch):
    made = io.TextIOWrapper(io.BytesIO(), encoding=code)
    monkeypatch.setattr("sys.stdout", made)
    assert main(["status", "--dir", str(project)]) == 0
    (project / "models" / "support-desk.yaml").write_text("client: Zoë → 😀\n", "utf-8")
    made.truncate(0)
    made.seek(0)
    assert main(["config", "show", "--dir", str(project), "--json"]) == 0
    made.flush()
    said = json.loads(made.buffer.getvalue().strip(b"\0").decode("ascii"))
    assert "Zoë → 😀" in str(said)


@pytest.mark.parametrize(("closed", "code", "said"), [("2>&-", 2, b""), (">&-", 2, b""), ("<&- >&- 2>&-", 2, b"")])
def test_a_closed_output_leads_nowhere(tmp_path, closed, code, said):
    words = [sys.executable, "-m", "tunekeeper", "status", "--dir", str(tmp_path)]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *words], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (code, said)


def test_no_file_takes_the_place_of_a_device_or_a_pipe(tell, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = tell("monitor", "prometheus", "--out", pipe, "--json")
    assert (told.code, told.json["error"]["message"]) == (2, f"{pipe}: a device or a pipe, not a file")
    assert pipe.is_fifo()
