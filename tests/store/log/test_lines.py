"""The spool's line format, and finding lines again in damaged bytes."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import msgspec
import pytest

from tunekeeper.store.log.lines import MARK, MAX_DEPTH, PREFIX_BYTES, encode, scan, tombstone


def some_lines(n: int, size: int = 60) -> list[bytes]:
    return [encode("E", {"request_id": f"req_{i}", "text": "x" * size}) for i in range(n)]


def ids(data: bytes, *, growing: bool = False) -> list[str]:
    return [json.loads(line.json)["request_id"] for line in scan(data, growing=growing).lines]


def test_a_line_is_json_that_begins_with_its_checksum_and_kind() -> None:
    line = encode("E", {"request_id": "req_1"}, b'{"a":1}', b"[2]")
    assert line.startswith(MARK)
    assert line[PREFIX_BYTES:].startswith(b'"k":"E",')
    assert line.endswith(b"\n")
    assert {k: v for k, v in json.loads(line).items() if k != "c"} == {
        "k": "E",
        "request_id": "req_1",
        "request": {"a": 1},
        "response": [2],
    }


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\\ud800"}',  # a lone surrogate
        b'{"a":"\xff"}',  # not UTF-8
        b"\x00\x01",
        b"",
        b"<html>502</html>",
        b'{"a":tru}',
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b'{"a":"' + b'\\"]' * 300 + b'","b":' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}",
    ],
)
def test_a_body_that_would_break_the_line_goes_base64(body: bytes) -> None:
    line = json.loads(encode("E", {"request_id": "r"}, body))
    assert "request" not in line
    assert base64.b64decode(line["request64"]) == body


def test_a_deep_text_in_a_flat_body_stays_readable() -> None:
    body = json.dumps({"text": "[" * 5000 + '\\"{' * 500}).encode()
    assert json.loads(encode("E", {}, body))["request"] == json.loads(body)


def test_raw_newlines_of_a_body_become_spaces() -> None:
    line = encode("E", {"request_id": "r"}, b'{\n  "a": 1,\r\n  "b": 2\n}')
    assert line.count(b"\n") == 1
    assert json.loads(line)["request"] == {"a": 1, "b": 2}


def test_a_validated_body_is_embedded_as_it_is() -> None:
    raw = msgspec.Raw(b'{"b":1.50,"a":"\\u00e9"}')
    assert b'"request":{"b":1.50,"a":"\\u00e9"}' in encode("E", {}, raw)


def test_fields_with_lone_surrogates_lose_only_those() -> None:
    line = json.loads(encode("E", {"metadata": {"a": ["x\ud800y", 1]}}))
    assert line["metadata"] == {"a": ["x\ufffdy", 1]}


def test_a_client_cannot_forge_a_line_inside_its_body() -> None:
    forged = encode("E", {"request_id": "forged"})[:-1]
    line = encode("E", {"request_id": "real"}, b'{"messages":' + forged + b"}")
    assert line.count(MARK) == 1
    assert ids(line[:-40] + b"\n") == []
    assert json.loads(line)["request"]["messages"]["request_id"] == "forged"


def test_truncation_at_each_byte_keeps_every_complete_line() -> None:
    lines = some_lines(40)
    data = b"".join(lines)
    ends = [sum(map(len, lines[: i + 1])) for i in range(len(lines))]
    for cut in range(len(data) - 4096, len(data) + 1):
        found = scan(data[:cut])
        complete = sum(end - 1 <= cut for end in ends)
        assert len(found.lines) == complete
        assert found.corrupt == 0


def test_every_bit_flip_is_detected_and_costs_at_most_its_own_line() -> None:
    rng = random.Random(7)
    lines = some_lines(30)
    data = b"".join(lines)
    whole = set(ids(data))
    for _ in range(2_000):
        place, bit = rng.randrange(len(data)), rng.randrange(8)
        broken = bytearray(data)
        broken[place] ^= 1 << bit
        found = scan(bytes(broken))
        assert found.corrupt + found.torn == 1, (place, bit)
        kept = {json.loads(line.json)["request_id"] for line in found.lines}
        assert kept <= whole
        assert len(kept) >= len(whole) - 1, (place, bit)


def test_a_zero_filled_stretch_is_damage_and_what_follows_is_found() -> None:
    lines = some_lines(5)
    data = lines[0] + b"\0" * len(lines[1]) + b"".join(lines[2:])
    assert ids(data) == ["req_0", "req_2", "req_3", "req_4"]
    assert scan(data).corrupt == 1
    assert scan(b"".join(lines) + b"\0" * 4096).corrupt == 1


def test_a_line_after_a_torn_one_on_the_same_row_is_found() -> None:
    first, second = some_lines(2)
    data = first[:-20] + second
    assert ids(data) == ["req_1"]
    assert scan(data).corrupt == 1


def test_an_unfinished_end_is_torn_and_not_damage() -> None:
    first, second = some_lines(2)
    found = scan(first + second[:-9])
    assert (found.torn, found.corrupt, len(found.lines)) == (True, 0, 1)


def test_a_growing_file_is_read_on_from_where_the_last_scan_stopped() -> None:
    data = b"".join(some_lines(6))
    seen: list[str] = []
    offset = 0
    for end in range(0, len(data) + 1, 17):
        found = scan(data[offset:end], growing=True)
        seen += [json.loads(line.json)["request_id"] for line in found.lines]
        offset += found.consumed
    found = scan(data[offset:], growing=True)
    seen += [json.loads(line.json)["request_id"] for line in found.lines]
    assert seen == [f"req_{i}" for i in range(6)]


@pytest.mark.parametrize("length", [40, 41, 200, 5000])
def test_a_tombstone_has_the_length_of_what_it_overwrites(length: int) -> None:
    before, after = some_lines(2)
    stone = tombstone(length)
    found = scan(before + stone + after)
    assert len(stone) == length
    assert [line.kind for line in found.lines] == ["E", "X", "E"]
    assert found.corrupt == 0


def test_scanning_hostile_bytes_ends() -> None:
    rng: Any = random.Random(3)
    for _ in range(200):
        data = bytes(rng.choice(b'{"c:0af,\n}') for _ in range(400))
        found = scan(data)
        assert found.lines == ()
        assert found.consumed <= len(data)


def test_a_tail_filled_with_zeros_costs_only_the_lines_it_covers() -> None:
    lines = some_lines(40)
    data = b"".join(lines)
    ends = [sum(map(len, lines[: i + 1])) for i in range(len(lines))]
    for start in range(len(data) - 4096, len(data), 3):
        found = scan(data[:start] + b"\0" * (len(data) - start))
        whole = sum(end <= start for end in ends)
        # A line whose newline alone was overwritten, at the very end, is recovered as well.
        assert whole <= len(found.lines) <= whole + 1, start
        assert found.lines[-1].end <= start + 1
        assert found.corrupt + found.torn == 1, start
