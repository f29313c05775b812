from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.errors import UserError
from tunekeeper.core.nouns.rollout import Approval
from tunekeeper.rollout.approvals import approve, current, valid
from tunekeeper.store.ledgers.approvals import find_approvals
from tunekeeper.testing.desk import MODEL, Desk

WHAT = {"model": MODEL, "version": "desk@v1.1", "artifact_digest": "sha256:a", "suite_digest": "sha256:s"}


def given(desk: Desk, **changes: Any) -> Approval:
    return approve(desk.ws, **{**WHAT, "by": "Ana", **changes})


def test_a_consent_needs_a_name(desk: Desk) -> None:
    with pytest.raises(UserError, match="--by NAME"):
        given(desk, by="  ")
    assert current(desk.ws, **WHAT) is None


def test_a_consent_holds_for_a_day_and_not_longer(desk: Desk) -> None:
    made = given(desk, reason="the exam's numbers")
    desk.clock.advance(24 * 3600 - 1)
    assert current(desk.ws, **WHAT) == made
    desk.clock.advance(1)
    assert current(desk.ws, **WHAT) is None


def test_the_same_consent_given_twice_is_one_row_and_another_person_s_is_another(desk: Desk) -> None:
    first = given(desk)
    assert given(desk).id == first.id
    desk.clock.advance(1)
    assert given(desk, by="Ben").id != first.id
    with desk.ws.control.read() as tx:
        assert [each.by for each in find_approvals(tx, model=MODEL)] == ["Ana", "Ben"]


def test_an_expired_consent_can_be_given_anew(desk: Desk) -> None:
    first = given(desk, hours=1.0)
    desk.clock.advance(3601)
    second = given(desk, hours=1.0)
    assert second.id != first.id
    assert current(desk.ws, **WHAT) == second


@pytest.mark.parametrize("changed", ["version", "artifact_digest", "suite_digest"])
def test_any_change_of_what_was_judged_voids_it(desk: Desk, changed: str) -> None:
    given(desk)
    assert current(desk.ws, **{**WHAT, changed: "another"}) is None


def test_a_consent_without_an_end_stays(desk: Desk) -> None:
    made = Approval(id="apr_1", by="Ana", expires=None, **WHAT)
    assert valid(made, WHAT["version"], WHAT["artifact_digest"], WHAT["suite_digest"], desk.clock.utc())
