"""Counting request by request says the same as looking at all of them at once."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from tunekeeper.monitoring.tally import RECURS, Share, Spread, Words
from tunekeeper.text.vocabulary import words


def test_a_share_keeps_the_first_requests_and_counts_all() -> None:
    share = Share(2)
    for id in ("r1", "r2", "r3"):
        share.add(id)
    assert (share.hits, share.samples) == (3, ["r1", "r2"])


@pytest.mark.parametrize("count", [1, 5, 4000])
def test_a_spread_has_mean_tail_and_the_smallest_of_all_its_values(count: int) -> None:
    rng = random.Random(count)
    pairs = [(rng.choice([0.5, rng.random()]), f"r{number:05}") for number in range(count)]
    spread = Spread(3)
    for value, id in pairs:
        spread.add(value, id)
    values = sorted(value for value, _ in pairs)
    assert spread.lowest == [id for _, id in sorted(pairs)[:3]]
    assert spread.at(0.95) == values[min(count - 1, int(0.95 * count))]
    mean, half = spread.mean()
    assert mean == pytest.approx(sum(values) / count)
    assert half >= 0


def test_nothing_has_no_tail() -> None:
    assert Spread(3).at(0.95) is None


def test_new_terms_and_their_requests_are_those_of_a_count_over_all_texts_at_once() -> None:
    rng = random.Random(3)
    known = [f"known{letter}" for letter in "abcdefghij"]
    strange = [f"new{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    texts = [" ".join(rng.choices(known, k=5) + rng.choices(strange, k=rng.choice((0, 0, 0, 1, 2)))) for _ in range(60)]
    seen = Words({"vocabulary": dict.fromkeys(known, 7), "learned": ["newa"]})
    for text in texts:
        seen.add(text)
    unknown = [{word for word in words(text) if word not in {*known, "newa"}} for text in texts]
    counts = Counter(word for each in unknown for word in each)
    terms = {word for word, n in counts.items() if n >= RECURS}
    holding, top = seen.terms(5)
    assert 0 < len(terms) < len(counts), "some recur and some do not"
    assert holding == sum(bool(each & terms) for each in unknown)
    assert sorted(counts[word] for word in top) == sorted((counts[word] for word in terms), reverse=True)[:5][::-1]


def test_a_word_said_twice_by_one_request_has_not_recurred() -> None:
    seen = Words({"vocabulary": {"parcel": 3}})
    for text in ("refundbox refundbox refundbox parcel", "refundbox parcel"):
        seen.add(text)
    assert seen.terms(5) == (0, [])
    seen.add("a refundbox")
    assert seen.terms(5) == (3, ["refundbox"]), "the requests before the third one hold it too"


def test_a_distance_is_zero_of_the_same_words_grows_with_others_and_is_none_of_nothing() -> None:
    def distance(*texts: str) -> float:
        seen = Words({"vocabulary": {"red": 2, "blue": 2}})
        for text in texts:
            seen.add(text)
        found = seen.distance()
        assert found is not None
        return found

    assert distance("red blue", "blue red") == pytest.approx(0.0, abs=1e-9)
    assert 0 < distance("red red blue") < distance("red red red") < distance("green") == pytest.approx(1.0)
    assert Words({"vocabulary": {"red": 1}}).distance() is None
    assert math.isclose(distance("red blue 17"), 0.0, abs_tol=1e-9), "numbers are no words"
