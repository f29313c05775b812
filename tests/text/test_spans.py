"""What was found of several kinds, put together in order and without overlaps."""

from __future__ import annotations

from tunekeeper.text.spans import merge, with_unread


def test_what_was_taken_first_stays_and_the_rest_is_put_between() -> None:
    taken = [(5, 9, "key"), (20, 24, "email")]
    assert merge(taken, [(0, 3), (8, 12), (12, 15), (24, 30)], "phone") == [
        (0, 3, "phone"), (5, 9, "key"), (12, 15, "phone"), (20, 24, "email"), (24, 30, "phone"),
    ]  # fmt: skip
    assert merge([], [(4, 6), (0, 2)], "ip") == [(0, 2, "ip"), (4, 6, "ip")]


def test_what_was_not_looked_through_covers_whatever_it_touches() -> None:
    assert with_unread([(0, 4, "ip"), (10, 14, "ip")], [(3, 8)]) == [(0, 8, "unread"), (10, 14, "ip")]
