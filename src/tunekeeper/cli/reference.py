"""The generated reference: every command with its options, every configuration key with its default, two JSON schemas.

`python -m tunekeeper.cli.reference FOLDER` (which is `make docs`) writes the pages; a test compares them with the code.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunekeeper.cli.app import command
from tunekeeper.cli.groups import LazyGroup
from tunekeeper.config.project import ROOMS, SECTIONS, LogConfig, WorkerConfig
from tunekeeper.config.schema import field_docs, model_schema, project_schema
from tunekeeper.core.nouns.retraining import Model

NOTE = "Written by `make docs`; do not edit.\n"


def pages() -> dict[str, str]:
    """File name → text."""
    return {
        "cli.md": cli_page(),
        "config.md": config_page(),
        "tunekeeper.schema.json": json.dumps(project_schema(), indent=2, ensure_ascii=False) + "\n",
        "model.schema.json": json.dumps(model_schema(), indent=2, ensure_ascii=False) + "\n",
    }


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that can be run, with its full name, in the order of the table."""
    root = command()
    assert isinstance(root, LazyGroup)
    for name in root.list_commands(None):
        yield from _inside(name, root.get_command(None, name))


def _inside(name: str, found: Any) -> Iterator[tuple[str, Any]]:
    """A command itself, or those of a group at any depth."""
    inner = getattr(found, "commands", None)
    if not inner:
        yield name, found
        return
    for second, each in inner.items():
        yield from _inside(f"{name} {second}", each)


def cli_page() -> str:
    """The commands in Markdown."""
    parts = ["# Commands\n", NOTE]
    for name, each in commands():
        arguments = [parameter for parameter in each.params if parameter.param_type_name == "argument"]
        usage = " ".join(["tunekeeper", name, *(_argument(argument) for argument in arguments)])
        parts.append(f"## tunekeeper {name}\n")
        parts.append(_text(each.help) + "\n")
        parts.append(f"```\n{usage} [OPTIONS]\n```\n")
        rows = [f"| `{_argument(a)}` | {a.help} |" for a in arguments if getattr(a, "help", None)]
        rows += [f"| `{_option(o)}` | {o.help or ''}{_default(o)} |" for o in each.params if o.param_type_name == "option"]
        rows = [row for row in rows if "`--help`" not in row]
        if rows:
            parts.append("| | |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def config_page() -> str:
    """The configuration keys in Markdown."""
    parts = [
        "# Configuration\n",
        NOTE,
        "## tunekeeper.yaml\n",
        "`project`: name of the project; the folder's name when it is left out.\n",
    ]
    parts += [_section(name, SECTIONS.load(name)) for name in ("gateway", "notify")]
    parts += [_section("worker", WorkerConfig), _section("log", LogConfig)]
    parts.append("Each key can be set by a variable as well, e.g. `TUNEKEEPER_GATEWAY_PORT`.\n")
    parts.append("## models/NAME.yaml\n")
    docs = field_docs(Model)
    parts.append("\n".join(f"- `{'model' if name == 'name' else name}`: {docs[name]}" for name in docs) + "\n")
    parts += [_section(room, SECTIONS.load(room)) for room in ROOMS]
    return "\n".join(parts)


def _section(name: str, kind: type) -> str:
    rows = "\n".join(f"| `{key}` | `{default}` | {text} |" for key, default, text in _rows(kind, ""))
    first = (kind.__doc__ or "").strip().partition("\n")[0]
    return f"### {name}\n\n{first}\n\n| key | default | meaning |\n|---|---|---|\n{rows}\n"


def _rows(kind: type, prefix: str) -> Iterator[tuple[str, str, str]]:
    docs = field_docs(kind)
    for each in dataclasses.fields(kind):
        default = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            yield from _rows(type(default), f"{prefix}{each.name}.")
            continue
        shown = "required" if default is dataclasses.MISSING else _plain(default)
        yield f"{prefix}{each.name}", shown.replace("|", "\\|"), docs[each.name].replace("|", "\\|")


def _plain(value: Any) -> str:
    """A default as YAML writes it."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_plain(each) for each in value) + "]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "{" + ", ".join(f"{each.name}: {_plain(getattr(value, each.name))}" for each in dataclasses.fields(value)) + "}"
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value or '""'


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper().strip("[]").removesuffix("...")
    many = "…" if parameter.nargs != 1 else ""
    return f"{name}{many}" if parameter.required else f"[{name}{many}]"


def _option(parameter: Any) -> str:
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {parameter.metavar or _kind(parameter)}"


def _kind(parameter: Any) -> str:
    """What an option takes, in a word."""
    kinds = {"int": "INTEGER", "float": "NUMBER", "path": "PATH"}
    return kinds.get(parameter.type.name.split()[0], "TEXT")  # "int range" is a number too


def _default(parameter: Any) -> str:
    if parameter.required:
        return " Required."
    if parameter.default in (None, False, (), []) or callable(parameter.default):
        return ""
    return f" Default: `{parameter.default}`."


def _text(help: str | None) -> str:
    """A docstring as Markdown: its example as code."""
    lines = []
    for line in (help or "").strip().splitlines():
        word, colon, rest = line.strip().partition(": ")
        lines.append(f"Example: `{rest}`" if word == "Example" and colon else line.strip())
    return "\n".join(lines)


def main(folder: str) -> None:
    """Write the pages into `folder`."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (target / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
