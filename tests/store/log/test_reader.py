"""Log: everything that was written is found, from the spool and from Parquet alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.core.errors import NotFound, OurFault
from tunekeeper.core.nouns.serving import Attempt
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.merge import merge

Record = Callable[..., dict[str, Any]]
HOSTILE = {
    "lone surrogate": b'{"content":"a\\ud800b"}',
    "invalid UTF-8": b'{"content":"\xff\xfe"}',
    "escaped NUL": b'{"content":"a\\u0000b"}',
    "raw NUL": b'{"content":"a\x00b"}',
    "not JSON": b"upstream connect error",
    "out of range": b'{"x":1e999}',
    "deep": b"[" * 900 + b"]" * 900,
    "two megabytes": b'{"content":"' + "né𝄞".encode() * 260_000 + b'"}',
    "a line of ours": b'{"c":"0123456789abcdef","k":"E","request_id":"req_x"}',
}


@pytest.fixture(params=["spool", "parquet", "merged"])
def settle(request: pytest.FixtureRequest, root: Path) -> Callable[[], None]:
    """Moves what was flushed to where the test wants to find it."""

    def move() -> None:
        with segments.maintenance(root):
            if request.param != "spool":
                assert compact(root).segments > 0
            if request.param == "merged":
                merge(root, datetime(2027, 1, 1, tzinfo=UTC))
                merge(root, datetime(2027, 1, 1, tzinfo=UTC))

    return move


def write(spool: Spool, *records: dict[str, Any]) -> None:
    for record in records:
        spool.ended(record)
        spool.flush()
        spool.seal()


def test_a_record_comes_back_with_every_field(root: Path, clock: ManualClock, record: Record, settle: Callable[[], None]) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    given = record(
        version="v2.3",
        attempts=({"slot": "a", "error": "timeout", "ms": 2.5}, {"slot": "b", "error": None, "ms": 1.0}),
        segments={"team": "billing", "ünï": "x y"},
        metadata={"user_id": "u1", "nested": {"a": [1, None]}},
        drift_flags=("length",),
        stream=True,
        prompt_tokens=12,
        confidence=0.5,
    )
    write(spool, given)
    settle()
    found = log.load(given["request_id"])
    assert found == log.find()[0]
    assert found.timestamp == clock.utc()
    assert found.attempts == (Attempt(slot="a", error="timeout", ms=2.5), Attempt(slot="b", ms=1.0))
    assert (found.version, found.stream, found.prompt_tokens, found.confidence) == ("v2.3", True, 12, 0.5)
    assert (found.segments, found.metadata, found.drift_flags) == (given["segments"], given["metadata"], ("length",))
    assert found.completion_tokens is None
    assert (found.request, found.response) == (json.loads(given["request"]), json.loads(given["response"]))
    spool.close()


def test_hostile_bodies_keep_every_byte_and_read_as_values(
    root: Path, clock: ManualClock, record: Record, settle: Callable[[], None]
) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    given = {name: record(request=body, response=body) for name, body in HOSTILE.items()}
    write(spool, *given.values())
    settle()
    for name, body in HOSTILE.items():
        expected = body.replace(b'{"c":"', b'{ "c":"')
        assert log.raw(given[name]["request_id"]) == (expected, expected), name
    found = {i.request_id: i.request for i in log.find()}
    json.dumps(list(found.values()), allow_nan=False).encode()
    assert found[given["lone surrogate"]["request_id"]] == {"content": "a\ufffdb"}
    assert found[given["out of range"]["request_id"]] == {"x": None}
    assert found[given["not JSON"]["request_id"]] == "upstream connect error"
    spool.close()


def test_find_filters_sorts_and_limits(root: Path, clock: ManualClock, record: Record, settle: Callable[[], None]) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    start = clock.utc()
    for i in range(12):
        fields = {
            "variant": ("champion", "challenger")[i % 2],
            "purpose": "user" if i % 3 else "exam",
            "model_id": ("a", "b/..")[i % 2],
        }
        write(spool, record(**fields, status="ok" if i else "error", version=f"v{i}", rollout="rol_1" if i > 9 else None))
        clock.advance(600)
    settle()

    def versions(**wanted: Any) -> list[str | None]:
        return [i.version for i in log.find(**wanted, bodies=False)]

    assert versions() == ["v1", "v2", "v4", "v5", "v7", "v8", "v10", "v11"]
    assert versions(purpose=None, variant="champion", newest_first=True, limit=2) == ["v10", "v8"]
    assert versions(model="b/..") == ["v1", "v5", "v7", "v11"]
    assert versions(since=start + timedelta(minutes=20), until=start + timedelta(minutes=70)) == ["v2", "v4", "v5"]
    assert versions(purpose=("exam",), status="error") == ["v0"]
    assert versions(rollout="rol_1") == ["v10", "v11"]
    assert versions(version="v7") == ["v7"]
    assert versions(request_ids=[i.request_id for i in log.find(version="v8")]) == ["v8"]
    assert [i.version for i in log.each(model="a")] == ["v0", "v2", "v4", "v6", "v8", "v10"]
    assert [i.version for i in log.each(model="a", most=1)] == ["v0", "v2", "v4", "v6", "v8", "v10"]
    assert [i.version for i in log.each(purpose=("user",), most=2)] == versions()
    assert [i.version for i in log.each(rollout="rol_1", since=start)] == ["v10", "v11"]
    assert log.find(bodies=False)[0].request is None
    spool.close()


@pytest.mark.parametrize("value", ["' OR 1=1 --", "x'; DROP TABLE hot; --", '"', "%", "\\", "\0"])
def test_an_injected_value_is_only_a_value(root: Path, clock: ManualClock, record: Record, value: str) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    write(spool, record(), record(variant=value, segments={value: value}))
    for name in ("model", "variant", "version", "rollout", "status"):
        assert len(log.find(**{name: value})) == (name == "variant")
    assert [
        row.requests for row in log.window("support-desk", None, None, (f"segment:{value}",)) if row.key[f"segment:{value}"]
    ] == [1]
    with pytest.raises(NotFound):
        log.load(value)
    spool.close()


def test_an_unknown_id_is_not_found(root: Path, clock: ManualClock) -> None:
    with pytest.raises(NotFound, match="req_none"):
        Log(root, clock).load("req_none")


def test_an_imported_looking_id_is_found_without_a_time_in_it(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    write(spool, record(request_id="9f1c-foreign"))
    with segments.maintenance(root):
        compact(root)
    assert log.load("9f1c-foreign").request_id == "9f1c-foreign"
    spool.close()


def test_feedback_is_found_by_time_kind_request_and_model(
    root: Path, clock: ManualClock, record: Record, settle: Callable[[], None]
) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    first, other = record(), record(model_id="other")
    write(spool, first, other)
    for n, (about, kind, value) in enumerate([(first, "thumb", "down"), (first, "edit", "x\ny"), (other, "score", 0.5)]):
        clock.advance(3600)
        spool.feedback(
            {"id": f"fb_{n}", "request_id": about["request_id"], "timestamp": clock.utc(), "kind": kind, "value": value}
        )
    spool.feedback(
        {"id": "fb_9", "request_id": "req_later", "timestamp": clock.utc(), "kind": "thumb", "model_id": "support-desk"}
    )
    spool.flush()
    spool.seal()
    settle()
    assert [f.id for f in log.feedback()] == ["fb_0", "fb_1", "fb_2", "fb_9"]
    assert [f.value for f in log.feedback(kind=("edit", "score"))] == ["x\ny", 0.5]
    assert [f.id for f in log.feedback(model="support-desk")] == ["fb_0", "fb_1", "fb_9"]
    assert [f.id for f in log.feedback(request_ids=[other["request_id"]])] == ["fb_2"]
    assert [f.id for f in log.feedback(since=clock.utc() - timedelta(hours=1), until=clock.utc())] == ["fb_1"]
    spool.close()


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    for _ in range(40):
        spool.ended(record())
    spool.flush()
    first = [i.request_id for i in log.sample("support-desk", None, None, 10, 1)]
    assert len(set(first)) == 10
    assert first == [i.request_id for i in log.sample("support-desk", None, None, 10, 1)]
    assert first != [i.request_id for i in log.sample("support-desk", None, None, 10, 2)]
    spool.close()


def test_token_counts_filled_in_later_appear_and_never_replace_the_servers(
    root: Path, clock: ManualClock, record: Record, settle: Callable[[], None]
) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    counted, uncounted = record(prompt_tokens=5, completion_tokens=6), record()
    write(spool, counted, uncounted)
    for each in (counted, uncounted):
        spool.tokens(each["request_id"], 70, 80, 0.25)
    spool.flush()
    spool.seal()
    settle()
    found = {i.request_id: (i.prompt_tokens, i.completion_tokens, i.cost_usd) for i in log.find()}
    assert found == {counted["request_id"]: (5, 6, 0.25), uncounted["request_id"]: (70, 80, 0.25)}
    (row,) = log.window("support-desk", None, None)
    assert (row.prompt_tokens, row.completion_tokens, row.cost_usd) == (75, 86, 0.5)
    spool.close()


def test_a_score_that_was_given_later_is_the_quality_of_the_request(
    root: Path, clock: ManualClock, record: Record, settle: Callable[[], None]
) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    scored, own, silent = record(), record(quality_score=0.25), record()
    write(spool, scored, own, silent)
    for n, (about, value) in enumerate([(scored, 0.5), (scored, 0.75), (own, 1)]):
        clock.advance(3600)
        given = {"id": f"fb_{n}", "request_id": about["request_id"], "timestamp": clock.utc(), "kind": "score", "value": value}
        spool.feedback(given)
    spool.flush()
    spool.seal()
    settle()
    expected = {scored["request_id"]: 0.75, own["request_id"]: 0.25, silent["request_id"]: None}
    assert {one.request_id: one.quality_score for one in log.find()} == expected
    assert {id: log.load(id).quality_score for id in expected} == expected
    spool.close()


def test_a_damaged_parquet_file_is_one_clear_error(root: Path, clock: ManualClock, record: Record) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    write(spool, record())
    with segments.maintenance(root):
        compact(root)
    (path,) = (root / "log" / "metrics").rglob("*.parquet")
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(OurFault, match="cannot be read"):
        log.find()
    spool.close()


@pytest.mark.parametrize("minutes", [0, 59, 61, -61, 3000])
def test_a_request_is_loaded_whichever_hour_its_stamp_fell_into(
    root: Path, clock: ManualClock, record: Record, minutes: int
) -> None:
    made = record(timestamp=clock.utc() + timedelta(minutes=minutes))
    other = record()
    spool = Spool(root, "gateway-0", clock)
    spool.ended(made)
    spool.ended(other)
    spool.close()
    log = Log(root, clock)
    assert log.load(made["request_id"]).timestamp == made["timestamp"]
    with segments.maintenance(root):
        compact(root)
    assert log.load(made["request_id"]).timestamp == made["timestamp"]
    assert log.raw(made["request_id"]) == (made["request"], made["response"])


def test_a_reader_that_was_there_before_an_erasure_forgets_too(root: Path, clock: ManualClock, record: Record) -> None:
    mine, theirs = record(metadata={"user_id": "ann"}), record()
    spool = Spool(root, "gateway-0", clock)
    spool.ended(mine)
    spool.ended(theirs)
    spool.feedback({"id": "fb_1", "request_id": mine["request_id"], "timestamp": clock.utc(), "kind": "thumb", "value": "up"})
    spool.close()
    with segments.maintenance(root):
        compact(root)
    log = Log(root, clock)
    assert [(row.requests, row.thumbs_up) for row in log.window(None, None, None)] == [(2, 1)]
    assert log.erase("ann")["requests"] == 1
    assert [(row.requests, row.thumbs_up) for row in log.window(None, None, None)] == [(1, 0)]
    assert [one.request_id for one in log.find()] == [theirs["request_id"]]
    with pytest.raises(NotFound):
        log.load(mine["request_id"])


def test_files_of_an_older_version_lack_columns_and_are_read_beside_newer_ones(
    root: Path, clock: ManualClock, record: Record
) -> None:
    made = []
    for _ in range(2):
        spool = Spool(root, "gateway-0", clock)
        made.append(record(slot="a"))
        spool.ended(made[-1])
        spool.close()
    with segments.maintenance(root):
        compact(root)
    old = min((root / "log" / "metrics").rglob("*.parquet"))
    pq.write_table(pq.read_table(old, partitioning=None).drop_columns(["slot"]), old)
    log = Log(root, clock)
    slots = {one.request_id: one.slot for one in log.find()}
    assert set(slots.values()) == {None, "a"}
    assert {id: log.load(id).slot for id in slots} == slots
    assert [row.requests for row in log.window(None, None, None)] == [2]
