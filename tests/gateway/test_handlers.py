"""Endpoints, keys, names and purposes, from outside."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import openai
import pytest

from tunekeeper.core.nouns.serving import FallbackEntry, Share
from tunekeeper.gateway.auth import hash_key
from tunekeeper.gateway.handlers import ENDPOINTS
from tunekeeper.gateway.options import Options
from tunekeeper.store.published import Cells, barrier

MODEL = "support-desk"
OPEN = ("/livez", "/readyz")


def _share(slot: str, variant: str, low: int, high: int) -> Share:
    return Share(slot=slot, variant=variant, ranges=((low, high),))  # type: ignore[arg-type]


def test_liveness_and_readiness_say_no_more_than_that(bench: Any) -> None:
    assert bench.get("/livez").json() == {"live": True}
    assert bench.get("/readyz").json() == {"ready": True}


def test_a_balancer_may_ask_by_head_and_gets_the_head_alone(bench: Any) -> None:
    for path, status in ((b"/livez", b"200 OK"), (b"/readyz", b"200 OK"), (b"/v1/feedback", b"405 Method Not Allowed")):
        got = bench.raw(b"HEAD %s HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % path)
        assert got.startswith(b"HTTP/1.1 %s\r\n" % status)
        assert got.endswith(b"\r\n\r\n"), "no body"
    assert bench.http.delete(f"{bench.url}/livez").headers["allow"] == "GET, HEAD"


def test_models_are_listed_and_found_by_name_alias_and_version(bench: Any) -> None:
    with openai.OpenAI(base_url=bench.url + "/v1", api_key="x", max_retries=0) as ai:
        assert [m.id for m in ai.models.list()] == [MODEL]
        for name in (MODEL, f"{MODEL}@champion", f"{MODEL}@v1.1-2026-02-09-1004examples", "v1.1-2026-02-09-1004examples"):
            assert ai.models.retrieve(name).id == name
        with pytest.raises(openai.NotFoundError):
            ai.models.retrieve(f"{MODEL}@shadow")


def test_aliases_and_versions_are_answered_by_their_slot_and_never_by_a_fallback(bench: Any) -> None:
    bench.publish(challenger="b", previous="b", fallback=(FallbackEntry(slot="a"), FallbackEntry(slot="b")))
    for pin, slot in (
        ("champion", "a"),
        ("challenger", "b"),
        ("v1.0-2026-01-05-812examples", "a"),
        ("v1.1-2026-02-09-1004examples", "b"),
    ):
        response = bench.chat(model=f"{MODEL}@{pin}")
        assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, slot)
        record = bench.record(response)
        assert "bucket" not in record, "a choice by name is no assignment"
    bench.b.script.append("500")
    assert bench.chat(model=f"{MODEL}@challenger").status_code == 502


def test_the_bare_name_of_a_version_is_enough_for_its_slot_and_for_no_key_of_another_model(bench: Any) -> None:
    response = bench.chat(model="v1.1-2026-02-09-1004examples")
    assert (response.status_code, response.headers["x-tunekeeper-slot"]) == (200, "b")
    assert bench.record(response)["model_id"] == MODEL
    bench.publish(keys=(bench.key("k", models=("other",)),))
    assert bench.chat(model="v1.1-2026-02-09-1004examples", headers={"authorization": "Bearer k"}).status_code == 403


def test_unknown_models_are_404(bench: Any) -> None:
    for name in ("other", f"{MODEL}@v9", f"{MODEL}@", "@champion", f"{MODEL}@shadow"):
        response = bench.chat(model=name)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_clients_of_other_interfaces_are_told_where_models_answer(bench: Any) -> None:
    for path in ("/v1/responses", "/v1/moderations", "/chat/completions", "/openai/deployments/m/chat/completions?api-version=1"):
        refused = bench.http.post(bench.url + path, json={})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
        assert "/v1/chat/completions" in refused.json()["error"]["message"]
    refused = bench.http.options(f"{bench.url}/v1/chat/completions")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert refused.json()["error"]["message"] == "this path takes POST only"


def test_a_model_whose_version_has_a_slash_in_its_name_is_found_by_it(bench: Any) -> None:
    bench.replace_slot("a", version="org/small-1")
    for path in ("org%2Fsmall-1", "org/small-1", f"{MODEL}%40org%2Fsmall-1"):
        assert bench.get(f"/v1/models/{path}").status_code == 200, path
    assert bench.get("/v1/models/org%2Fother").json()["error"]["code"] == "model_not_found"


def test_every_endpoint_asks_for_its_scope_from_the_first_key_on(bench: Any) -> None:
    paths = [p.decode() for p in ENDPOINTS] + ["/v1/models/x"]
    keys = tuple(bench.key(scope, scope) for scope in ("infer", "feedback", "metrics", "admin"))
    bench.publish(keys=keys)
    for path in paths:
        endpoint = ENDPOINTS.get(path.encode())
        method = endpoint.method.decode() if endpoint else "GET"
        scope = endpoint.scope if endpoint else "infer"
        for given in (None, "wrong", "infer", "feedback", "metrics", "admin"):
            headers = {"authorization": f"Bearer {given}"} if given else {}
            status = bench.http.request(
                method, bench.url + path, headers=headers, content=b"{}" if method == "POST" else None
            ).status_code
            if path in OPEN:
                assert status == 200
            elif given in (None, "wrong"):
                assert status == 401, (path, given)
            else:
                assert (status == 403) == (given not in (scope, "admin")), (path, given, status)


def test_a_key_that_was_revoked_or_has_expired_no_longer_works(bench: Any) -> None:
    old = bench.key("old", expires=datetime.now(UTC) - timedelta(hours=1))
    bench.publish(keys=(old, bench.key("gone", revoked=True), bench.key("good")))
    codes = [
        bench.chat(headers={"authorization": f"Bearer {k}"}).json().get("error", {}).get("code") for k in ("old", "gone", "good")
    ]
    assert codes == ["key_expired", "invalid_key", None]


def test_the_gateways_own_key_from_the_environment_works(make_bench: Any) -> None:
    bench = make_bench(Options(static_key=hash_key("from-env", b"p" * 32)))
    assert bench.chat().status_code == 401
    assert bench.chat(headers={"authorization": "Bearer from-env"}).status_code == 200


def test_a_gateway_that_must_ask_for_keys_asks_while_there_is_none(make_bench: Any) -> None:
    assert make_bench(Options(require_key=True)).chat().status_code == 401


def test_a_key_may_be_bound_to_models(bench: Any) -> None:
    bench.publish(keys=(bench.key("other", models=("billing",)), bench.key("this", models=(MODEL,))))
    assert bench.chat(headers={"authorization": "Bearer other"}).json()["error"]["code"] == "model_forbidden"
    assert bench.get("/v1/models", "other").json()["data"] == []
    response = bench.chat(headers={"authorization": "Bearer this"})
    assert (response.status_code, bench.record(response)["key_id"]) == (200, "key_this")


def test_only_a_trusted_caller_may_say_that_it_is_no_user(bench: Any) -> None:
    drill = {"x-tunekeeper-purpose": "drill"}
    assert bench.record(bench.chat(headers=drill))["purpose"] == "drill"
    assert bench.record(bench.chat(headers={"x-tunekeeper-purpose": "nonsense"}))["purpose"] == "user"
    bench.publish(keys=(bench.key("plain"), bench.key("chief", "admin")))
    assert bench.record(bench.chat(headers={**drill, "authorization": "Bearer plain"}))["purpose"] == "user"
    assert bench.record(bench.chat(headers={**drill, "authorization": "Bearer chief"}))["purpose"] == "drill"


def test_a_replay_names_its_parent(bench: Any) -> None:
    first = bench.chat().headers["x-tunekeeper-request-id"]
    made = bench.chat(headers={"x-tunekeeper-purpose": "replay", "x-tunekeeper-parent": first})
    assert bench.record(made)["parent_id"] == first
    assert "parent_id" not in bench.record(bench.chat(headers={"x-tunekeeper-parent": "req_forged"}))


def test_the_record_says_what_the_assignment_was_keyed_on(bench: Any) -> None:
    bench.publish(assign_by="session")
    record = bench.record(bench.chat(user="ann", headers={"x-session-id": "s-1"}))
    assert record["unit_kind"] == "session"
    assert "s-1" not in str(record["unit"])
    record = bench.record(bench.chat(user="ann", metadata={"channel": "mail"}, headers={"x-tunekeeper-segment-plan": "gold"}))
    assert (record["unit_kind"], record["segments"], record["metadata"]) == (
        "user",
        {"plan": "gold", "channel": "mail"},
        {"channel": "mail"},
    )


def test_users_keep_their_slot_across_requests(bench: Any) -> None:
    bench.publish(challenger="b", shares=(_share("a", "champion", 0, 5000), _share("b", "challenger", 5000, 10_000)))
    first = {f"u{i}": bench.chat(user=f"u{i}").headers["x-tunekeeper-slot"] for i in range(30)}
    again = {f"u{i}": bench.chat(user=f"u{i}").headers["x-tunekeeper-slot"] for i in range(30)}
    assert first == again
    assert set(first.values()) == {"a", "b"}


def test_no_request_after_a_publish_is_routed_by_the_older_table(bench: Any) -> None:
    wrong: list[tuple[int, str]] = []
    stop = threading.Event()
    statuses: list[int] = []

    def load() -> None:
        with httpx.Client(base_url=bench.url, timeout=60, verify=False) as busy:
            while not stop.is_set():
                body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
                statuses.append(busy.post("/v1/chat/completions", json=body).status_code)

    thread = threading.Thread(target=load)
    thread.start()
    with httpx.Client(base_url=bench.url, timeout=60, verify=False) as probe:
        for turn in range(40):
            slot = "ab"[turn % 2]
            number = bench.publish(shares=(_share(slot, "champion", 0, 10_000),))
            body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}]}
            got = probe.post("/v1/chat/completions", json=body).headers
            if (got["x-tunekeeper-slot"], got["x-tunekeeper-route-version"]) != (slot, str(number)):
                wrong.append((turn, got["x-tunekeeper-slot"]))
    stop.set()
    thread.join()
    assert wrong == []
    assert set(statuses) == {200}


def test_an_idle_worker_acknowledges_a_publish_without_being_asked_anything(bench: Any) -> None:
    for _ in range(10):
        acknowledged, pending = barrier(bench.root, bench.publish(), 60)
        assert (acknowledged, pending) == (["w0"], [])


def test_a_table_that_cannot_be_read_refuses_until_it_can_and_never_uses_the_older_one(bench: Any) -> None:
    assert bench.chat().status_code == 200
    number = bench.table.generation + 1
    (bench.root / "routes" / str(number)).write_bytes(b"half a file")
    cells = Cells(bench.root / "routes" / "generation")
    cells.view[0] = number
    cells.close()
    response = bench.chat()
    assert (response.status_code, response.json()["error"]["code"], response.headers["retry-after"]) == (
        503,
        "route_unavailable",
        "1",
    )
    assert bench.get("/readyz").json() == {"ready": False, "why": "route_unavailable"}
    assert bench.get("/livez").status_code == 200
    (bench.root / "routes" / str(number)).unlink()
    bench.publish()
    assert bench.chat().status_code == 200
    assert bench.get("/readyz").json() == {"ready": True}


def test_metrics_are_served_as_text(bench: Any) -> None:
    bench.chat()
    response = bench.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'model_inference_requests_total{model_id="support-desk",variant="champion",status="ok"} 1' in response.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/feedback"])
def test_a_page_of_another_site_may_not_call_a_gateway_that_asks_for_no_key(bench: Any, path: str) -> None:
    body = json.dumps({"model": "support-desk", "messages": [{"role": "user", "content": "x"}]})
    page = {"origin": "http://elsewhere.example", "sec-fetch-site": "cross-site", "content-type": "text/plain"}
    for _ in range(2):
        response = bench.http.post(bench.url + path, content=body, headers=page)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "cross_site")
    assert bench.a.counts.requests == 0
    assert bench.chat(headers={"sec-fetch-site": "same-origin"}).status_code == 200
    bench.publish(keys=(bench.key("mine"),))
    assert bench.chat(headers={**page, "authorization": "Bearer mine"}).status_code == 200, "a key is no cookie: no page has it"
