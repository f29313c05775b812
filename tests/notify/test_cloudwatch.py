"""PutLogEvents against a double that checks what AWS checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.notify.intake import Intake
from tunekeeper.core.errors import ConfigError
from tunekeeper.notify.cloudwatch import BYTES, ITEMS, OVERHEAD, CloudWatch, signed_headers, split
from tunekeeper.notify.posting import Away, address
from tunekeeper.notify.sinkconfig import SinkConfig

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
SECRET = KEYS["AWS_SECRET_ACCESS_KEY"]
START = datetime(2026, 1, 5, 9, tzinfo=UTC)


class Logs(Intake):
    """CloudWatch Logs with one group: streams are made, events must come in order."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.calls: list[str] = []

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        call = headers["x-amz-target"].removeprefix("Logs_20140328.")
        self.calls.append(call)
        given = json.loads(body)
        signed = signed_headers(
            address(f"http://127.0.0.1:{self.server_port}/", "a test"),
            {name: headers[name] for name in ("content-type", "host", "x-amz-target")},
            body, (KEYS["AWS_ACCESS_KEY_ID"], SECRET, headers.get("x-amz-security-token")), "eu-central-1", "logs",
            datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp(),
        )  # fmt: skip
        if headers["authorization"] != signed["authorization"] or headers["content-type"] != "application/x-amz-json-1.1":
            return 400, b'{"__type":"InvalidSignatureException"}'
        if given["logGroupName"] != "live":
            return 400, b'{"__type":"ResourceNotFoundException","message":"no group"}'
        if call == "CreateLogStream":
            self.streams.setdefault(given["logStreamName"], [])
            return 200, b""
        if given["logStreamName"] not in self.streams:
            return 400, b'{"__type":"com.amazonaws.logs#ResourceNotFoundException"}'
        times = [event["timestamp"] for event in given["logEvents"]]
        if times != sorted(times) or not 1 <= len(times) <= 10_000 or len(body) > 2 * BYTES:
            return 400, b'{"__type":"InvalidParameterException"}'
        self.streams[given["logStreamName"]] += given["logEvents"]
        return 200, b"{}"


@pytest.fixture
def logs() -> Iterator[Logs]:
    with Logs().running() as server:
        yield server


def sink(logs: Logs, environ: dict[str, str] | None = None, **options: Any) -> CloudWatch:
    given = {"region": "eu-central-1", "group": "live", "stream": "gateway", "url": logs.url, **options}
    return CloudWatch(SinkConfig(kind="cloudwatch", **given), environ=KEYS if environ is None else environ)


def record(seconds: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"request_id": f"r{seconds:g}", "timestamp": (START + timedelta(seconds=seconds)).isoformat(), **fields}


def test_the_signature_is_the_one_that_the_published_example_has() -> None:
    """`post-vanilla` of the test suite that AWS publishes for Signature Version 4."""
    at = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
    to = address("https://example.amazonaws.com/", "a test")
    keys = (KEYS["AWS_ACCESS_KEY_ID"], SECRET, None)
    signed = signed_headers(to, {"host": "example.amazonaws.com"}, b"", keys, "us-east-1", "service", at)
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, "
        "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    )


def test_a_missing_stream_is_made_and_events_come_in_order_of_time(logs: Logs) -> None:
    sink(logs).send([record(5), record(1)])
    sink(logs, {**KEYS, "AWS_SESSION_TOKEN": "temporary"}).send([record(9)])
    assert logs.calls == ["PutLogEvents", "CreateLogStream", "PutLogEvents", "PutLogEvents"]
    events = logs.streams["gateway"]
    assert [json.loads(event["message"])["request_id"] for event in events] == ["r1", "r5", "r9"]
    assert events[0]["timestamp"] == int(START.timestamp() * 1000) + 1000


def test_what_it_says_when_it_is_away_names_no_secret(logs: Logs) -> None:
    cases = [
        (sink(logs, {}), "the variable AWS_ACCESS_KEY_ID is not set"),
        (sink(logs, {**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"}), "InvalidSignatureException"),
        (sink(logs, group="other"), "no log group 'other', or it may not be written to: ResourceNotFoundException"),
    ]
    for each, why in cases:
        with pytest.raises(Away, match=why) as error:
            each.send([record()])
        assert "wrong" not in str(error.value)
        assert SECRET not in str(error.value)


def test_batches_keep_the_limits_of_one_request() -> None:
    many = [(START, b"x")] * (ITEMS + 1)
    assert [len(batch) for batch in split(many)] == [ITEMS, 1]
    big = [(START, b"x" * 200_000)] * 11
    assert [len(batch) for batch in split(big)] == [5, 5, 1]
    assert all(sum(len(data) + OVERHEAD for _, data in batch) <= BYTES for batch in split(big))
    days = [(START + timedelta(hours=hours), b"x") for hours in (0, 23, 24, 50)]
    assert [len(batch) for batch in split(days)] == [2, 1, 1]


def test_without_a_group_it_is_refused_with_one_line() -> None:
    with pytest.raises(ConfigError, match="needs region, group and stream"):
        SinkConfig(kind="cloudwatch", region="eu-central-1")
