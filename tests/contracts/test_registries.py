"""Every registered implementation is tried, and one from elsewhere is found by its name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.contracts import examples
from tunekeeper.core.errors import ConfigError
from tunekeeper.core.registry import Registry
from tunekeeper.engines import ENGINES, healthy
from tunekeeper.notify.notifier import NOTIFIERS
from tunekeeper.scoring import SCORERS, scorer
from tunekeeper.text.names import DETECTORS

SEAMS = {"engine": ENGINES, "names": DETECTORS, "notifier": NOTIFIERS, "scorer": SCORERS}
TRIED = {"engine": examples.ENGINES, "scorer": examples.SCORERS}
"""Seam → what is tried of it; notifiers are tried one by one in `test_notifiers`, names in `test_names`."""
TABLES = {"jobs", "section", "limits", "trainer"}
"""Tables of our own parts: nothing from elsewhere is meant to stand in them."""


@pytest.mark.parametrize("seam", TRIED)
def test_every_built_in_implementation_is_tried(seam: str) -> None:
    assert examples.uncovered(SEAMS[seam], TRIED[seam]) == []
    assert len(SEAMS[seam].names()) >= 3


def test_an_implementation_that_nobody_tries_is_seen() -> None:
    more = Registry("scorer", {**SCORERS.builtin, "new": "somewhere:New"})
    assert examples.uncovered(more, examples.SCORERS) == ["new is registered and not tried"]
    assert examples.uncovered(SCORERS, {**examples.SCORERS, "old": []}) == ["old is tried and not registered"]


def test_no_seam_is_without_a_check(repository: Path) -> None:
    written = [path.read_text("utf-8") for path in (repository / "src" / "tunekeeper").rglob("*.py")]
    named = {name for text in written for name in re.findall(r'\bRegistry\(\s*"(\w+)"', text)}
    assert named - TABLES == set(SEAMS)
    assert named >= TABLES


@pytest.mark.parametrize("seam", SEAMS)
def test_every_built_in_name_leads_to_something(seam: str) -> None:
    assert all(callable(SEAMS[seam].load(name)) for name in SEAMS[seam].names())


MODULE = """\
class Shouting:
    def __init__(self, letter: str = "!") -> None:
        self.letter = letter
    def applies(self, case):
        return True
    def score(self, answer, case):
        return float(self.letter not in answer), "as loud as it is"
class Elsewhere:
    def health_path(self):
        return "/"
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with two entry points, as an installer leaves it."""
    site = tmp_path / "site"
    info = site / "shouting-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "shouting_scorer.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    points = "[tunekeeper.scorer]\nshouting = shouting_scorer:Shouting\nexact = shouting_scorer:Shouting\n"
    points += "broken = shouting_scorer:Gone\n"
    (info / "entry_points.txt").write_text(points + "[tunekeeper.engine]\nelsewhere = shouting_scorer:Elsewhere\n")
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("shouting_scorer", None)


@pytest.mark.usefixtures("installed")
def test_an_installed_package_is_found_by_the_name_of_its_entry_point() -> None:
    found = scorer("shouting", letter="?")
    assert found.score("what?", examples.CASE) == (0.0, "as loud as it is")
    with pytest.raises(ConfigError, match="scorer shouting has no option 'letters'; it has: letter"):
        scorer("shouting", letters="?")
    assert not healthy("http://127.0.0.1:9", engine="elsewhere")


@pytest.mark.usefixtures("installed")
def test_an_installed_package_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(ConfigError, match="the scorer 'broken' cannot be loaded from shouting_scorer:Gone"):
        scorer("broken")


@pytest.mark.usefixtures("installed")
def test_a_name_is_of_one_seam_and_ours_cannot_be_taken() -> None:
    assert type(scorer("exact")).__module__ == "tunekeeper.scoring.scorers"
    with pytest.raises(ConfigError, match="no notifier is called 'shouting'"):
        NOTIFIERS.load("shouting")


@pytest.mark.parametrize(
    ("seam", "wrong", "near"),
    [("scorer", "exactt", "exact"), ("engine", "olama", "ollama"), ("notifier", "weebhook", "webhook")],
)
def test_a_name_that_nobody_has_is_answered_with_the_nearest(seam: str, wrong: str, near: str) -> None:
    known = ", ".join(SEAMS[seam].names())
    with pytest.raises(ConfigError) as caught:
        SEAMS[seam].load(wrong)
    assert str(caught.value) == f"no {seam} is called {wrong!r}; known: {known} (fix: write {near!r})"


def test_a_name_that_is_near_none_is_answered_with_what_can_be_done() -> None:
    with pytest.raises(ConfigError, match="fix: write one of these, or install the package that brings it"):
        SEAMS["scorer"].load("zzzzzzzz")
