"""A version that was promoted is looked at by people, though nobody asked for it."""

from __future__ import annotations

from typing import Any

import pytest

from tunekeeper.core.nouns.rollout import Rollout
from tunekeeper.data import review, updates
from tunekeeper.data.config import Config
from tunekeeper.store.ledgers.outbox import find_pending
from tunekeeper.store.ledgers.rollouts import save_rollout
from tunekeeper.workspace import Workspace

SECTION = Config(update_reviews=4)
TOPICS = ("lamp", "chair", "phone", "hose")
HOUR, DAY = 3600.0, 86_400.0


def promoted(ws: Workspace, name: str, state: Any = "promoted") -> str:
    with ws.control.write(by="rollout") as tx:
        rollout = Rollout(
            id=f"rol_{name}", model="desk", version=f"desk@{name}", slot="green", state=state, started_at=ws.clock.utc()
        )
        return save_rollout(tx, rollout).id


def served(traffic: Any, version: str, n: int) -> list[str]:
    return [
        traffic.ask(f"The {TOPICS[i % 4]} of order {i} went dark", f"We send a {TOPICS[i % 4]}.", version=version)
        for i in range(n)
    ]


def waiting(ws: Workspace) -> list[str]:
    return [item.request_id for item in review.find(ws, "desk", state="open")]


def test_answers_of_the_new_version_are_chosen_once_and_the_notifiers_hear_of_it(ws: Workspace, traffic: Any) -> None:
    rollout = promoted(ws, "v2.0")
    old, new = served(traffic, "v1.0", 30), served(traffic, "v2.0", 30)
    found = updates.tend(ws, "desk", SECTION)
    assert len(found) == 4
    assert {item.request_id for item in found} <= set(new)
    assert {item.why for item in found} == {"update"}
    assert found[0].reasons[0] == "v2.0 is new: people look at its first answers"
    assert not set(waiting(ws)) & set(old)
    assert updates.tend(ws, "desk", SECTION) == []
    with ws.state.read() as tx:
        [message] = find_pending(tx)
    assert (message.kind, message.id, message.model) == ("review", f"update:{rollout}", "desk")
    assert message.text == "4 wait: tunekeeper data review --model desk --kind update"


def test_few_answers_are_waited_for_a_day_and_then_taken_as_they_come(ws: Workspace, traffic: Any) -> None:
    promoted(ws, "v2.0")
    first = served(traffic, "v2.0", 3)
    assert updates.tend(ws, "desk", SECTION) == []
    traffic.clock.advance(DAY)
    assert {item.request_id for item in updates.tend(ws, "desk", SECTION)} == set(first)
    served(traffic, "v2.0", 5)
    assert len(updates.tend(ws, "desk", SECTION)) == 1
    assert len(waiting(ws)) == 4
    with ws.state.read() as tx:
        assert len(find_pending(tx)) == 1


@pytest.mark.parametrize("state", ["running", "rolled_back", "stopped"])
def test_a_version_that_was_not_promoted_is_not_new(ws: Workspace, traffic: Any, state: str) -> None:
    promoted(ws, "v2.0", state)
    served(traffic, "v2.0", 30)
    assert updates.tend(ws, "desk", SECTION) == []


def test_none_are_asked_for_where_none_are_wanted_or_the_version_is_old(ws: Workspace, traffic: Any) -> None:
    promoted(ws, "v2.0")
    served(traffic, "v2.0", 30)
    assert updates.tend(ws, "desk", Config(update_reviews=0)) == []
    traffic.clock.advance(15 * DAY)
    assert updates.tend(ws, "desk", SECTION) == []


def test_what_people_said_is_told_by_version(ws: Workspace, traffic: Any) -> None:
    for version in ("v2.0", "v3.0"):
        promoted(ws, version)
        served(traffic, version, 30)
        for item, verdict in zip(updates.tend(ws, "desk", SECTION), ("good", "good", "bad", "excluded"), strict=True):
            if version == "v2.0":
                review.judge(ws, item.id, verdict, by="ana")
        traffic.clock.advance(HOUR)
    newest, before = updates.looked(ws, "desk")
    assert (newest.version, newest.queued, newest.judged, newest.good) == ("v3.0", 4, 0, None)
    assert (before.version, before.judged, before.verdicts) == ("v2.0", 4, {"good": 2, "bad": 1, "excluded": 1})
    assert before.good == pytest.approx(2 / 3)
    assert updates.as_text(before) == "first answers of v2.0: 4 of 4 judged: 1 bad, 1 excluded, 2 good; 67% good as they were"
    assert updates.as_text(newest) == "first answers of v3.0: 0 of 4 judged"
