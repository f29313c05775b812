"""Feedback: by our id unseen, by the body's id looked up; every kind checked."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tunekeeper.gateway.feedback import KINDS, parse
from tunekeeper.gateway.refusals import RefusedError
from tunekeeper.store.log.lookups import LookupServer

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
