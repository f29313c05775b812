"""How far raters agree beyond chance: Cohen's kappa for two, Fleiss' for many, and the words Landis and Koch gave to the numbers.

Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20 (1960); Fleiss, "Measuring
nominal scale agreement among many raters", Psychological Bulletin 76 (1971); Landis and Koch, "The measurement of observer
agreement for categorical data", Biometrics 33 (1977), page 165.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two raters, -1 to 1. `pairs`: per item, what the first and what the second said.

    None without items, and where both always said the same one thing: chance alone would agree as well.
    """
    if not pairs:
        return None
    n = len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    # In whole numbers up to the last division, so that "always the same one thing" is seen exactly.
    chance = sum(count * second[name] for name, count in first.items())
    same = sum(a == b for a, b in pairs)
    return None if chance == n * n else (same * n - chance) / (n * n - chance)


def fleiss_kappa(table: Sequence[Sequence[Hashable]]) -> float | None:
    """Fleiss' kappa, at most 1. `table`: per item, what its raters said, as many for each item; who they are does not count.

    None without items, with fewer than two ratings an item, and where everybody always said the same one thing. Raises ValueError
    when items have different numbers of ratings.
    """
    if not table or len(table[0]) < 2:
        return None
    raters = len(table[0])
    if any(len(row) != raters for row in table):
        raise ValueError("every item needs the same number of ratings")
    items, total = len(table), len(table) * raters
    rows = [Counter(row) for row in table]
    overall = sum((Counter(row) for row in rows), Counter())
    chance = sum(count * count for count in overall.values())
    if chance == total * total:
        return None
    observed = sum(count * (count - 1) for row in rows for count in row.values()) / (items * raters * (raters - 1))
    expected = chance / (total * total)
    return (observed - expected) / (1 - expected)


def landis_koch(kappa: float) -> str:
    """The word for a kappa: poor, slight, fair, moderate, substantial or almost perfect."""
    if kappa < 0:
        return "poor"
    bounds = ((0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"))
    return next((word for bound, word in bounds if kappa <= bound), "almost perfect")
