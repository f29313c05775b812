"""Each ledger is written by one room, and its writers are imported in one way only, so that this can be seen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.source import Source, planted

LEDGERS = "tunekeeper.store.ledgers"
WRITES = ("save_", "append_")


def writers(files: list[Source]) -> dict[str, str]:
    """Ledger → the room its file names."""
    found = {}
    for source in files:
        name = source.module.removeprefix(LEDGERS + ".")
        if source.module.startswith(LEDGERS + "."):
            for node in source.tree.body:
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WRITER":
                    assert isinstance(node.value, ast.Constant)
                    found[name] = str(node.value.value)
    return found


def breaches(files: list[Source]) -> tuple[list[str], set[str]]:
    """What is wrong, and the ledgers for which a write by their room was seen."""
    owners, wrong, written = writers(files), [], set()
    for source in files:
        if source.room == "store":
            continue
        for each in source.imports:
            if not each.full().startswith(LEDGERS):
                continue
            place = f"{source.module}:{each.line}"
            ledger = each.module.removeprefix(LEDGERS).removeprefix(".")
            if each.name is None or each.name == "*" or not ledger:
                wrong.append(f"{place}: {each.full()} is bound as a name; import the functions")
            elif each.name.startswith(WRITES):
                written.add(ledger)
                if owners.get(ledger) != source.room:
                    wrong.append(f"{place}: {source.room} writes {ledger}, which {owners.get(ledger)} owns")
    return wrong, written


def test_each_ledger_is_written_by_its_room_and_by_nobody_else(ours):
    wrong, written = breaches(ours)
    assert wrong == []
    assert len(written) > 15


def test_every_ledger_names_its_writer_and_is_written(ours):
    files = [source for source in ours if source.module.startswith(LEDGERS + ".")]
    named = writers(ours)
    assert {source.module.rpartition(".")[2] for source in files} == set(named)
    assert set(named) - breaches(ours)[1] == set(), "a ledger that nobody writes"


LEDGER = 'WRITER = "rollout"\ndef save_route(tx, route): ...\ndef load_route(tx, id): ...\n'


@pytest.mark.parametrize(
    "text",
    [
        "from tunekeeper.store.ledgers.routes import save_route\n",
        "from tunekeeper.store.ledgers import routes\n",
        "import tunekeeper.store.ledgers.routes as r\n",
        "from tunekeeper.store.ledgers.routes import *\n",
        "def late():\n    from tunekeeper.store.ledgers.routes import save_route as read\n",
        "import importlib\nimportlib.import_module('tunekeeper.store.ledgers.routes')\n",
    ],
)
def test_a_foreign_write_is_found_however_it_is_written(tmp_path: Path, text: str):
    wrong, _ = breaches(planted(tmp_path, {"store/ledgers/routes.py": LEDGER, "monitoring/rules.py": text}))
    assert len(wrong) == 1


def test_the_owner_writes_and_others_read(tmp_path: Path):
    files = {
        "store/ledgers/routes.py": LEDGER,
        "rollout/moves.py": "from tunekeeper.store.ledgers.routes import save_route\n",
        "monitoring/rules.py": "from tunekeeper.store.ledgers.routes import load_route\n",
    }
    assert breaches(planted(tmp_path, files)) == ([], {"routes"})


def test_a_ledger_that_nobody_writes_is_seen(tmp_path: Path):
    files = planted(tmp_path, {"store/ledgers/routes.py": LEDGER})
    assert set(writers(files)) - breaches(files)[1] == {"routes"}
