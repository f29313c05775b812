"""No file needs one that needs it: whoever reads it, or takes it away, has an end in sight.

What stands below `if TYPE_CHECKING` only describes what a file is handed, and is looked at elsewhere. A room's face, its
`__init__.py`, hands on what others made, and is no file of this kind.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.house.source import Source, planted


def needs(files: list[Source]) -> dict[str, set[str]]:
    """File → files that it imports, wherever in it that is."""
    known = {each.module for each in files if each.path.name != "__init__.py"}
    found: dict[str, set[str]] = {}
    for source in files:
        if source.module in known:
            taken = (name for each in source.imports if not each.typed for name in (each.full(), each.module))
            found[source.module] = {name for name in taken if name in known and name != source.module}
    return found


def circle(files: list[Source]) -> list[str]:
    """Files that need each other in a ring, the first one again at its end; empty where there is none."""
    try:
        TopologicalSorter(needs(files)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_file_needs_one_that_needs_it(ours):
    assert circle(ours) == []
    assert sum(map(len, needs(ours).values())) > 1000


def test_a_circle_is_found_however_it_is_written(tmp_path: Path):
    top, late = "from tunekeeper.data.b import x\n", "def f():\n    from tunekeeper.data import a\n"
    found = circle(planted(tmp_path, {"data/__init__.py": "", "data/a.py": top, "data/b.py": late}))
    assert set(found) == {"tunekeeper.data.a", "tunekeeper.data.b"}


def test_what_only_describes_makes_no_circle(tmp_path: Path):
    described = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tunekeeper.data.a import y\n"
    files = {"data/__init__.py": "", "data/a.py": "from tunekeeper.data.b import x\n", "data/b.py": described}
    assert circle(planted(tmp_path, files)) == []
