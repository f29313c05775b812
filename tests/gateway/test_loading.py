"""Model servers of our own that are not loaded yet: said, waited for, and not held against them afterwards."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import FallbackEntry, Route, RouteTable, Share, Slot
from tunekeeper.gateway.health import FAILURES
from tunekeeper.gateway.loading import loading, started_anew, why_none_answers

FILES = {"model": "models/one.gguf"}


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nobody listens, and nobody else can begin to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


def table(*slots: Slot, shares: tuple[str, ...] = ("a",), fallback: tuple[str, ...] = ()) -> RouteTable:
    ranges = tuple(Share(slot=name, variant="champion", ranges=((0, 10_000),)) for name in shares)
    route = Route(model="desk", generation=1, salt="s", shares=ranges, fallback=tuple(FallbackEntry(slot=n) for n in fallback))
    return RouteTable(generation=1, routes={"desk": route}, slots={slot.id: slot for slot in slots})


def slot(name: str, observed: Any, **more: Any) -> Slot:
    return Slot(id=name, model="desk", observed=observed, **{"files": FILES, **more})


def test_only_servers_of_our_own_that_a_route_uses_are_loading() -> None:
    slots = (slot("a", "starting"), slot("b", "absent"), slot("c", "starting"), slot("d", "absent", files={}))
    found = table(*slots, shares=("a", "d"), fallback=("b",))
    assert loading(found) == ["a", "b"]
    assert why_none_answers(found) is None, "somebody else's is taken at its word"
    assert loading(table(slot("a", "starting", wanted="unloaded"))) == []
    assert loading(table(slot("a", "failed"))) == loading(table(slot("a", "ready"))) == []


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("starting", "absent", "loading"),
        ("starting", "failed", "loading"),
        ("failed", "failed", "failed"),
        ("starting", "ready", None),
        ("failed", "ready", None),
    ],
)
def test_none_answers_until_one_server_is_loaded(first: str, second: str, why: str | None) -> None:
    assert why_none_answers(table(slot("a", first), slot("b", second), fallback=("b",))) == why
    assert why_none_answers(RouteTable(generation=1)) is None, "without models there is nothing to wait for"


def test_a_server_is_another_one_when_its_process_is() -> None:
    before = table(slot("a", "ready", pid=1))
    assert started_anew(before, table(slot("a", "ready", pid=2))) == ["a"]
    assert started_anew(table(slot("a", "starting", pid=2)), table(slot("a", "ready", pid=2))) == ["a"]
    assert started_anew(before, before) == started_anew(before, table(slot("a", "starting", pid=2))) == []
    assert started_anew(None, before) == []


def test_a_gateway_is_ready_when_a_model_of_its_own_is_loaded_and_says_what_it_waits_for(bench: Any, nowhere: str) -> None:
    endpoint = bench.table.slots["a"].endpoint
    bench.replace_slot("a", files=FILES, observed="starting", endpoint=nowhere)
    said = bench.get("/readyz")
    assert (said.status_code, said.headers["retry-after"]) == (503, "1")
    assert said.json() == {"ready": False, "why": "loading", "loading": ["a"]}
    response = bench.chat()
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["code"] == "slot_unavailable"
    assert bench.get("/livez").status_code == 200
    bench.replace_slot("a", observed="failed")
    assert bench.get("/readyz").json() == {"ready": False, "why": "failed"}
    bench.replace_slot("a", observed="ready", endpoint=endpoint)
    assert (bench.get("/readyz").json(), bench.chat().status_code) == ({"ready": True}, 200)


def test_somebody_elses_server_that_cannot_be_reached_is_a_bad_gateway(bench: Any, nowhere: str) -> None:
    bench.replace_slot("a", endpoint=nowhere)
    assert (bench.chat().status_code, bench.get("/readyz").status_code) == (502, 200)


def test_what_was_refused_while_a_server_was_loaded_does_not_make_it_rest_afterwards(bench: Any, nowhere: str) -> None:
    endpoint = bench.table.slots["a"].endpoint
    bench.publish(fallback=(FallbackEntry(slot="b"),))
    bench.replace_slot("a", files=FILES, observed="starting", endpoint=nowhere)
    for _ in range(2 * FAILURES):
        response = bench.chat()
        assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
    assert bench.record(response)["attempts"][0]["error"] in ("slot_unavailable", "asked_to_wait", "ejected")
    assert bench.get("/readyz").json() == {"ready": True, "loading": ["a"]}
    bench.replace_slot("a", observed="ready", endpoint=endpoint)
    assert bench.chat().headers["x-tunekeeper-slot"] == "a"
