"""What the worker obeys, and what is worked out from it once a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import ApiKey, FallbackEntry, Route, RouteTable, Slot
from tunekeeper.gateway.tables import Address, Obeyed, Tables, target_of
from tunekeeper.gateway.wire import parse_call, upstream_body
from tunekeeper.store.published import RouteUnavailable, WorkerSlot, barrier, publish


def slot(endpoint: str | None = "http://h:8000/v1", **more: Any) -> Slot:
    return Slot(id="a", model="m", version="v1", endpoint=endpoint, **more)


@pytest.mark.parametrize(
    ("endpoint", "address", "base"),
    [
        ("http://h:8000/v1", Address("h", 8000, False), b"/v1"),
        ("http://h/v1/", Address("h", 80, False), b"/v1"),
        ("https://api.example.com/v1", Address("api.example.com", 443, True), b"/v1"),
        ("http://[::1]:9/x", Address("::1", 9, False), b"/x"),
        (None, None, b""),
        ("ftp://h/v1", None, b""),
        ("http://h:port/v1", None, b""),
        ("http:///v1", None, b""),
        ("http://h/a b", None, b""),
        ("http://h/\r\nx: y", None, b""),
    ],
)
def test_endpoints_become_addresses(endpoint: str | None, address: Address | None, base: bytes) -> None:
    made = target_of(slot(endpoint), {})
    assert (made.address, made.base) == (address, base)


def test_the_upstreams_key_comes_from_the_variable_the_slot_names() -> None:
    made = target_of(slot(api_key_env="K"), {"K": "sekret", "OTHER": "x"})
    sent = made.request(b"/chat/completions", "req_1", b"{}")
    assert sent.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nx-request-id: req_1\r\nhost: h:8000\r\n")
    assert b"authorization: Bearer sekret\r\n" in sent
    assert sent.endswith(b"content-length: 2\r\n\r\n{}")
    assert b"authorization" not in target_of(slot(api_key_env="K"), {"K": "a\r\nx: y"}).head
    assert b"authorization" not in target_of(slot(api_key_env="K"), {}).head
    assert b"authorization: Bearer sekret\r\n" in target_of(slot(api_key_env="K"), {"K": " sekret\r\n"}).head, "read from a file"


@pytest.mark.parametrize(("upstream", "sent"), [("gpt-x", b'"gpt-x"'), (None, b'"v1"')])
def test_the_model_name_sent_upstream_is_the_slots(upstream: str | None, sent: bytes) -> None:
    assert bytes(target_of(slot(upstream_model=upstream), {}).splice.model) == sent


def test_a_fallback_entry_with_a_prompt_replaces_the_slots_own() -> None:
    from tunekeeper.gateway.limits import Limits

    call = parse_call(b'{"model":"m","messages":[{"role":"user","content":"x"}]}', "chat.completions", Limits())
    plain = target_of(slot(system="own"), {}, FallbackEntry(slot="a"))
    other = target_of(slot(system="own"), {}, FallbackEntry(slot="a", system="other"))
    assert (plain.fallback, other.fallback) == (False, True)
    assert b'"own"' in upstream_body(call, plain.splice)
    assert b'"other"' in upstream_body(call, other.splice)


def test_keys_and_durability_are_looked_up_once_a_change() -> None:
    keys = (ApiKey(id="k1", hash="h1"), ApiKey(id="k2", hash="h2", revoked=True))
    made = Obeyed(RouteTable(generation=1, routes={"m": Route(model="m", durability="power")}, keys=keys), {})
    assert (set(made.keys), made.asks_key, made.power) == ({"h1"}, True, True)
    assert not Obeyed(RouteTable(generation=1), {}).asks_key
    assert Obeyed(RouteTable(generation=1, asks_key=True), {}).asks_key


def test_a_change_is_obeyed_and_acknowledged_and_a_broken_one_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path, RouteTable(generation=1))
    held = WorkerSlot(tmp_path, "w0")
    tables = Tables(tmp_path, held, {})
    assert barrier(tmp_path, 1, timeout=0.01)[1] != [], "not read yet"
    first = tables.now()
    assert tables.now() is first
    assert barrier(tmp_path, 1, timeout=0.01) == (["w0"], [])
    publish(tmp_path, RouteTable(generation=2))
    assert tables.poll()
    assert tables.now().table.generation == 2
    publish(tmp_path, RouteTable(generation=3))
    (tmp_path / "routes" / "3").write_bytes(b"torn")
    for _ in range(2):
        with pytest.raises(RouteUnavailable):
            tables.now()
    assert not tables.poll()
    assert tables.failure is not None
    assert capsys.readouterr().err.count("error:") == 1, "said once, not with each request"
    publish(tmp_path, RouteTable(generation=4))
    assert tables.now().table.generation == 4
    assert tables.failure is None
    tables.close()
    held.close()


def test_a_version_alone_names_a_model_only_where_no_other_has_it() -> None:
    held = (("a", "m", "v1"), ("b", "m", "m@v2"), ("c", "n", "v1"), ("d", "gone", "v3"), ("e", "m", None))
    slots = {name: Slot(id=name, model=model, version=version) for name, model, version in held}
    routes = {model: Route(model=model, generation=1, salt="s", champion="a", shares=()) for model in ("m", "n")}
    assert Obeyed(RouteTable(generation=1, routes=routes, slots=slots), {}).versions == {"v1": None, "v2": "m"}
