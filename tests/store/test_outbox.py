from __future__ import annotations

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound
from tunekeeper.store.ledgers.outbox import Message, append_message, find_messages, find_pending, mark_delivered, mark_failed
from tunekeeper.workspace import Workspace


def message(number: int) -> Message:
    return Message(id=f"alert/{number}", kind="alert", subject=f"edit rate is up ({number})", data={"n": number})


def test_a_message_is_told_once_and_kept_until_it_arrives(ws: Workspace, clock: ManualClock) -> None:
    with ws.state.write(by="monitoring") as tx:
        first = append_message(tx, message(1))
        assert append_message(tx, message(1)) == first
        append_message(tx, message(2))
    with ws.state.read() as tx:
        assert [told.id for told in find_pending(tx)] == ["alert/1", "alert/2"]
        assert find_pending(tx, limit=1) == [first]
    with ws.control.read() as tx:
        assert find_pending(tx) == [], "each database has its own outbox"
    clock.advance(5)
    with ws.state.write(by="notify") as tx:
        arrived = mark_delivered(tx, "alert/1")
        assert (arrived.state, arrived.attempts, arrived.delivered) == ("delivered", 1, clock.utc())
        assert [told.id for told in find_pending(tx)] == ["alert/2"]
        assert [told.state for told in find_messages(tx)] == ["pending", "delivered"]


def test_a_failed_attempt_waits_for_its_time_or_is_given_up(ws: Workspace) -> None:
    with ws.state.write(by="notify") as tx:
        append_message(tx, message(1))
        again = mark_failed(tx, "alert/1", "connection refused", 100.0)
        assert (again.state, again.attempts, again.error) == ("pending", 1, "connection refused")
        assert find_pending(tx, due_before=99.0) == []
        assert find_pending(tx, due_before=100.0) == [again]
        assert mark_failed(tx, "alert/1", "gone", None).state == "failed"
        assert find_pending(tx) == []


def test_a_message_of_an_undone_change_is_undone(ws: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), ws.state.write(by="monitoring") as tx:
        append_message(tx, message(1))
        raise ZeroDivisionError
    with ws.state.write(by="notify") as tx:
        assert find_pending(tx) == []
        with pytest.raises(NotFound, match="alert/1"):
            mark_delivered(tx, "alert/1")
