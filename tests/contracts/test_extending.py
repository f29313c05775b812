"""The package that `docs/extending.md` shows is written out, installed, found by its names and run."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunekeeper.config import load_project
from tunekeeper.core.clock import ManualClock
from tunekeeper.engines import ENGINES
from tunekeeper.notify.outbox import deliver, queue
from tunekeeper.scoring import load_suite, scorer
from tunekeeper.workspace import create_workspace

BLOCK = re.compile(r"^```(?:python|toml|yaml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(repository: Path) -> dict[str, str]:
    """File name → text, of every block of the page that names its file in its first line."""
    return dict(BLOCK.findall((repository / "docs" / "extending.md").read_text("utf-8")))


@pytest.fixture
def package(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's files, and beside them the entry points as an installer writes them."""
    folder = tmp_path / "acme"
    for name, text in blocks(repository).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in each.items()) for group, each in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(points))
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.endswith("acme") or name.startswith("acme_")]:
        del sys.modules[name]


def test_the_page_shows_a_whole_package(repository: Path) -> None:
    shown = blocks(repository)
    assert len(shown) == 7
    assert (repository / "docs" / "extending.md").read_text("utf-8").count("```") == 2 * len(shown), "each block names its file"


def test_the_tests_on_the_page_pass(package: Path, tmp_path: Path) -> None:
    module = importlib.import_module("test_acme")
    found = {name: each for name, each in vars(module).items() if name.startswith("test_")}
    assert len(found) == 3
    for each in found.values():
        each(**({"tmp_path": tmp_path} if "tmp_path" in inspect.signature(each).parameters else {}))


def test_its_scorer_judges_a_suite_that_names_it(package: Path) -> None:
    suite = load_suite(package / "suites" / "core.yaml")
    judge = scorer(suite.scorers[0], **suite.scorer_options[suite.scorers[0]])
    assert judge.score("Thanks for asking.", suite.cases[0]) == (1.0, "says 'thanks'")


def test_its_notifier_gets_what_the_outbox_holds(package: Path) -> None:
    section = load_project(package).notify
    ws = create_workspace(package / "data", clock=ManualClock())
    (ws.root / "inbox").mkdir()
    with ws.state.write(by="test") as tx:
        queue(tx, kind="alert", subject="edit rate rises", id="alr_1")
    assert deliver(ws, section).delivered == 1
    assert [file.suffix for file in (ws.root / "inbox").iterdir()] == [".json"]


def test_its_engine_is_found_by_name(package: Path) -> None:
    assert ENGINES.load("acme")().health_path() == "/acme/alive"
