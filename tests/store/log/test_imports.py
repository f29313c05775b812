"""Records of models that were served elsewhere."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import Busy, DataError
from tunekeeper.core.nouns.serving import Inference
from tunekeeper.store.log import Log, segments
from tunekeeper.store.log.imports import passed_over, read_file
from tunekeeper.store.log.lines import scan

LOG_01 = (
    '{"request_id":"abc-%d","timestamp":"2025-03-01T10:00:00Z","model_id":"churn","variant":"champion","prompt_tokens":3,'
    '"completion_tokens":1,"latency_ms":4.5,"cost_usd":0.001,"quality_score":0.9,"drift_flags":["length"],"metadata":{"a":1}}'
)
HEAD = '{"request_id":"x","timestamp":"2025-03-01T10:00:00Z","model_id":"m"'


def test_the_fields_of_one_structured_event_are_enough(root: Path, tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text("\n".join(LOG_01 % n for n in range(1200)) + "\n\n")
    log = Log(root, clock)
    assert log.append_import(read_file(file)) == (1200, 0)
    found = log.load("abc-7")
    assert (found.quality_score, found.drift_flags, found.metadata) == (0.9, ("length",), {"a": 1})
    assert (found.request, found.cost_usd, found.purpose) == (None, 0.001, "user")
    assert [row.requests for row in log.window("churn", None, None)] == [1200]


@pytest.mark.parametrize(
    ("said", "variant"), [("production", "champion"), ("control", "champion"), ("treatment", "challenger"), ("arm-7", None)]
)
def test_the_words_of_others_for_a_variant_are_taken_and_kept(
    root: Path, tmp_path: Path, clock: ManualClock, said: str, variant: str | None
) -> None:
    file = tmp_path / "theirs.jsonl"
    file.write_text(LOG_01.replace("champion", said) % 1)
    log = Log(root, clock)
    assert log.append_import(read_file(file)) == (1, 0)
    found = log.load("abc-1")
    assert (found.variant, found.metadata) == (variant, {"variant": said, "a": 1})


def test_importing_twice_adds_nothing(root: Path, tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text("\n".join([LOG_01 % 1, LOG_01 % 2, LOG_01 % 1]))
    log = Log(root, clock)
    assert log.append_import(read_file(file)) == (2, 1)
    assert log.append_import(read_file(file)) == (0, 3)
    assert log.verify() == {"records": 2, "duplicates": 0, "open": 0, "corrupt": 0}


def test_what_was_found_can_be_imported_elsewhere(root: Path, tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text(LOG_01[:-1] % 1 + ',"request":{"messages":[{"role":"user"}]},"response":{"choices":[]},"stream":true}')
    here, there = Log(root, clock), Log(tmp_path / "there", clock)
    here.append_import(read_file(file))
    there.append_import(here.each())
    assert there.find() == here.find()
    assert there.find()[0].request == {"messages": [{"role": "user"}]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", r"old.jsonl:2: not an inference"),
        ('{"request_id":"x","timestamp":"2025-03-01T10:00:00Z"}', "model_id"),
        ('{"request_id":"x","timestamp":"yesterday","model_id":"m"}', "timestamp.*write timestamp as 2026"),
        ('{"request_id":"x","timestamp":"2026-01-05","model_id":"m"}', "write timestamp as 2026-01-05T09:30:00Z"),
        ('{"request_id":"x","timestamp":1763632800000,"model_id":"m"}', "write timestamp as 2026"),
        ('{"request_id":"","timestamp":"2025-03-01T10:00:00Z","model_id":"m"}', "request_id must have 1 to 256"),
        ('{"request_id":"x","timestamp":"2025-03-01T10:00:00Z","model_id":"%s"}' % ("m" * 300), "model_id must have 1 to 256"),
        ('{"request_id":"x","timestamp":"2025-03-01T10:00:00Z","model_id":"m","latency_ms":-5}', "latency_ms is -5"),
        (
            '{"request_id":"x","timestamp":"2025-03-01T10:00:00Z","model_id":"m","prompt_tokens":100000000000000000000}',
            "prompt_tokens is 10+",
        ),
        ('{"request_id":"x","timestamp":"2025-03-01T10:00:00Z","model_id":"m","confidence":1.5}', "confidence is 1.5"),
        ('{"request_id":"x","timestamp":"9999-12-31T23:59:59Z","model_id":"m"}', "timestamp lies in the year 9999"),
        ('{"request_id":"x","timestamp":"0001-01-01T00:00:00+05:30","model_id":"m"}', "timestamp lies in the year 1"),
        ("[" * 5000, r"old.jsonl:2"),
        ("request_id,timestamp,model_id", "the line does not begin a JSON object .*give each line a JSON object with at least"),
        ("\x1f\x8b", "the line does not begin a JSON object"),
        (HEAD + ',"latency_ms":""}', "latency_ms.*mend latency_ms, or leave it out"),
        (HEAD + ',"status":{"status_code":"OK"}}', "status.*write one of ok, error, truncated, cancelled, interrupted, or"),
        (HEAD + ',"purpose":"prod"}', "purpose.*write one of user, exam"),
        ("[{}]", r"the line does not begin a JSON object.*jq -c"),
        (HEAD + ',"segments":{"age":3}}', "segments.*mend segments, or leave it out"),
        ('{"request_id":17,"timestamp":"2025-03-01T10:00:00Z","model_id":"m"}', "request_id.*write it as text, in quotes"),
    ],
)
def test_a_broken_line_is_reported_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text(LOG_01 % 1 + "\n" + line + "\n")
    with pytest.raises(DataError, match=message):
        list(read_file(file))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("http_status", 9999),
        ("http_status", 0),
        ("bucket", 10_000),
        ("bucket", -1),
        ("weight", 10_001),
        ("route_version", -1),
        ("route_version", 2**70),
        ("quality_score", 2),
        ("quality_score", "NaN"),
        ("cost_usd", "Infinity"),
    ],
)
def test_a_number_beyond_what_its_field_can_hold_is_reported_with_its_line(tmp_path: Path, field: str, value: object) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text(json.dumps({"request_id": "x", "timestamp": "2025-03-01T10:00:00Z", "model_id": "m", field: value}))
    with pytest.raises(DataError, match=rf"old.jsonl:1: {field} is "):
        list(read_file(file))


def test_the_numbers_of_attempts_are_looked_at_too(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    tries = [{"slot": "a", "ms": 5}, {"slot": "b", "ms": -5}]
    file.write_text(json.dumps({"request_id": "x", "timestamp": "2025-03-01T10:00:00Z", "model_id": "m", "attempts": tries}))
    with pytest.raises(DataError, match=r"old.jsonl:1: attempts\[1\].ms is -5"):
        list(read_file(file))


def test_a_file_packed_with_gzip_is_read_as_it_is(root: Path, tmp_path: Path, clock: ManualClock) -> None:
    file = tmp_path / "old.jsonl.gz"
    whole = gzip.compress("\n".join(LOG_01 % n for n in range(3)).encode())
    file.write_bytes(whole)
    assert Log(root, clock).append_import(read_file(file)) == (3, 0)
    assert passed_over(file) == []
    for broken in (whole[:-9], whole[:20] + b"\x00" * 9 + whole[29:]):
        file.write_bytes(broken)
        with pytest.raises(DataError, match=r"old.jsonl.gz: not readable as gzip"):
            list(read_file(file))


def test_a_file_in_any_order_is_written_hour_by_hour(root: Path, tmp_path: Path, clock: ManualClock) -> None:
    lines = [LOG_01.replace("10:00", f"{hour:02}:30") % n for n, hour in enumerate((9, 3, 23, 3, 9, 0))]
    file = tmp_path / "old.jsonl"
    file.write_text("\n".join([*lines, lines[1].replace("03:30", "01:30")]))
    with segments.maintenance(root, wait=True):  # as a keeper does: what is written stays in the spool
        assert Log(root, clock).append_import(read_file(file)) == (6, 1)
        spool = b"".join(path.read_bytes() for path in sorted((root / "spool").glob("*.jsonl")))
    assert [json.loads(line.json)["request_id"] for line in scan(spool).lines] == [f"abc-{n}" for n in (5, 1, 3, 0, 4, 2)]


def test_null_says_that_nothing_is_known_as_in_tables_written_as_json(tmp_path: Path) -> None:
    nulls = dict.fromkeys(("status", "segments", "metadata", "stream", "purpose", "attempts", "endpoint", "prompt_tokens"))
    file = tmp_path / "table.jsonl"
    file.write_text(json.dumps({"request_id": "x", "timestamp": "2025-03-01T10:00:00Z", "model_id": "m", **nulls}))
    (found,) = read_file(file)
    assert (found.status, found.segments, found.purpose, found.stream, found.prompt_tokens) == ("ok", {}, "user", False, None)


@pytest.mark.parametrize("field", ["request_id", "model_id"])
@pytest.mark.parametrize("mark", ["\n", "\x1b[2J", "\u202e", "\u200b"])
def test_an_id_that_nobody_could_see_or_type_is_refused(tmp_path: Path, field: str, mark: str) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text(
        json.dumps({"request_id": "x", "timestamp": "2025-03-01T10:00:00Z", "model_id": "m", field: f"a{mark}b"}),
        encoding="utf-8",
    )
    with pytest.raises(DataError, match=f"{field} must have 1 to 256 characters"):
        list(read_file(file))


def test_a_byte_order_mark_and_windows_line_ends_are_no_damage(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + (LOG_01 % 1).encode() + b"\r\n\r\n" + (LOG_01 % 2).encode() + b"\r\n")
    assert [found.request_id for found in read_file(file)] == ["abc-1", "abc-2"]


@pytest.mark.parametrize("content", [b"", b"\n\r\n", b"\xef\xbb\xbf"])
def test_a_file_without_inferences_says_what_it_should_hold(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "old.jsonl"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"old.jsonl holds no inferences .*request_id, timestamp and model_id"):
        list(read_file(file))


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.jsonl: No such file"):
        list(read_file(tmp_path / "gone.jsonl"))


def test_beside_an_import_there_is_no_other_one_and_no_erasure(root: Path, clock: ManualClock, tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text(LOG_01.replace('"a":1', '"user_id":"u1"') % 1)
    log = Log(root, clock)

    def inside() -> Iterator[Inference]:
        with pytest.raises(Busy, match=r"an import into .* runs"):
            Log(root, clock).append_import(read_file(file))
        with pytest.raises(Busy, match=r"an import into .* runs"):
            log.erase("u1")
        assert log.erase("u1", dry_run=True)["requests"] == 0
        yield from read_file(file)

    assert log.append_import(inside()) == (1, 0)
    assert log.append_import(read_file(file)) == (0, 1)
    assert log.erase("u1")["requests"] == 1


def test_many_hours_and_models_become_a_file_for_each_however_they_are_mixed(
    root: Path, clock: ManualClock, tmp_path: Path
) -> None:
    names = ["plain", "with space", "punkt.punkt", "模型", "../up", "m" * 200, "_", "CON"]
    lines = [
        json.dumps(
            {"request_id": f"{name}-{n}", "timestamp": f"2025-03-0{1 + n % 2}T{20 + n % 4}:59:59.999999Z", "model_id": name}
        )
        for n in range(8)
        for name in names
    ]
    random.Random(5).shuffle(lines)
    file = tmp_path / "old.jsonl"
    file.write_text("\n".join(lines))
    log = Log(root, clock)
    assert log.append_import(read_file(file)) == (64, 0)
    assert len(list((root / "log" / "metrics").rglob("*.parquet"))) == 4 * len(names)
    assert {row.key["model_id"]: row.requests for row in log.window(None, None, None, ("model_id",))} == dict.fromkeys(names, 8)
    assert all(len(log.find(model=name)) == 8 for name in names)
    assert log.verify() == {"records": 64, "duplicates": 0, "open": 0, "corrupt": 0}


def test_a_list_in_json_is_read_as_its_elements(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    rows = [json.loads(LOG_01 % n) for n in range(3)]
    for text in (json.dumps(rows), "\ufeff" + json.dumps(rows, indent=1)):
        file.write_text(text)
        assert [found.request_id for found in read_file(file)] == ["abc-0", "abc-1", "abc-2"]
    file.write_text(json.dumps([*rows, {"request_id": "x"}]))
    with pytest.raises(DataError, match=r"export.json:4: not an inference: it has no timestamp, no model_id .*say which column"):
        list(read_file(file))
    file.write_text(json.dumps(rows)[:-1])
    with pytest.raises(DataError, match=r"export.json: not one list in JSON"):
        list(read_file(file))
    file.write_text("[]")
    with pytest.raises(DataError, match=r"export.json holds no inferences"):
        list(read_file(file))
