from __future__ import annotations

import gc

import pytest

from tunekeeper.store.garbage import uncollected


def test_nothing_is_collected_meanwhile_and_what_came_counts_as_old() -> None:
    assert gc.isenabled()
    with uncollected():
        assert not gc.isenabled()
        made = [[n] for n in range(10_000)]
        with uncollected():
            pass
        assert not gc.isenabled(), "the inner one leaves it as it was"
    assert gc.isenabled()
    assert gc.get_count()[0] < 1_000
    assert len(made) == 10_000


def test_after_an_error_it_is_as_it_was() -> None:
    with pytest.raises(ValueError), uncollected():
        raise ValueError
    assert gc.isenabled()
