from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekeeper.core.errors import UserError
from tunekeeper.rollout.buckets import BUCKETS, FULL, owner, reallocate, weight

SLOTS = ("b", "c", "d")
weights = st.fixed_dictionaries({slot: st.integers(0, 3_000) for slot in SLOTS})


def test_everything_belongs_to_the_champion_at_first() -> None:
    assert reallocate({}, {}, "a") == {"a": FULL}


def test_a_slot_gets_exactly_its_weight_and_the_champion_the_rest() -> None:
    made = reallocate({"a": FULL}, {"b": 500}, "a")
    assert (weight(made["b"]), weight(made["a"])) == (500, 9_500)


@settings(max_examples=40)
@given(first=weights, second=weights)
def test_every_bucket_has_one_owner_whatever_the_weights(first: dict[str, int], second: dict[str, int]) -> None:
    made = reallocate(reallocate({}, first, "a"), second, "a")
    covered = sorted(piece for ranges in made.values() for piece in ranges)
    assert sum(high - low for low, high in covered) == BUCKETS
    assert all(before[1] <= after[0] for before, after in pairwise(covered))
    assert {slot: weight(made[slot]) for slot in SLOTS} == second


@settings(max_examples=25)
@given(low=weights, more=weights)
def test_raising_weights_never_moves_a_key_back_to_the_champion(low: dict[str, int], more: dict[str, int]) -> None:
    raised = {slot: max(low[slot], more[slot]) for slot in SLOTS}
    before = reallocate({}, low, "a")
    after = reallocate(before, raised, "a")
    for bucket in range(0, BUCKETS, 37):
        held = owner(before, bucket)
        assert held == "a" or owner(after, bucket) == held


@settings(max_examples=25)
@given(high=weights, less=weights)
def test_lowering_weights_gives_buckets_back_to_the_champion_only(high: dict[str, int], less: dict[str, int]) -> None:
    lowered = {slot: min(high[slot], less[slot]) for slot in SLOTS}
    before = reallocate({}, high, "a")
    after = reallocate(before, lowered, "a")
    for bucket in range(0, BUCKETS, 37):
        assert owner(after, bucket) in (owner(before, bucket), "a")


@pytest.mark.parametrize("asked", [{"b": 10_001}, {"b": 6_000, "c": 6_000}, {"b": -1}])
def test_weights_that_do_not_fit_are_refused(asked: dict[str, int]) -> None:
    with pytest.raises(UserError, match="do not fit"):
        reallocate({}, asked, "a")
