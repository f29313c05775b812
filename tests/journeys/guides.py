"""T57: every parser by its name, with what it begins with, as our own fuzzer and atheris run it."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.journeys import test_t57_imports as imports
from tests.journeys import test_t57_parsers as parsers
from tests.journeys import test_t57_written as written

Target = Callable[[bytes, random.Random], None]
Begun = tuple[Target, list[bytes]]


def _parser(name: str, folder: Path) -> Begun:
    target, corpus, _ = parsers.TARGETS[name]
    return target or parsers.MADE[name](folder), corpus


def _written(name: str, folder: Path) -> Begun:
    make, corpus, _ = written.TARGETS[name]
    return make(folder), corpus


def _imported(ending: str, folder: Path) -> Begun:
    return imports.Import(ending, folder), imports.FILES[ending][0]


GUIDED: dict[str, Callable[[Path], Begun]] = {
    **{name: partial(_parser, name) for name in parsers.TARGETS},
    **{name: partial(_written, name) for name in written.TARGETS},
    **{f"import-{ending}": partial(_imported, ending) for ending in imports.FILES},
}
"""Name → what makes the parser in a folder."""
