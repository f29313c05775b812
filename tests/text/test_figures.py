"""Numbers of JSON: those that are somebody's go, by the name of their field; ids, times and counts stay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunekeeper.text.redaction import Redactor


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ({"phone": 4155550132, "n": 1}, {"phone": "[PHONE]", "n": 1}),
        ({"customer": {"phoneNumber": 491711234567.0}}, {"customer": {"phoneNumber": "[PHONE]"}}),
        ({"arguments": {"Mobiltelefon": [33612345678]}}, {"arguments": {"Mobiltelefon": ["[PHONE]"]}}),
        ({"caller_number": 14155550132}, {"caller_number": "[PHONE]"}),
        ({"cardNo": 4111111111111111}, {"cardNo": "[CARD]"}),
        ({"cc": 6011000990139424, "notes": 378282246310005}, {"cc": "[CARD]", "notes": "[CARD]"}),
        ({"rows": [[1, 4111111111111111]]}, {"rows": [[1, "[CARD]"]]}),
    ],
)
def test_a_number_under_a_field_that_says_so_is_taken_out(value: Any, clean: Any) -> None:
    assert Redactor().redact_json(value)[0] == clean
    assert Redactor().may_hold(json.dumps(value).encode())
    assert Redactor(["email"]).redact_json(value)[0] is value


@pytest.mark.parametrize(
    "value",
    [
        {"id": 4111111111111111, "order_id": 4111111111111111, "tracking_number": 4111111111111111},
        {"phone_calls": 123456789, "phone_id": 123456789, "mobile": True, "telephone": None, "phone": 4155550132.5},
        {"created": 1790000000, "created_ms": 1790000000123, "seed": 4111111111111111, "card_count": 123456789},
        {"card": 4111111111111112, "card_id": 6200000000000000003, "guild": 6200000000000000003, "phone": 12345},
        {"size": 10**30, "ratio": float("inf"), "low": -4111111111111111, "lat": 48.1234567, "ean": 4006381333931},
    ],
)
def test_ids_times_counts_and_codes_stay_numbers(value: Any) -> None:
    assert Redactor().redact_json(value)[0] is value


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"phone": 4155550132, "n": 1}', '{"phone": "[PHONE]", "n": 1}'),
        ('[{"cards":[4111111111111111,5]}]', '[{"cards":["[CARD]",5]}]'),
        ('{"phone": "4155550132"}', '{"phone": "[PHONE]"}'),
        (r'{"a": "{\"phone\": 4155550132}"}', r'{"a": "{\"phone\": \"[PHONE]\"}"}'),
        (r'{"a": "{\n \"phone\": 4155550132\n}"}', r'{"a": "{\n \"phone\": \"[PHONE]\"\n}"}'),
        (r'{"a": "[4111111111111111]"}', r'{"a": "[\"[CARD]\"]"}'),
        (r'"{\"a\": \"{\\\"phone\\\": 4155550132}\"}"', r'"{\"a\": \"{\\\"phone\\\": \\\"[PHONE]\\\"}\"}"'),
        ("{'phone': 4155550132}", "{'phone': [PHONE]}"),
        ("[4111111111111111]", "[[CARD]]"),
    ],
)
def test_arguments_of_a_tool_can_still_be_read_as_json(text: str, clean: str) -> None:
    assert Redactor().redact(text)[0] == clean
