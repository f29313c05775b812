"""A file imports from its own room or from a lower layer; stages are strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.source import LAYERS, PACKAGE, Source, planted


def breaches(files: list[Source]) -> tuple[list[str], int]:
    """What is wrong, and how many imports of ours were looked at."""
    wrong, looked = [], 0
    for source in files:
        if source.room == "__init__":
            continue
        if source.room not in LAYERS:
            wrong.append(f"{source.module}: {source.room} stands in no layer")
            continue
        for each in source.imports:
            parts = each.full().split(".")
            if parts[0] != PACKAGE or len(parts) < 2 or parts[1] == source.room or parts[1].startswith("__"):
                continue
            looked += 1
            if parts[1] not in LAYERS:
                wrong.append(f"{source.module}:{each.line}: {parts[1]} stands in no layer")
            elif LAYERS[parts[1]] >= LAYERS[source.room]:
                wrong.append(f"{source.module}:{each.line}: {source.room} imports {parts[1]}")
    return wrong, looked


def test_every_import_goes_down(ours):
    wrong, looked = breaches(ours)
    assert wrong == []
    assert looked > 300


@pytest.mark.parametrize(
    "text",
    [
        "from tunekeeper.training import config\n",
        "import tunekeeper.training.config\n",
        "from tunekeeper import training\n",
        "def late() -> None:\n    from tunekeeper.training.config import Config\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tunekeeper.training.config import Config\n",
        "from ..training import config\n",
        "from ..training.config import *\n",
        "import importlib\nimportlib.import_module('tunekeeper.training.config')\n",
        "from tunekeeper.retraining import worker\n",
        "from tunekeeper.attic import old\n",
    ],
)
def test_a_breach_is_found_however_it_is_written(tmp_path: Path, text: str):
    wrong, _ = breaches(planted(tmp_path, {"__init__.py": "", "data/__init__.py": "", "data/checks.py": text}))
    assert len(wrong) == 1


def test_a_room_that_stands_in_no_layer_is_found(tmp_path: Path):
    assert breaches(planted(tmp_path, {"utils/text.py": "x = 1\n"}))[0] == ["tunekeeper.utils.text: utils stands in no layer"]


def test_what_is_allowed_is_not_a_breach(tmp_path: Path):
    text = "import json\nfrom tunekeeper.core import ids\nfrom tunekeeper.data import config\nfrom . import config\n"
    assert breaches(planted(tmp_path, {"data/checks.py": text})) == ([], 1)
