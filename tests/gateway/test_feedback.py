"""Feedback: by our id unseen, by the body's id looked up; every kind checked."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import MODEL
from tunekeeper.core.errors import DataError
from tunekeeper.gateway.feedback import KINDS, parse
from tunekeeper.gateway.options import Options
from tunekeeper.gateway.refusals import RefusedError
from tunekeeper.store.log.lookups import LookupServer
from tunekeeper.store.published import publish
from tunekeeper.text.seals import make_keys, opened

KEY = b"k" * 32


def say(bench: Any, **fields: Any) -> httpx.Response:
    return bench.http.post(bench.url + "/v1/feedback", json=fields, timeout=60)


def answered(bench: Any) -> str:
    return str(bench.chat().headers["x-tunekeeper-request-id"])


def test_feedback_by_our_id_is_accepted_and_written(bench: Any) -> None:
    request_id = answered(bench)
    response = say(bench, request_id=request_id, kind="edit", value="better", by="ann", model="support-desk", metadata={"a": 1})
    assert response.status_code == 202
    assert response.json()["request_id"] == request_id
    line = bench.records(1, "F")[0]
    assert line["id"] == response.json()["id"]
    assert (line["kind"], line["value"], line["by"], line["model_id"], line["metadata"]) == (
        "edit",
        "better",
        "ann",
        "support-desk",
        {"a": 1},
    )


def test_our_id_is_also_taken_as_id(bench: Any) -> None:
    request_id = answered(bench)
    assert say(bench, id=request_id, kind="thumb", value="up").json()["request_id"] == request_id


@pytest.mark.parametrize("forged", ["req_01M7YSMCWVM54CZ4611TRDNVDJ0000", "req_x", "", 5])
def test_an_id_we_did_not_make_is_refused_unseen(bench: Any, forged: Any) -> None:
    response = say(bench, request_id=forged, kind="thumb", value="up")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "request_not_found")
    assert bench.records(0, "F") == []


def test_a_bodys_id_is_asked_of_the_keeper(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunekeeper.gateway.lookup.SECONDS", 60.0)
    mine = answered(bench)
    known = {"one": {mine}, "two": {mine, "req_other"}}
    server = LookupServer(bench.root, lambda body_id: known.get(body_id, set()))
    server.start()
    try:
        got = {name: say(bench, id=name, kind="thumb", value="down") for name in ("one", "two", "none")}
    finally:
        server.stop()
    assert {name: r.status_code for name, r in got.items()} == {"one": 202, "two": 409, "none": 404}
    assert got["one"].json()["request_id"] == mine
    assert got["two"].json()["error"]["code"] == "ambiguous_id"
    assert [line["request_id"] for line in bench.records(1, "F")] == [mine]


def test_while_the_keeper_is_away_a_bodys_id_is_a_503(bench: Any) -> None:
    response = say(bench, id="chatcmpl-1", kind="thumb", value="up")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "keeper_unavailable")
    assert response.headers["retry-after"] == "5"


def test_secrets_in_feedback_are_taken_out(bench: Any) -> None:
    say(bench, request_id=answered(bench), kind="correction", value="pay with 4111 1111 1111 1111")
    assert bench.records(1, "F")[0]["value"] == "pay with [CARD]"


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        ("thumb", "up", "up"),
        ("thumb", "down", "down"),
        ("thumb", True, "up"),
        ("thumb", -1, "down"),
        ("edit", "text", "text"),
        ("correction", "text", "text"),
        ("label", "billing", "billing"),
        ("escalation", True, True),
        ("escalation", None, True),
        ("outcome", "success", "success"),
        ("score", 0.5, 0.5),
        ("score", 1, 1),
    ],
)
def test_every_kind_keeps_its_value(kind: str, value: Any, kept: Any) -> None:
    body = json.dumps({"id": "x", "kind": kind, "value": value}).encode()
    assert parse(body, KEY, 64).fields == {"kind": kind, "value": kept}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"id": "x"}, "kind"),
        ({"id": "x", "kind": "applause"}, "kind"),
        ({"id": "x", "kind": ["thumb"]}, "kind"),
        ({"id": "x", "kind": "thumb", "value": "sideways"}, "value"),
        ({"id": "x", "kind": "thumb", "value": [1]}, "value"),
        ({"id": "x", "kind": "thumb"}, "value"),
        ({"id": "x", "kind": "edit", "value": ""}, "value"),
        ({"id": "x", "kind": "edit", "value": 5}, "value"),
        ({"id": "x", "kind": "edit", "value": "x" * 70_000}, "value"),
        ({"id": "x", "kind": "escalation", "value": False}, "value"),
        ({"id": "x", "kind": "outcome", "value": "maybe"}, "value"),
        ({"id": "x", "kind": "score", "value": 1.5}, "value"),
        ({"id": "x", "kind": "score", "value": True}, "value"),
        ({"kind": "thumb", "value": "up"}, "request_id"),
        ({"id": 5, "kind": "thumb", "value": "up"}, "id"),
        ({"id": "x", "kind": "thumb", "value": "up", "by": 5}, "by"),
        ({"id": "x", "kind": "thumb", "value": "up", "metadata": []}, "metadata"),
        ({"id": "x", "kind": "thumb", "value": "up", "extra": 1}, "extra"),
    ],
)
def test_a_wrong_statement_names_its_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as error:
        parse(json.dumps(body).encode(), KEY, 64)
    assert (error.value.refusal.code, error.value.refusal.param) == ("invalid_value", param)


def test_the_kinds_are_those_of_the_noun() -> None:
    assert KINDS == ("thumb", "edit", "correction", "label", "escalation", "outcome", "score")


def sealed_bench(make_bench: Any) -> tuple[Any, dict[str, str]]:
    """A gateway whose two models seal with keys of their own; and the secret key of each."""
    (secret, public), (others_secret, others) = make_keys(), make_keys()
    bench = make_bench(Options(redact=("email",), seals={MODEL: public, "other": others}))
    more = dataclasses.replace(bench.table.routes[MODEL], model="other")
    bench.table = dataclasses.replace(bench.table, generation=2, routes={**bench.table.routes, "other": more})
    publish(bench.root, bench.table)
    return bench, {MODEL: secret, "other": others_secret}


def test_a_statement_is_sealed_for_the_owner_of_its_request_whatever_it_names(
    make_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunekeeper.gateway.lookup.SECONDS", 60.0)
    bench, secrets = sealed_bench(make_bench)
    request_id = answered(bench)
    server = LookupServer(bench.root, lambda body_id: {request_id}, {request_id: MODEL}.get)
    server.start()
    try:
        asked = ({"request_id": request_id}, {"request_id": request_id, "model": "other"}, {"id": "chatcmpl-1"})
        for ids in asked:
            assert say(bench, **ids, kind="edit", value="write to ana@example.com").status_code == 202
    finally:
        server.stop()
    for line in bench.records(3, "F"):
        assert "ana@example.com" not in json.dumps(line)
        box = line["metadata"]["sealed"]
        assert list(opened(box, secrets[MODEL]).values()) == ["ana@example.com"]
        with pytest.raises(DataError):
            opened(box, secrets["other"])


def test_where_nobody_says_whose_request_it_was_what_is_taken_out_is_kept_by_nobody(make_bench: Any) -> None:
    bench, secrets = sealed_bench(make_bench)
    request_id = answered(bench)
    for named in ({}, {"model": "other"}):
        assert say(bench, request_id=request_id, kind="edit", value="write to ana@example.com", **named).status_code == 202
    nameless, named_one = bench.records(2, "F")
    assert (nameless["value"], nameless.get("metadata")) == ("write to [EMAIL]", None)
    assert list(opened(named_one["metadata"]["sealed"], secrets["other"]).values()) == ["ana@example.com"]


def test_a_key_for_some_models_speaks_of_their_answers_alone(make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunekeeper.gateway.lookup.SECONDS", 60.0)
    bench = make_bench(Options())
    keys = (bench.key("one", "infer", "feedback", models=(MODEL,)), bench.key("two", "feedback", models=("other",)))
    bench.publish(keys=(*keys, bench.key("all", "feedback")))
    theirs = str(bench.chat(headers={"authorization": "Bearer one"}).headers["x-tunekeeper-request-id"])

    def tried(key: str, **fields: Any) -> tuple[int, str | None]:
        body = {"kind": "edit", "value": "learn this", **fields}
        found = bench.http.post(bench.url + "/v1/feedback", json=body, headers={"authorization": f"Bearer {key}"}, timeout=60)
        return found.status_code, found.json().get("error", {}).get("code")

    server = LookupServer(bench.root, lambda body_id: {theirs}, {theirs: MODEL}.get)
    server.start()
    try:
        assert tried("two", request_id=theirs) == tried("two", id="chatcmpl-1") == (404, "request_not_found")
        assert tried("two", request_id=theirs, model=MODEL) == (403, "model_forbidden")
        assert tried("two", request_id=theirs, model="other") == (404, "request_not_found")
        assert bench.records(0, "F") == []
        assert tried("one", request_id=theirs) == tried("all", request_id=theirs) == tried("one", id="chatcmpl-1") == (202, None)
    finally:
        server.stop()
    assert [line["request_id"] for line in bench.records(3, "F")] == [theirs] * 3
    assert tried("one", request_id=theirs) == (202, None), "an id of ours that nobody can look up now is accepted all the same"
