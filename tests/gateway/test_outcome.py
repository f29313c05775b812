"""What a model server's plain answer amounts to."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tunekeeper.gateway.outcome import Failed, Good, Rejected, envelope, judge, wait_of

CHAT = "chat.completions"
GOOD = b'{"id":"x","choices":[{"finish_reason":"stop"}]}'
ERROR = b'{"error":{"message":"too long"}}'


def test_a_whole_answer_is_good() -> None:
    verdict = judge(200, {}, GOOD, CHAT)
    assert isinstance(verdict, Good)
    assert verdict.answer.id == "x"


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_the_callers_mistake_is_passed_on_in_the_servers_words(status: int) -> None:
    verdict = judge(status, {}, ERROR, CHAT)
    assert verdict == Rejected(status, "too long")
    assert json.loads(envelope(Rejected(status, "too long")))["error"]["code"] == "upstream_rejected"


def test_the_field_that_a_server_complains_of_is_named_to_the_caller() -> None:
    body = b'{"error":{"message":"above 2","type":"invalid_request_error","param":"temperature","code":"bad"}}'
    verdict = judge(400, {}, body, CHAT)
    assert isinstance(verdict, Rejected)
    assert json.loads(envelope(verdict))["error"]["param"] == "temperature"


def test_what_a_content_filter_found_reaches_the_caller() -> None:
    found = {"status": 400, "innererror": {"content_filter_result": {"violence": {"filtered": True}}}}
    told = {"message": "filtered", "type": None, "param": "prompt", "code": "content_filter", **found}
    verdict = judge(400, {}, json.dumps({"error": told}).encode(), CHAT)
    assert isinstance(verdict, Rejected)
    said = json.loads(envelope(verdict))["error"]
    assert said == {**told, "type": "invalid_request_error", "code": "upstream_rejected"}


def test_a_request_that_does_not_fit_names_the_field_too() -> None:
    body = b'{"error":{"message":"maximum context length is 8","param":"messages","code":"context_length_exceeded"}}'
    verdict = judge(400, {}, body, CHAT)
    assert isinstance(verdict, Rejected)
    said = json.loads(envelope(verdict))["error"]
    assert (said["param"], said["code"]) == ("messages", "context_length_exceeded")


@pytest.mark.parametrize("error", [b'"said"', b'{"message":"no","param":7}', b'{"message":"no","note":"' + b"x" * 20_000 + b'"}'])
def test_an_envelope_that_is_none_or_of_no_size_adds_nothing(error: bytes) -> None:
    verdict = judge(400, {}, b'{"error":' + error + b"}", CHAT)
    assert isinstance(verdict, Rejected)
    assert json.loads(envelope(verdict))["error"].keys() == {"message", "type", "param", "code"}


def test_a_servers_word_about_a_model_that_it_does_not_have_is_passed_on() -> None:
    verdict = judge(404, {}, b'{"error":{"message":"The model `big` does not exist."}}', CHAT)
    assert isinstance(verdict, Failed)
    assert verdict.refusal.message == "the model server answered 404: The model `big` does not exist."


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, ERROR, "upstream_error"),
        (200, b"<html>", "upstream_garbage"),
        (200, b'{"choices":[]}', "upstream_garbage"),
        (301, b"", "upstream_error"),
        (401, ERROR, "upstream_error"),
        (404, ERROR, "upstream_error"),
        (429, ERROR, "upstream_rate_limited"),
        (500, b"", "upstream_error"),
        (503, GOOD, "upstream_error"),
    ],
)
def test_a_failure_lets_another_server_try(status: int, body: bytes, code: str) -> None:
    verdict = judge(status, {b"retry-after": b"9"}, body, CHAT)
    assert isinstance(verdict, Failed)
    assert verdict.refusal.code == code
    assert verdict.refusal.retry_after == (None if status == 200 else "9")


def test_a_servers_complaint_about_our_key_is_not_shown() -> None:
    verdict = judge(401, {}, b'{"error":{"message":"bad key sk-1234"}}', CHAT)
    assert isinstance(verdict, Failed)
    assert "sk-1234" not in verdict.refusal.message


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Sat, 01 Mar 2025 12:00:30 GMT", 30.0),
        ("Sat, 01 Mar 2025 11:00:00 GMT", 0.0),
        ("-3", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("9" * 40, 999_999_999.0),
    ],
)
def test_a_retry_after_is_a_number_of_seconds_or_a_date(given: str | None, seconds: float | None) -> None:
    assert wait_of(given, datetime(2025, 3, 1, 12, 0, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("Sat, 01 Mar 2025 12:00:00 GMT", "30"),
        ("Sat, 01 Mar 2025 12:00:45 GMT", "0"),
        ("today", "Sat, 01 Mar 2025 12:00:30 GMT"),
        ("Fri, 31 Dec 9999 23:5959693598", "Sat, 01 Mar 2025 12:00:30 GMT"),
        (None, "Sat, 01 Mar 2025 12:00:30 GMT"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_date_to_come_back_at_is_counted_from_the_servers_own_date(date: str | None, told: str, status: int) -> None:
    head = {b"retry-after": b"Sat, 01 Mar 2025 12:00:30 GMT"} | ({b"date": date.encode()} if date else {})
    verdict = judge(status, head, b"", CHAT)
    assert isinstance(verdict, Failed)
    assert verdict.refusal.retry_after == told


def test_a_number_of_seconds_needs_no_date() -> None:
    verdict = judge(429, {b"retry-after": b"7", b"date": b"Sat, 01 Mar 2025 12:00:30 GMT"}, b"", CHAT)
    assert isinstance(verdict, Failed)
    assert verdict.refusal.retry_after == "7"


@pytest.mark.parametrize(("after", "told"), [({}, "1"), ({b"retry-after": b"9"}, "9")])
def test_a_server_that_loads_its_model_is_waited_for(after: dict[bytes, bytes], told: str) -> None:
    body = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
    verdict = judge(503, after, body, CHAT)
    assert isinstance(verdict, Failed)
    assert (verdict.refusal.code, verdict.refusal.status, verdict.refusal.retry_after) == ("slot_unavailable", 503, told)
