"""What is kept of bodies."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from tunekeeper.gateway.bodies import SHORT, Bodies
from tunekeeper.gateway.record import Record
from tunekeeper.text.redaction import UNREAD

CODE = "def route(self, number: int) -> str:\n    return f'{number:>8} {self.key} at {self.host}'  # 12.5 of 100\n"


def put(bodies: Bodies, request: bytes, response: bytes | None = None) -> Record:
    """The record of bodies that are put at once."""
    record: Record = {}
    called: list[int] = []
    bodies.put(record, request, response, lambda: called.append(1))
    assert called == [1]
    return record


def chat(text: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


def test_bodies_stay_byte_for_byte_where_nothing_is_secret() -> None:
    body = b'{ "a" : 1e-7, "b":"hello" }'
    assert bytes(put(Bodies(("card", "key"), keep=True), body)["request"]) == body
    assert bytes(put(Bodies((), keep=True), b"[4111111111111111]")["request"]) == b"[4111111111111111]"
    assert put(Bodies(("card",), keep=False), body, body) == {}


def test_secrets_in_bodies_and_texts_are_replaced() -> None:
    bodies = Bodies(("card", "email"), keep=True)
    record = put(bodies, json.dumps({"a": ["card 4111 1111 1111 1111"], "n": 5}).encode(), b"not json: ann@example.com")
    assert json.loads(record["request"]) == {"a": ["card [CARD]"], "n": 5}
    assert record["response"] == b"not json: [EMAIL]"
    assert bodies.text("ann@example.com") == "[EMAIL]"
    assert Bodies((), keep=False).text("x") is None
    assert bodies.value({"x": "ann@example.com"}) == {"x": "[EMAIL]"}


def test_a_long_body_with_something_in_it_is_looked_through_beside_the_loop_and_kept_whole() -> None:
    text = f"{CODE * 5_000}mail ana@example.com\n{CODE * 5_000}"
    assert len(text) > 1_000_000
    loops: list[str] = []

    async def run() -> Record:
        bodies, record = Bodies(("email", "phone", "ip", "card"), keep=True), Record()
        written = asyncio.Event()
        bodies.put(record, chat(text), chat("short"), lambda: (loops.append(threading.current_thread().name), written.set()))
        assert not record, "nothing was waited for"
        await asyncio.wait_for(written.wait(), 60)
        await bodies.settled()
        return record

    record = asyncio.run(run())
    kept = json.loads(record["request"])["messages"][0]["content"]
    assert kept == text.replace("ana@example.com", "[EMAIL]")
    assert bytes(record["response"]) == chat("short")
    assert loops == ["MainThread"], "and what follows is called on the loop"


def test_a_long_body_in_which_nothing_could_be_is_kept_at_once() -> None:
    body = chat("only words " * SHORT)
    assert bytes(put(Bodies(("email", "phone"), keep=True), body)["request"]) == body


def test_who_closes_waits_for_what_is_being_looked_through() -> None:
    async def run() -> list[Any]:
        bodies, done = Bodies(("email",), keep=True), list[Any]()
        for n in range(3):
            record = Record()
            bodies.put(record, chat(f"{'words ' * SHORT} ana{n}@example.com"), None, lambda record=record: done.append(record))
        await bodies.settled()
        return done

    done = asyncio.run(run())
    assert len(done) == 3
    assert all(b"[EMAIL]" in bytes(record["request"]) for record in done)


def test_a_text_made_to_cost_time_is_left_out_where_it_was_not_looked_through_and_the_rest_stays() -> None:
    async def run() -> Record:
        bodies, record = Bodies(("card", "phone", "email"), keep=True), Record()
        bodies.put(record, chat(f"hello there {'4 ' * 1_500_000}"), None, lambda: None)
        await bodies.settled()
        return record

    kept = bytes(asyncio.run(run())["request"]).decode()
    assert "hello there" in kept
    assert UNREAD in kept
    assert len(kept) < 1_500_000
