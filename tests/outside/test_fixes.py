"""What errors tell a user to type: each command exists, with every option that it asks for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from tests.outside.conftest import REPOSITORY
from tunekeeper.cli.app import command

SOURCE = REPOSITORY / "src" / "tunekeeper"
WORD = r"[\w.:/=@{}~-]+"
COMMAND = re.compile(rf"tunekeeper((?: (?!or\b|and\b|with\b|then\b|it\b)(?:{WORD}|'[^']*'|…))+)")


def written(node: ast.expr) -> str:
    """The text of an expression; what is put in at run time is a letter."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
    if isinstance(node, ast.BinOp):
        return written(node.left) + written(node.right)
    return ""


def fixes() -> Iterator[tuple[str, str]]:
    """Where a `fix=` stands, and each command in it."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "fix=" in text and "tunekeeper " in text else ():
            if isinstance(node, ast.keyword) and node.arg == "fix":
                for found in COMMAND.finditer(written(node.value)):
                    yield f"{path.relative_to(SOURCE)}:{node.value.lineno}", found[1].strip()


def missing(words: list[str]) -> str | None:
    """What is wrong with the words behind `tunekeeper`; None when nothing is."""
    here: Any = command()
    while hasattr(here, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0).rstrip(",;:.")
        found = here.get_command(None, name)
        if found is None:
            return f"no command {name!r}"
        here = found
    if hasattr(here, "commands"):
        return None if "--help" in words else "a group, not a command"
    options = {name: each for each in here.params for name in each.opts}
    for word in words:
        if word.startswith("--") and word != "--help" and word not in options:
            return f"no option {word}"
    asked = {each.opts[0] for each in here.params if each.param_type_name == "option" and each.required}
    return f"without {' '.join(sorted(asked - set(words)))}" if asked - set(words) else None


def test_every_command_that_an_error_names_can_be_typed() -> None:
    known = list(fixes())
    assert len(known) > 90
    assert [f"{place}: tunekeeper {said}: {why}" for place, said in known if (why := missing(said.split()))] == []
