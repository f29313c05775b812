from __future__ import annotations

import pytest

from tunekeeper.stats.agreement import cohen_kappa, fleiss_kappa, landis_koch

# Fleiss (1971), the table that textbooks repeat: 10 subjects, 14 raters, 5 categories; kappa 0.210.
FLEISS = [
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
]


def pairs(*cells: tuple[str, str, int]) -> list[tuple[str, str]]:
    return [(a, b) for a, b, count in cells for _ in range(count)]


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # 50 applications for a grant: 20 both yes, 15 both no, 5 and 10 apart: (0.7 - 0.5) / (1 - 0.5)
        (pairs(("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15)), 0.4),
        # The two tables with equal agreement and unequal marginals by which kappa is usually taught.
        (pairs(("yes", "yes", 45), ("yes", "no", 15), ("no", "yes", 25), ("no", "no", 15)), 0.1304),
        (pairs(("yes", "yes", 25), ("yes", "no", 35), ("no", "yes", 5), ("no", "no", 35)), 0.2593),
    ],
)
def test_cohens_kappa_is_that_of_published_tables(table: list[tuple[str, str]], kappa: float) -> None:
    assert cohen_kappa(table) == pytest.approx(kappa, abs=5e-5)


def test_fleiss_kappa_is_that_of_the_published_table() -> None:
    table = [[name for name, count in zip("abcde", row, strict=True) for _ in range(count)] for row in FLEISS]
    assert fleiss_kappa(table) == pytest.approx(0.210, abs=5e-4)


def test_full_agreement_is_one_and_full_contradiction_is_minus_one() -> None:
    assert cohen_kappa([("a", "a"), ("b", "b")]) == 1.0
    assert cohen_kappa([("a", "b"), ("b", "a")]) == -1.0
    assert fleiss_kappa([("a", "a", "a"), ("b", "b", "b")]) == 1.0
    assert fleiss_kappa([("a", "b"), ("b", "a")]) == -1.0


def test_where_there_is_nothing_to_tell_there_is_no_kappa() -> None:
    assert cohen_kappa([]) is None
    assert cohen_kappa([("a", "a")] * 9) is None
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([("a",), ("b",)]) is None
    assert fleiss_kappa([("a", "a"), ("a", "a")]) is None
    assert cohen_kappa([("a", "b")] * 4) == 0.0  # each always another one: as much agreement as chance gives


def test_items_with_unequal_numbers_of_ratings_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of ratings"):
        fleiss_kappa([("a", "a"), ("a",)])


@pytest.mark.parametrize(
    ("kappa", "words"),
    [(-0.1, "poor"), (0.0, "slight"), (0.2, "slight"), (0.21, "fair"), (0.41, "moderate"), (0.8, "substantial"),
     (0.81, "almost perfect"), (1.0, "almost perfect")],
)  # fmt: skip
def test_the_words_are_those_of_landis_and_koch(kappa: float, words: str) -> None:
    assert landis_koch(kappa) == words
