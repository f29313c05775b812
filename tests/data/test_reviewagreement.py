from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.nouns.data import Opinion, ReviewItem
from tunekeeper.data.reviewagreement import Agreement, agreement


def item(place: int, said: dict[str, Any], **fields: Any) -> ReviewItem:
    opinions = tuple(Opinion(by=by, verdict=verdict) for by, verdict in said.items())
    return ReviewItem(id=f"rev_{place}", model="desk", request_id="", why="sample", opinions=opinions, **fields)


def test_two_reviewers_agree_as_far_as_cohen_says() -> None:
    table = [("good", "good")] * 20 + [("good", "bad")] * 5 + [("bad", "good")] * 10 + [("bad", "bad")] * 15
    items = [item(i, {"bob": b, "ana": a}) for i, (a, b) in enumerate(table)]
    found = agreement(items)
    assert found.pairs["ana, bob"].kappa == pytest.approx(0.4)
    assert (found.pairs["ana, bob"].items, found.pairs["ana, bob"].same, found.pairs["ana, bob"].words) == (50, 0.7, "fair")
    assert found.overall["answer"].kappa == pytest.approx(0.3939, abs=1e-4)


def test_pairs_are_counted_apart_and_single_opinions_not_at_all() -> None:
    items = [item(i, {"a": "first", "b": "first", "c": "second"}, kind="pair") for i in range(4)]
    items += [item(9, {"a": "good"}), item(10, {"a": "good", "b": "bad"}, wants=2)]
    found = agreement(items)
    assert set(found.overall) == {"answer", "pair"}
    assert (found.overall["pair"].items, found.overall["pair"].same) == (4, 0.0)
    assert found.disputed == ("rev_10",)


def test_where_all_always_said_the_same_there_is_no_kappa() -> None:
    found = agreement([item(i, {"a": "good", "b": "good"}) for i in range(5)])
    assert (found.overall["answer"].kappa, found.overall["answer"].same) == (None, 1.0)
    assert found.overall["answer"].words == "inconclusive"
    assert agreement([]) == Agreement()


@pytest.mark.parametrize(("items", "words"), [(2, "inconclusive"), (8, "inconclusive"), (10, "almost perfect")])
def test_a_kappa_of_a_few_items_is_told_and_called_nothing(items: int, words: str) -> None:
    found = agreement([item(i, dict.fromkeys(("a", "b"), "good" if i % 2 else "bad")) for i in range(items)])
    assert (found.overall["answer"].kappa, found.overall["answer"].words) == (1.0, words)
    assert found.pairs["a, b"].words == words


def test_a_third_opinion_that_settles_a_dispute_does_not_make_the_first_two_agree() -> None:
    table = [("good", "good")] * 20 + [("good", "bad")] * 5 + [("bad", "good")] * 10 + [("bad", "bad")] * 15
    said = [{"bob": b, "ana": a} | ({} if a == b else {"cem": a}) for a, b in table]
    found = agreement([item(i, each, state="done", wants=len(each)) for i, each in enumerate(said)])
    assert (found.overall["answer"].items, found.overall["answer"].same) == (50, 0.7)
    assert found.overall["answer"].kappa == pytest.approx(0.3939, abs=1e-4)
    assert list(found.pairs) == ["ana, bob"]


def test_items_that_still_wait_for_what_was_asked_for_do_not_count_yet() -> None:
    done = [item(i, {"a": "good", "b": "good", "c": "bad"}, state="done", wants=3) for i in range(4)]
    waiting = [item(i, {"a": "good", "b": "bad"}, wants=3) for i in range(4, 9)]
    assert agreement([*done, *waiting]).overall["answer"].items == 4
    assert agreement(waiting).overall["answer"].items == 5, "nothing is finished: what is there counts"
