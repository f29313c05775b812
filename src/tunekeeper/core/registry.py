"""Implementations by name: the built-in ones stand in a table, entry points are scanned only for a name not in it.

Scanning entry points costs 66 ms, importing an implementation may cost seconds: both happen on first use of that name.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from tunekeeper.core.errors import ConfigError


class Registry:
    """One seam's implementations: name → `module:attribute`."""

    def __init__(self, seam: str, builtin: dict[str, str]) -> None:
        """`seam`: the entry-point group is `tunekeeper.<seam>`. `builtin`: name → `module:attribute`."""
        self.seam = seam
        self.builtin = dict(builtin)

    def names(self) -> list[str]:
        """The built-in names, sorted."""
        return sorted(self.builtin)

    def load(self, name: str) -> Any:
        """The implementation called `name`. Raises ConfigError naming the nearest known one."""
        target = self.builtin.get(name)
        if target is None:
            return self._outside(name)
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def _outside(self, name: str) -> Any:
        from importlib.metadata import entry_points

        for point in entry_points(group=f"tunekeeper.{self.seam}", name=name):
            try:
                return point.load()
            except (ImportError, AttributeError) as error:
                why = f"the {self.seam} {name!r} cannot be loaded from {point.value}: {error}"
                raise ConfigError(why, fix="reinstall the package that brings it") from error
        near = difflib.get_close_matches(name, self.builtin, 1)
        fix = f"write {near[0]!r}" if near else "write one of these, or install the package that brings it"
        raise ConfigError(f"no {self.seam} is called {name!r}; known: {', '.join(self.names())}", fix=fix)
