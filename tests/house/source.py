"""The source as the house tests read it: files, rooms, and every import however it is written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "tunekeeper"
LAYERS = {
    **dict.fromkeys(("core", "stats"), 0),
    "store": 1,
    "workspace": 2,
    **dict.fromkeys(("jobs", "engines", "text", "scoring", "notify"), 3),
    **dict.fromkeys(("data", "training", "evaluation", "deployment", "rollout", "gateway", "monitoring"), 4),
    **dict.fromkeys(("config", "overview", "provenance"), 5),
    **dict.fromkeys(("retraining", "processes", "testing"), 6),
    "demo": 7,
    **dict.fromkeys(("cli", "console"), 8),
    "__main__": 9,
}
"""Room, or file of the top level → its layer; a room imports itself and lower layers only."""


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a file takes from a module."""

    module: str
    """Absolute dotted name."""
    name: str | None
    """What is taken from it; None for the module itself, `*` for everything."""
    line: int
    """Where."""
    typed: bool = False
    """Whether it only describes: it stands below `if TYPE_CHECKING`."""

    def full(self) -> str:
        """Dotted name of what is taken."""
        return self.module if self.name in (None, "*") else f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: Path
    """Where it lies."""
    module: str
    """Its dotted name."""

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """The first part of its name below the package."""
        parts = self.module.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    @cached_property
    def imports(self) -> list[Import]:
        """Every import: at the top, inside functions, for types only, relative, and by name through importlib."""
        return list(_imports(self.tree, self.module, self.path.name == "__init__.py"))


def sources(root: Path, package: str = PACKAGE) -> list[Source]:
    """Every file of `package` under `root` (a `src` folder)."""
    found = []
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found.append(Source(path=path, module=".".join(parts[:-1] if parts[-1] == "__init__" else parts)))
    return found


def planted(root: Path, files: dict[str, str]) -> list[Source]:
    """A package of our name made of `files` (path below it → text), for breaches that a guard must find."""
    for name, text in files.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return sources(root)


def _imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[Import]:
    described = {id(each) for node in ast.walk(tree) if _describes(node) for each in ast.walk(node)}
    for node in ast.walk(tree):
        typed = id(node) in described
        if isinstance(node, ast.Import):
            yield from (Import(each.name, None, node.lineno, typed) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            yield from (Import(base, each.name, node.lineno, typed) for each in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield Import(first.value, None, node.lineno, typed)


def _describes(node: ast.AST) -> bool:
    test = node.test if isinstance(node, ast.If) else None
    return isinstance(test, ast.Name | ast.Attribute) and ast.unparse(test).endswith("TYPE_CHECKING")


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
