"""The contract of name finders, kept by the built-in one and seen to be broken by bad ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tunekeeper.testing.contracts import check_name_finder
from tunekeeper.text.names import DETECTORS

NAME = "Ana Lund"


class Finder:
    """A finder that is told what to give."""

    def __init__(self, give: Callable[[str], Sequence[tuple[int, int]]]) -> None:
        self.find = give


def right(text: str) -> list[tuple[int, int]]:
    places = [i for i in range(len(text)) if text.startswith(NAME, i)]
    return [(i, i + len(NAME)) for i in places]


def test_a_list_of_names_keeps_the_contract(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(f"{NAME}\nBo Berg\n", "utf-8")
    check_name_finder(DETECTORS.load("list"), tmp_path, name=NAME, options={"file": "names.txt"})


def test_a_finder_that_keeps_the_contract_passes(tmp_path: Path) -> None:
    check_name_finder(lambda root: Finder(right), tmp_path, name=NAME)


@pytest.mark.parametrize(
    ("give", "promise"),
    [
        (lambda text: [], "did not find"),
        (lambda text: [(0, len(text) + 1)], "no piece of the text"),
        (lambda text: [(3, 3)], "no piece of the text"),
        (lambda text: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_a_broken_promise_is_named(tmp_path: Path, give: Callable[[str], Sequence[tuple[int, int]]], promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_name_finder(lambda root: Finder(give), tmp_path, name=NAME)


def test_chance_and_unknown_options_are_seen(tmp_path: Path) -> None:
    turns = iter(range(1000))
    with pytest.raises(AssertionError, match="the second time"):
        check_name_finder(lambda root: Finder(lambda text: right(text) + [(0, 1)] * (next(turns) % 2)), tmp_path, name=NAME)
    with pytest.raises(AssertionError, match="let pass"):
        check_name_finder(lambda root, **options: Finder(right), tmp_path, name=NAME)
