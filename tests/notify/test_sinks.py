"""Standard output, files and Datadog's intake, each read back as its reader would."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.notify.intake import Intake
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.notify.posting import Away
from tunekeeper.notify.records import record_of
from tunekeeper.notify.sinkconfig import SinkConfig
from tunekeeper.notify.sinks import Datadog, File, Stdout, make_sink

KEY = "dd-key-that-nobody-may-see"


class Logs(Intake):
    """Datadog's HTTP intake, version 2, as far as a sender sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.status = 202
        self.seen: list[list[dict[str, Any]]] = []

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if headers.get("dd-api-key") != KEY:
            return 403, b'{"errors":[{"status":"403","title":"Forbidden"}]}'
        if headers["content-type"] != "application/json" or headers["content-encoding"] != "gzip":
            return 400, b"{}"
        plain = gzip.decompress(body)
        logs = json.loads(plain)
        if len(plain) > 5_000_000 or len(logs) > 1000 or any(len(json.dumps(log)) > 1_000_000 for log in logs):
            return 413, b"{}"
        if self.status == 202:
            self.seen.append(logs)
        return self.status, KEY.encode() if self.status != 202 else b"{}"


@pytest.fixture
def intake() -> Iterator[Logs]:
    with Logs().running() as server:
        yield server


def datadog(intake: Logs, key: str | None = KEY, **options: Any) -> Datadog:
    config = SinkConfig(kind="datadog", url=f"{intake.url}api/v2/logs", **options)
    return Datadog(config, environ={config.key_env: key} if key is not None else {})


def record(**fields: Any) -> dict[str, Any]:
    made = Inference(request_id="r1", timestamp=datetime(2026, 1, 5, 9, tzinfo=UTC), model_id="desk", **fields)
    return record_of(made, bodies=True)


def test_datadog_gets_an_array_with_its_key_service_and_tags(intake: Logs) -> None:
    datadog(intake, service="shop", tags=("env:live", "team:desk")).send(
        [record(version="v1.0", status="error", error="timeout")]
    )
    [[log]] = intake.seen
    own = {"ddsource": "tunekeeper", "service": "shop", "ddtags": "env:live,team:desk", "message": "desk v1.0 error timeout"}
    assert {name: log[name] for name in own} == own
    assert (log["request_id"], log["status"], log["timestamp"]) == ("r1", "error", "2026-01-05T09:00:00Z")


def test_datadog_gets_no_more_at_once_than_it_takes(intake: Logs) -> None:
    datadog(intake).send([record(request={"text": "x" * 900_000}) for _ in range(6)])
    datadog(intake).send([record(response={"text": "x" * 2_000_000})])
    datadog(intake).send([record() for _ in range(1500)])
    assert [len(logs) for logs in intake.seen] == [4, 2, 1, 1000, 500]
    [lean] = intake.seen[2]
    assert (lean["bodies_off"], "response" in lean) == ("size", False)


@pytest.mark.parametrize(
    ("key", "status", "why"),
    [
        (None, 202, "the variable DD_API_KEY with the API key is not set"),
        ("wrong-key", 202, "127.0.0.1: 403 Forbidden"),
        (KEY, 429, "127.0.0.1: 429 Too Many Requests"),
        (KEY, 500, "127.0.0.1: 500 Internal Server Error"),
    ],
)
def test_an_intake_that_says_no_is_away_and_no_key_is_told(intake: Logs, key: str | None, status: int, why: str) -> None:
    intake.status, intake.extra = status, {"retry-after": "7"}
    with pytest.raises(Away) as error:
        datadog(intake, key).send([record()])
    assert str(error.value) == why
    assert error.value.retry_after == (None if key is None else 7.0)
    assert intake.seen == []


def test_an_intake_that_is_not_there_is_away() -> None:
    with Logs().running() as server:
        gone = datadog(server)
    with pytest.raises(Away, match=r"127\.0\.0\.1: "):
        gone.send([record()])


def test_a_file_is_rotated_and_no_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "all.jsonl"
    sink = File(path, max_bytes=120, keep=2)
    for start in range(0, 12, 3):
        sink.send([{"n": n, "text": "x" * 20} for n in range(start, start + 3)])
    files = {each.name: [json.loads(line)["n"] for line in each.read_text().splitlines()] for each in path.parent.iterdir()}
    assert files == {"all.jsonl": [9, 10, 11], "all.1.jsonl": [6, 7, 8], "all.2.jsonl": [3, 4, 5]}
    assert path.stat().st_mode & 0o777 == 0o600
    File(path, max_bytes=10, keep=0).send([{"n": 12}, {"n": 13}])
    assert path.read_text() == '{"n":13}\n'
    assert sorted(each.name for each in path.parent.iterdir()) == ["all.1.jsonl", "all.2.jsonl", "all.jsonl"]


def test_a_file_that_cannot_be_written_is_away(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").mkdir()
    with pytest.raises(Away, match=r"all\.jsonl: "):
        make_sink(SinkConfig(kind="file", path="all.jsonl", max_mb=100), tmp_path).send([{"n": 1}])


def test_standard_output_gets_whole_lines() -> None:
    read, write = os.pipe()
    try:
        Stdout(write).send([record(), record()])
        lines = os.read(read, 65536).splitlines()
        assert [json.loads(line)["request_id"] for line in lines] == ["r1", "r1"]
    finally:
        os.close(read)
        os.close(write)
