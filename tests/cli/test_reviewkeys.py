from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from tunekeeper.cli.reviewkeys import KEYS, shown_keys
from tunekeeper.cli.reviewscreen import ReviewScreen


def test_every_key_of_the_table_does_something() -> None:
    assert [key.action for key in KEYS if not hasattr(ReviewScreen, f"action_{key.action}")] == []


def test_no_key_means_two_things_in_one_place() -> None:
    for a, b in combinations(KEYS, 2):
        if set(a.places) & set(b.places):
            assert not set(a.keys.split(",")) & set(b.keys.split(",")), (a.says, b.says)


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("answer", "a e r x s f l n → u ? q"),
        ("pair", "a b t s f l n → u ? q"),
        ("edit", "^S Esc"),
        ("empty", "u g ? q"),
    ],
)
def test_the_bottom_line_names_what_works_there(place: str, shown: str) -> None:
    assert " ".join(key.shown for key in shown_keys(place)) == shown  # type: ignore[arg-type]


def test_the_page_about_review_names_every_key(repository: Path) -> None:
    page = (repository / "docs" / "review.md").read_text()
    assert [key.shown for key in KEYS if f"`{key.shown}`" not in page] == []
