"""The hot tail: read as it grows, beside its writer and beside compaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.log import Log, Spool, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.tail import Tail, id_range

Record = Callable[..., dict[str, Any]]


def opening(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("request_id", "timestamp", "model_id")}


def test_a_request_is_interrupted_only_once_its_writer_is_gone(root: Path, clock: ManualClock, record: Record) -> None:
    spool, tail = Spool(root, "gateway-0", clock), Tail(root)
    made = record()
    spool.opened(opening(made))
    spool.partial(made["request_id"], "so f", made["request"])
    spool.partial(made["request_id"], "ar")
    spool.flush()
    assert len(tail.read().metrics) == 0
    spool.close()
    hot = tail.read()
    assert hot.metrics["status"].to_pylist() == ["interrupted"]
    request, response = hot.bodies(made["request_id"]) or (None, None)
    assert request == made["request"]
    assert response is not None
    assert b'"content":"so far"' in response
    assert Log(root, clock).load(made["request_id"]).finish_reason is None


def test_a_restarted_writer_of_the_same_name_does_not_keep_old_requests_open(
    root: Path, clock: ManualClock, record: Record
) -> None:
    first = Spool(root, "gateway-0", clock)
    made = record()
    first.opened(opening(made))
    first.close()
    second = Spool(root, "gateway-0", clock)
    second.ended(record())
    second.flush()
    assert Log(root, clock).load(made["request_id"]).status == "interrupted"
    second.close()


def test_a_body_id_is_found_in_the_tail(root: Path, clock: ManualClock, record: Record) -> None:
    spool, tail = Spool(root, "gateway-0", clock), Tail(root)
    made = [record(body_id="same"), record(body_id="same"), record(body_id="other")]
    for each in made:
        spool.ended(each)
        spool.flush()
    assert tail.find_body_id("same") == {made[0]["request_id"], made[1]["request_id"]}
    assert tail.find_body_id("none") == set()
    spool.close()


def test_a_segment_that_was_cut_back_is_read_anew(root: Path, clock: ManualClock, record: Record) -> None:
    spool, tail = Spool(root, "gateway-0", clock), Tail(root)
    spool.ended(record())
    spool.flush()
    (segment,) = segments.list_segments(root)
    size = segment.path.stat().st_size
    spool.ended(record())
    spool.close()
    assert len(tail.read().metrics) == 2
    with segment.path.open("r+b") as file:
        file.truncate(size)
    assert len(tail.read().metrics) == 1


def test_a_reader_beside_writer_and_compactor_sees_every_record_exactly_once(
    root: Path, clock: ManualClock, record: Record
) -> None:
    spool, log = Spool(root, "gateway-0", clock), Log(root, clock)
    stop = threading.Event()

    def keep() -> None:
        while not stop.is_set():
            with segments.maintenance(root):
                compact(root)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        for n in range(1, 31):
            spool.ended(record())
            spool.flush()
            if n % 2:
                spool.seal()
            assert len(log.find(bodies=n % 5 == 0)) == n
            assert [row.requests for row in log.window("support-desk", None, None)] == [n]
    finally:
        stop.set()
        keeper.join()
        spool.close()


def test_an_id_in_two_segments_is_one_row_and_an_unchanged_tail_is_the_same_view(
    root: Path, clock: ManualClock, record: Record
) -> None:
    made, tail = [record() for _ in range(3)], Tail(root)
    for few in (made[:2], made[1:]):
        spool = Spool(root, "gateway-0", clock)
        for each in few:
            spool.ended(each)
        spool.close()
    hot = tail.read()
    assert sorted(hot.metrics["request_id"].to_pylist()) == sorted(each["request_id"] for each in made)
    assert [len(hot.row(each["request_id"])) for each in made] == [1, 1, 1]
    assert len(hot.row("req_unknown")) == 0
    assert id_range(hot.metrics) == (made[0]["request_id"], made[2]["request_id"])
    assert id_range(hot.metrics.slice(0, 0)) is None
    assert tail.read() is hot
    with segments.maintenance(root):
        compact(root)
    assert len(tail.read().metrics) == 0


def test_a_segment_read_in_many_small_steps_is_whole(root: Path, clock: ManualClock, record: Record) -> None:
    spool, tail = Spool(root, "gateway-0", clock), Tail(root)
    ids = []
    for _ in range(40):
        made = record()
        ids.append(made["request_id"])
        spool.ended(made)
        spool.flush()
        assert tail.read().metrics["request_id"].to_pylist() == ids
    assert tail.read().metrics["request_id"].num_chunks < 25
    spool.close()
