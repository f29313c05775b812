from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import ConfigError
from tunekeeper.notify import Delivery, deliver, queue
from tunekeeper.notify.config import Config
from tunekeeper.notify.memory import Memory
from tunekeeper.notify.outbox import next_attempt
from tunekeeper.store.ledgers.outbox import find_messages
from tunekeeper.workspace import Workspace, create_workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "data", clock=ManualClock())


def tell(ws: Workspace, id: str = "alr_1", to: str | None = None) -> None:
    with ws.state.write(by="test") as tx:
        queue(tx, kind="alert", subject="support-desk: edit rate\nrises", text="12 of 80", id=id, model="support-desk", to=to)


def tell_and_fail(ws: Workspace) -> None:
    with ws.state.write(by="test") as tx:
        queue(tx, kind="alert", subject="never", id="alr_0")
        raise RuntimeError("undone")


def test_a_message_of_an_undone_transaction_is_never_sent(ws: Workspace) -> None:
    memory = Memory()
    with pytest.raises(RuntimeError):
        tell_and_fail(ws)
    assert deliver(ws, notifiers={"memory": memory}) == Delivery(delivered=0, failed=0, waiting=0)
    assert memory.messages == []


def test_both_outboxes_are_emptied_once_however_often_it_is_told(ws: Workspace) -> None:
    memory = Memory()
    tell(ws)
    tell(ws)
    with ws.control.write(by="test") as tx:
        queue(tx, kind="rollback", subject="gone back", id="inc_1")
    assert deliver(ws, notifiers={"memory": memory}).delivered == 2
    assert deliver(ws, notifiers={"memory": memory}).delivered == 0
    assert [m.id for m in memory.messages] == ["inc_1", "alr_1"]
    assert memory.messages[1].subject == "support-desk: edit rate rises"


def test_a_failed_message_waits_longer_each_time_and_arrives_in_the_end(ws: Workspace) -> None:
    memory, now = Memory(fail=2), 1000.0
    tell(ws)
    assert deliver(ws, notifiers={"memory": memory}, now=lambda: now).waiting == 1
    assert deliver(ws, notifiers={"memory": memory}, now=lambda: now + 9) == Delivery(delivered=0, failed=0, waiting=0)
    assert deliver(ws, notifiers={"memory": memory}, now=lambda: now + 10).waiting == 1
    assert deliver(ws, notifiers={"memory": memory}, now=lambda: now + 29).waiting == 0
    assert deliver(ws, notifiers={"memory": memory}, now=lambda: now + 30).delivered == 1
    with ws.state.read() as tx:
        assert [(m.state, m.attempts) for m in find_messages(tx)] == [("delivered", 3)]


def test_a_message_is_given_up_after_the_last_attempt_or_when_the_receiver_will_never_take_it(ws: Workspace) -> None:
    tell(ws, "one")
    assert deliver(ws, notifiers={"memory": Memory(fail=1, permanent=True)}).failed == 1
    tell(ws, "two")
    assert deliver(ws, Config(attempts=1), notifiers={"memory": Memory(fail=1)}).failed == 1
    with ws.state.read() as tx:
        assert {m.error for m in find_messages(tx)} == {"memory: told to fail"}


def test_a_dead_target_delays_no_other(ws: Workspace) -> None:
    alive, dead = Memory(), Memory(fail=99)
    tell(ws)
    assert deliver(ws, notifiers={"alive": alive, "dead": dead}, now=lambda: 0.0) == Delivery(delivered=1, failed=0, waiting=1)
    deliver(ws, notifiers={"alive": alive, "dead": dead}, now=lambda: 60.0)
    assert len(alive.messages) == 1


def test_a_message_for_one_target_goes_there_alone_and_an_unknown_target_is_a_failure_on_record(ws: Workspace) -> None:
    one, other = Memory(), Memory()
    tell(ws, "a", to="one")
    tell(ws, "b", to="nobody")
    assert deliver(ws, notifiers={"one": one, "other": other}) == Delivery(delivered=1, failed=1, waiting=0)
    assert ([m.id for m in one.messages], other.messages) == (["a"], [])


def test_without_configuration_messages_go_to_a_file_in_the_data_directory(ws: Workspace) -> None:
    tell(ws)
    assert deliver(ws).delivered == 1
    line = json.loads((ws.root / "notifications.jsonl").read_text("utf-8"))
    assert line["id"] == "alr_1"
    assert line["created"] == "2026-01-05T09:00:00+00:00"


def test_an_option_that_a_target_does_not_know_is_named(ws: Workspace) -> None:
    tell(ws)
    with pytest.raises(ConfigError, match=r"notify\.targets\.ops: .*colour"):
        deliver(ws, Config(targets={"ops": {"kind": "log", "colour": "red"}}))
    with pytest.raises(ConfigError, match="no notifier is called 'pigeon'"):
        deliver(ws, Config(targets={"ops": {"kind": "pigeon"}}))


def test_one_round_takes_a_bounded_time_and_leaves_the_rest_to_the_next(ws: Workspace) -> None:
    class Slow(Memory):
        def send(self, message: object) -> None:
            ws.clock.sleep(3.0)
            super().send(message)  # type: ignore[arg-type]

    slow = Slow()
    for i in range(4):
        tell(ws, f"m{i}")
    assert deliver(ws, notifiers={"slow": slow}) == Delivery(delivered=2, failed=0, waiting=2)
    assert deliver(ws, notifiers={"slow": slow}).delivered == 2


@pytest.mark.parametrize(("attempts", "pause"), [(1, 10), (2, 20), (5, 160), (7, 600), (8, None)])
def test_pauses_double_up_to_the_longest(attempts: int, pause: float | None) -> None:
    found = next_attempt(attempts, 100.0, Config(longest_retry=600))
    assert found == (None if pause is None else 100.0 + pause)
