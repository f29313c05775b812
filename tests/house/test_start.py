"""What each process loads at its start, and the command line to say hello."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "fastapi", "pydantic", "ray", "scipy.stats")
STORES = ("sqlalchemy", "alembic", "duckdb", "pyarrow")
LIGHT = {
    "tunekeeper.cli.app": (*HEAVY, *STORES, "rich", "yaml", "msgspec", "numpy", "importlib.metadata"),
    "tunekeeper.gateway.main": (*HEAVY, *STORES, "typer", "yaml", "numpy"),
    "tunekeeper.gateway.worker": (*HEAVY, *STORES, "typer", "yaml", "numpy"),
    "tunekeeper.store.published": (*HEAVY, *STORES, "typer"),
    "tunekeeper.processes.plans": (*HEAVY, *STORES, "typer", "yaml", "msgspec", "sqlite3"),
    "tunekeeper.processes.warm": (*HEAVY, *STORES, "typer", "yaml", "msgspec", "sqlite3"),
    "tunekeeper.processes.seeded": (*HEAVY, *STORES, "typer", "yaml", "msgspec", "sqlite3"),
    "tunekeeper.processes.door": (*HEAVY, *STORES, "typer"),
    "tunekeeper.store.snapshot": (*HEAVY, *STORES, "typer", "yaml", "msgspec"),
    "tunekeeper.retraining.worker": (*HEAVY, "typer", "xllamacpp", "gguf", "rich"),
    "tunekeeper.training.job": (*STORES, "msgspec", "typer", "yaml", "httpx"),
    "tunekeeper.workspace": (*HEAVY, *STORES, "msgspec"),
    "tunekeeper.store.database": (*HEAVY, *STORES, "typer", "yaml", "numpy"),
}
"""Module that a process starts with → what it must not have loaded by then."""


def loaded(module: str) -> set[str]:
    """Names of the modules in memory after `module` was imported in a fresh process."""
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=True)
    return set(json.loads(answer.stdout))


@pytest.mark.parametrize("module", LIGHT)
def test_a_process_starts_without_what_it_does_not_need(module: str):
    found = loaded(module)
    assert module in found
    assert found & set(LIGHT[module]) == set()


def test_the_look_would_see_a_heavy_import():
    assert "sqlalchemy" in loaded("tunekeeper.store.alchemy")


def test_help_is_there_at_once():
    code = "import sys; from tunekeeper.cli.app import main; main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=True)
    assert "demo" in answer.stdout
    # What takes long is loading: without it help takes three tenths of a second.
    assert set(ast.literal_eval(answer.stderr)) & {*HEAVY, *STORES, "yaml", "msgspec", "numpy"} == set()
