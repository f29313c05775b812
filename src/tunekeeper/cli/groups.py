"""The commands of a group: made when they are called, and what all of them refuse."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.models import TyperPath

from tunekeeper.cli import frame
from tunekeeper.core.errors import NotFound


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called; its help is printed from the table alone.

    `table`: name → (`module:attribute`, one line of help). The attribute is a Typer app, or a plain function (a single command).
    """

    table: dict[str, tuple[str, str]] = {}
    _wanted: str | None = None
    """The word behind the group's name."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.table:
            return None
        target, _ = self.table[cmd_name]
        return load_command(target, cmd_name, wanted=self._wanted)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.commands = cast(Any, dict.fromkeys(self.table))  # Typer suggests near names out of it
        self._wanted = args[1] if len(args) > 1 else None
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in self.table.items()])


def load_command(target: str, name: str, *, wanted: str | None = None) -> Any:
    """The command or group that `module:attribute` holds, ready to be invoked under `name`. `wanted`: the command of a group that
    is meant; where there is one of that name, the others are left out: making what parses thirty takes 40 ms."""
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        single = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        single.command(name)(found)
        found = single
        command = typer.main.get_command(found)
    else:
        command = typer.main.get_group(_alone(found, wanted))
    command.name = name
    _refuse_nonsense(command)
    return command


def _alone(group: typer.Typer, wanted: str | None) -> typer.Typer:
    """The group with the one command, or the one group, of that name; as it is where it has none."""
    commands = [each for each in group.registered_commands if each.name == wanted or _named(each.callback, each.name) == wanted]
    groups = [each for each in group.registered_groups if each.name == wanted]
    if wanted is None or len(commands) + len(groups) != 1:
        return group
    alone = copy.copy(group)
    alone.registered_commands, alone.registered_groups = commands, groups
    return alone


def _named(callback: Callable[..., Any] | None, name: str | None) -> str | None:
    """What Typer calls a command that was given no name."""
    return typer.main.get_command_name(callback.__name__) if name is None and callback is not None else name


class _Place(TyperPath):
    """A path, as Typer reads it, but for an empty one: Python takes that for the current folder, where a variable of a script was
    not set."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """`value` as a Path; an error that names the option where it is empty."""
        if value == "":
            self.fail("it is empty, and names no file or folder", param, ctx)
        return super().convert(value, param, ctx)


def _refuse_nonsense(command: Any) -> None:
    for inner in getattr(command, "commands", {}).values():
        _refuse_nonsense(inner)
    if any(param.name == "model" for param in command.params):
        command.callback = _naming_the_model(command.callback)
    for param in command.params:
        param.callback = param.callback or _sensible
        if isinstance(param.type, TyperPath):
            param.type = _Place(path_type=param.type.type)


def _naming_the_model(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The same command; where it does not find something of a model that the project does not have, that is what it says."""

    def run(**given: Any) -> Any:
        try:
            return verb(**given)
        except NotFound:
            dir, data = (given.get(name) for name in ("dir", "data"))  # words still: Typer makes paths of them in `verb`
            models = [given["model"]] if isinstance(given["model"], str) else given["model"] or _owners(given)
            for model in models:
                frame.refuse_unknown(model, Path(dir) if dir else None, Path(data) if data else None)
            raise

    return run


def _owners(given: dict[str, Any]) -> list[str]:
    """The models that the versions among the arguments name: `support-desk/d1`."""
    named = (given.get(name) for name in ("version", "a", "b"))
    return [each.partition("/")[0] for each in named if isinstance(each, str) and each.count("/") == 1]


def _sensible(ctx: Any, param: Any, value: Any) -> Any:
    """`value`; an error that names the option for a model without a name, and for a number that no bound holds (NaN)."""
    if param.name == "model" and value == "":
        raise typer.BadParameter("it is empty, and names no model", ctx=ctx, param=param)
    if isinstance(value, float) and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number", ctx=ctx, param=param)
    return value
