"""Lines as typed records, bodies as values, rows as nouns."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tunekeeper.core.nouns.serving import Feedback, Inference
from tunekeeper.store.log.columns import FEEDBACK_TYPES, schema
from tunekeeper.store.log.lines import encode, scan
from tunekeeper.store.log.records import METRIC_TYPES, decode, parse_body


def one(kind: str, **fields: Any) -> Any:
    (line,) = scan(encode(kind, fields)).lines
    return decode(line)


def test_every_field_of_the_nouns_has_a_column() -> None:
    fields = {f.name for f in dataclasses.fields(Inference)}
    assert fields == set(METRIC_TYPES) | {"request", "response"}
    assert set(schema("metrics").names) == set(METRIC_TYPES) | {"origin"}
    assert {f.name for f in dataclasses.fields(Feedback)} == set(FEEDBACK_TYPES)


@pytest.mark.parametrize(
    "fields",
    [{}, {"request_id": "r", "timestamp": "no", "model_id": "m"}, {"request_id": 3, "timestamp": 0, "model_id": None}],
)
def test_a_whole_line_that_is_no_record_is_none(fields: dict[str, Any]) -> None:
    assert one("E", **fields) is None


def test_a_kind_of_a_newer_version_is_none_and_an_unknown_word_is_kept() -> None:
    assert one("Q", a=1) is None
    assert (
        one("E", request_id="r", timestamp="2026-01-05T09:00:00Z", model_id="m", status="paused", new_field=1).status == "paused"
    )


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (None, None),
        (b'{"a":[1,2.5,"x"]}', {"a": [1, 2.5, "x"]}),
        (b'{"a":NaN,"b":-Infinity,"c":1e999}', {"a": None, "b": None, "c": None}),
        (b'{"\\ud800":["\\udfff"]}', {"\ufffd": ["\ufffd"]}),
        (b"\xff", "\ufffd"),
        (b"", ""),
        (b"[" * 2000, "[" * 2000),
    ],
)
def test_any_body_reads_as_a_value_that_can_be_written_again(raw: bytes | None, value: Any) -> None:
    found = parse_body(raw)
    assert found == value
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
