"""Many lines at once: the same lines, the same columns and the same damage as line by line."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekeeper.core.clock import ManualClock
from tunekeeper.store.log import Log, Spool, bulk, columns, segments
from tunekeeper.store.log.compact import compact
from tunekeeper.store.log.lines import encode, scan, tombstone
from tunekeeper.store.log.records import decode

Record = Callable[..., dict[str, Any]]
LONE = b'{"content":"a\\ud800b"}'


def lines_of(record: Record, count: int, **fields: Any) -> list[bytes]:
    """Openings and endings as a gateway writes them."""
    made = []
    for n in range(count):
        one = record(attempts=({"slot": "a", "error": None, "ms": 1.5},), segments={"team": f"t{n % 3}"}, **fields)
        made.append(encode("O", {name: one[name] for name in ("request_id", "timestamp", "model_id")}))
        made.append(encode("E", one, one["request"], one["response"]))
    return made


def as_scanned(found: bulk.Stretch) -> list[tuple[int, int, str, bytes]]:
    return [(found.line(n).start, found.line(n).end, found.line(n).kind, found.line(n).json) for n in range(len(found.kinds))]


@pytest.mark.parametrize("growing", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_damaged_the_same_lines_are_found_as_by_the_careful_reader(record: Record, seed: int, growing: bool) -> None:
    chance = random.Random(seed)
    data = bytearray(b"".join([*lines_of(record, 4), tombstone(90), encode("F", {"id": "fb_1"})]))
    for _ in range(chance.choice([0, 1, 1, 3])):
        at = chance.randrange(len(data))
        data[at] = chance.choice([data[at] ^ 1 << chance.randrange(8), 10, 0])
    cut = chance.choice([len(data), len(data) - 1, chance.randrange(len(data))])
    whole = bytes(data[:cut])
    found, expected = bulk.read(whole, growing=growing), scan(whole, growing=growing)
    assert as_scanned(found) == [(line.start, line.end, line.kind, line.json) for line in expected.lines]
    assert (found.corrupt, found.consumed) == (expected.corrupt, expected.consumed)


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n", b"x\n", b'{"c":"0123456789abcdef","\n', b'{"c":"'])
def test_what_holds_no_line_at_all_is_read_without_an_error(data: bytes) -> None:
    found, expected = bulk.read(data), scan(data)
    assert (len(found.kinds), found.corrupt, found.consumed) == (0, expected.corrupt, expected.consumed)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"request": LONE},
        {"response": b"no JSON", "request": None},
        {"prompt_tokens": 2**80, "drift_flags": ("a", "b"), "metadata": {"x": [1, None, {"y": "é𝄞"}]}},
        {"stream": True, "response": None, "confidence": 0.25, "parent_id": "req_other"},
    ],
)
def test_the_columns_are_those_of_records_read_one_by_one(record: Record, fields: dict[str, Any]) -> None:
    found = bulk.read(b"".join(lines_of(record, 5, **fields)))
    places = found.places(b"E")
    jsons, starts = [found.jsons[n] for n in places], [found.starts[n] for n in places]
    records = [decode(found.line(n)) for n in places]
    made = bulk.endings(jsons, starts, "stem")
    assert made.metrics.equals(columns.metrics_table(records, [f"stem:{start}" for start in starts]))
    assert made.bodies is not None
    assert made.bodies.equals(columns.bodies_table(records))
    assert made.unreadable == 0
    assert bulk.endings(jsons, starts, "stem", bodies=False).bodies is None


def test_a_whole_line_that_is_no_record_of_ours_costs_itself_only(root: Path, clock: ManualClock, record: Record) -> None:
    good = record()
    bad = encode("E", {"request_id": "req_x", "timestamp": "no time", "model_id": "m"})
    odd = encode("O", {"nobody": 1})
    spool = Spool(root, "gateway-0", clock)
    spool.ended(good)
    spool.close()
    (segment,) = segments.list_segments(root)
    segment.path.write_bytes(segment.path.read_bytes() + bad + odd + encode("Z", {"from": "a newer version"}))
    log = Log(root, clock)
    assert [one.request_id for one in log.find()] == [good["request_id"]]
    with segments.maintenance(root):
        done = compact(root)
    assert (done.records, done.corrupt) == (1, 3)
    assert [one.request_id for one in log.find()] == [good["request_id"]]
    assert log.verify()["corrupt"] == 3


def test_the_ids_of_a_line_are_read_without_the_rest_of_it(record: Record) -> None:
    made = record()
    line = encode("E", made, made["request"])
    assert bulk.name(line[:-1]) == (made["request_id"], made["body_id"])
    assert bulk.name(encode("O", {"request_id": "a"})[:-1]) == ("a", None)
    assert bulk.name(b'{"request_id":7}') is None
    assert bulk.name(b"") is None


def test_an_id_is_read_undecoded_only_where_the_spool_puts_it(record: Record) -> None:
    made = record()["request_id"]
    assert bulk.id_bytes(encode("O", {"request_id": made, "model_id": "m"})) == made.encode()
    assert bulk.id_bytes(encode("P", {"request_id": made, "text": "x"})) == made.encode()
    assert bulk.id_bytes(encode("E", {"request_id": made})) is None
    assert bulk.id_bytes(encode("O", {"model_id": "m", "request_id": made})) is None
    assert bulk.id_bytes(b"") is None
    assert bulk.id_bytes(encode("O", {"request_id": 'a"b'})) is None
