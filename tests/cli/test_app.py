"""The command tree as a whole: what every command promises."""

from __future__ import annotations

import importlib

import pytest

from tunekeeper.cli.app import COMMANDS
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
